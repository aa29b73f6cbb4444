import { resolveSecret, type ResolveOptions, type SecretTemplate } from '../config/secret-reference.ts'
import type { Environment } from '../config/paths.ts'
import type { TlsSettings } from '../config/tls.ts'
import { AgentgateError } from '../errors.ts'
import type { ResourceName, ScopeName } from '../ids.ts'
import { Secret } from '../secret.ts'
import type { ResourceDeclaration } from './declaration.ts'
import type { LoadedPolicy } from './load.ts'
import type { ParsedCredential } from './schema.ts'
import { addressOf, reachOf, tlsModeOf } from './resource-address.ts'
import { parseAddress, type Address } from './schema-text.ts'

/** What a ServedResource is made of, with its secrets resolved. */
export interface ResolvedResource {
  readonly name: ResourceName
  readonly kind: string
  readonly address: string
  readonly tls: TlsSettings
  readonly settings: unknown
  readonly scope: { readonly name: ScopeName; readonly settings: unknown }
  readonly credential: ResolvedCredential
}

export interface ResolvedCredential {
  readonly issuer: string
  readonly user: string | null
  readonly secret: Secret | null
  readonly certificate: { readonly certificate: string; readonly key: Secret } | null
  readonly expiresAt: Date | null
}

/**
 * Resolves `${…}` and takes a URL apart. Only for a trusted policy.
 * @throws AgentgateError POLICY_UNTRUSTED, SECRET_UNRESOLVED, POLICY_INVALID (no address), DENIED (what needs the broker)
 */
export async function resolveResource(
  loaded: LoadedPolicy,
  resourceName: ResourceName,
  scopeName: ScopeName,
  options: { readonly env: Environment; readonly signal?: AbortSignal },
): Promise<ResolvedResource> {
  loaded.requireTrusted()
  const resource = loaded.policy.declaration.resources.get(resourceName)
  const scope = resource?.scopes.get(scopeName)
  if (resource === undefined || scope === undefined)
    throw new AgentgateError('NO_SUCH_RESOURCE', `no resource "${resourceName}" with a scope "${scopeName}"`)
  if (resource.placement === 'gateway')
    throw new AgentgateError(
      'DENIED',
      `${resourceName} is to be reached through a gateway, and there is none without a broker`,
      {
        hint: 'placement: local runs the tunnel here; what it promises then is in docs/placement.md',
      },
    )
  const reach = reachOf(resource)
  if (reach !== undefined) {
    const scoped = { name: scopeName, settings: scope.settings }
    const tls = { mode: 'off', name: undefined, ca: undefined } as const
    const { kindName, settings } = resource
    return { name: resourceName, kind: kindName, address: reach, tls, settings, scope: scoped, credential: none }
  }
  const secrets: ResolveOptions = {
    env: options.env,
    folder: loaded.folder,
    subject: resourceName,
    signal: options.signal,
  }
  const { credential, url } = await resolveCredential(scope.credential ?? resource.credential, resourceName, secrets)
  const address = resource.address ?? url?.address
  if (address === undefined)
    throw new AgentgateError('POLICY_INVALID', `${resourceName} has no address`, {
      hint: `give it one: address: host:port`,
    })
  const { kind } = resource
  if (address.kind === 'host' && (address.port ?? kind.targetPort) === undefined)
    throw new AgentgateError('POLICY_INVALID', `${resourceName} has no port`, {
      hint: 'give it one: address: host:port',
    })
  return {
    name: resourceName,
    kind: resource.kindName,
    address: addressOf(resource, address),
    tls: await resolveTls(resource, address, secrets),
    settings: withDatabase(resource, url?.database),
    scope: { name: scopeName, settings: scope.settings },
    credential,
  }
}

const none: ResolvedCredential = { issuer: 'none', user: null, secret: null, certificate: null, expiresAt: null }

async function resolveTls(
  resource: ResourceDeclaration,
  address: Address,
  secrets: ResolveOptions,
): Promise<TlsSettings> {
  const written = typeof resource.tls === 'string' ? { mode: resource.tls } : resource.tls
  const ca = written?.ca === undefined ? undefined : (await resolveSecret(written.ca, secrets)).reveal()
  if (ca !== undefined && !ca.includes('-----BEGIN CERTIFICATE-----'))
    throw new AgentgateError('SECRET_UNRESOLVED', `${resource.name}: tls.ca holds no PEM certificate`, {
      hint: 'it starts with -----BEGIN CERTIFICATE-----',
    })
  return { mode: tlsModeOf(resource, address), name: written?.name, ca }
}

interface UrlParts {
  readonly address: Address | undefined
  readonly user: string | null
  readonly password: Secret | null
  readonly database: string | undefined
}

async function resolveCredential(
  written: ParsedCredential | undefined,
  resource: ResourceName,
  secrets: ResolveOptions,
): Promise<{ readonly credential: ResolvedCredential; readonly url: UrlParts | undefined }> {
  if (written === undefined) return { credential: none, url: undefined }
  switch (written.issuer) {
    case 'none':
      return { credential: none, url: undefined }
    case 'postgres-role':
      throw new AgentgateError(
        'DENIED',
        `${resource}: issuer postgres-role comes with the broker, which is not here yet`,
        {
          hint: 'use issuer: static with a role of few privileges until then',
        },
      )
    case 'static': {
      const value = async (template: SecretTemplate | undefined) =>
        template === undefined ? null : await resolveSecret(template, secrets)
      const [urlText, user, secret, certificate, key] = await Promise.all([
        value(written.url),
        value(written.user),
        value(written.secret ?? written.password),
        value(written.certificate?.certificate),
        value(written.certificate?.key),
      ])
      // A whole URL as a password would be sent to the server as one.
      if (secret !== null && /^[a-z][a-z0-9+.-]*:\/\/[^\s/]*@/i.test(secret.reveal()))
        throw new AgentgateError('SECRET_UNRESOLVED', `${resource}: the credential’s secret is a whole URL`, {
          hint: 'call it url: instead of secret:',
        })
      const url = urlText === null ? undefined : takeApart(urlText, resource)
      return {
        credential: {
          issuer: 'static',
          user: url?.user ?? user?.reveal() ?? null,
          secret: url?.password ?? secret,
          certificate: certificate === null || key === null ? null : { certificate: certificate.reveal(), key },
          expiresAt: null,
        },
        url,
      }
    }
    default:
      return written satisfies never
  }
}

/** `scheme://user:password@host:port/database?…`, percent-encoded as RFC 3986 §3.2.1 has it. Names no part of it in errors. */
function takeApart(text: Secret, resource: ResourceName): UrlParts {
  const unreadable = (what: string) =>
    new AgentgateError('SECRET_UNRESOLVED', `${resource}: the credential’s url ${what}`, {
      hint: 'it is scheme://user:password@host:port/database, with other characters in a password as %XX',
    })
  let url: URL
  try {
    url = new URL(text.reveal())
  } catch {
    throw unreadable('cannot be read as a URL')
  }
  const decoded = (part: string) => {
    try {
      return decodeURIComponent(part)
    } catch {
      throw unreadable('has a % that is no escape')
    }
  }
  let address: Address | undefined
  if (url.host !== '') {
    // Special schemes (https) drop their own default port, others keep what was written.
    const parsed = parseAddress(decoded(url.host))
    if (typeof parsed === 'string') throw unreadable('has a host that is none')
    address = parsed
  }
  const database = decoded(url.pathname.replace(/^\//, ''))
  return {
    address,
    user: url.username === '' ? null : decoded(url.username),
    password: url.password === '' ? null : new Secret(decoded(url.password)),
    database: database === '' || database.includes('/') ? undefined : database,
  }
}

/** A URL's database counts where the kind has such a key and the file does not say it. */
function withDatabase(resource: ResourceDeclaration, database: string | undefined): unknown {
  const { settings, kind } = resource
  if (database === undefined || !Object.hasOwn(kind.resourceSchema.shape, 'database')) return settings
  if (typeof settings !== 'object' || settings === null) return settings
  return 'database' in settings && settings.database !== undefined ? settings : { ...settings, database }
}
