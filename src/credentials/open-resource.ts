import { resolveSecret, type ResolveOptions } from '../config/secret-reference.ts'
import type { Environment } from '../config/paths.ts'
import type { TlsSettings } from '../config/tls.ts'
import { AgentgateError } from '../errors.ts'
import type { ResourceName, ScopeName } from '../ids.ts'
import type { ResourceDeclaration } from '../policy/declaration.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import { addressOf, reachOf, tlsModeOf } from '../policy/resource-address.ts'
import type { Address } from '../policy/schema-text.ts'
import type { CredentialIssuer } from './credential.ts'
import type { IssuerTarget, OpenedIssuer } from './issuer-kind.ts'
import { openIssuer } from './issuers.ts'
import type { WarmConnections } from './warm-connections.ts'

/** A resource as a policy says it, with what makes its credentials. */
export interface OpenedResource extends IssuerTarget {
  readonly issuer: CredentialIssuer
}

/**
 * Resolves `${…}` and takes a URL apart. Only for a trusted policy.
 * @throws AgentgateError POLICY_UNTRUSTED, SECRET_UNRESOLVED, POLICY_INVALID (no address), DENIED (what needs the broker), as the issuer
 */
export async function openResource(
  loaded: LoadedPolicy,
  resourceName: ResourceName,
  scopeName: ScopeName,
  options: { readonly env: Environment; readonly signal?: AbortSignal; readonly warm?: WarmConnections },
): Promise<OpenedResource> {
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
  const secrets: ResolveOptions = {
    env: options.env,
    folder: loaded.folder,
    subject: resourceName,
    signal: options.signal,
  }
  const written = scope.credential ?? resource.credential ?? { issuer: 'none' }
  const opened: OpenedIssuer = await openIssuer(written.issuer, written, resourceName, secrets, options.warm)
  const enforced = loaded.policy.enforcedMask(resourceName)
  if (enforced !== undefined && written.issuer !== 'postgres-role')
    throw new AgentgateError(
      'POLICY_INVALID',
      `${resourceName}: mask "${enforced}" says enforce: grant, and issuer ${written.issuer} grants nothing`,
      { hint: 'use issuer: postgres-role, or leave enforce out' },
    )
  const reach = reachOf(resource)
  if (reach !== undefined) {
    const tls = { mode: 'off', name: undefined, ca: undefined } as const
    const { kindName, settings } = resource
    const scoped = { name: scopeName, settings: scope.settings }
    const target: IssuerTarget = { name: resourceName, kind: kindName, address: reach, tls, settings, scope: scoped }
    return { ...target, issuer: opened.issuerFor(target) }
  }
  const address = resource.address ?? opened.place?.address
  if (address === undefined)
    throw new AgentgateError('POLICY_INVALID', `${resourceName} has no address`, {
      hint: `give it one: address: host:port`,
    })
  const { kind } = resource
  if (address.kind === 'host' && (address.port ?? kind.targetPort) === undefined)
    throw new AgentgateError('POLICY_INVALID', `${resourceName} has no port`, {
      hint: 'give it one: address: host:port',
    })
  const target: IssuerTarget = {
    name: resourceName,
    kind: resource.kindName,
    address: addressOf(resource, address),
    tls: await resolveTls(resource, address, secrets),
    settings: withDatabase(resource, opened.place?.database),
    scope: { name: scopeName, settings: scope.settings },
    ...(enforced === undefined ? {} : { withheld: subject => loaded.policy.withheld(subject, resourceName) }),
  }
  return { ...target, issuer: opened.issuerFor(target) }
}

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

/** A URL's database counts where the kind has such a key and the file does not say it. */
function withDatabase(resource: ResourceDeclaration, database: string | undefined): unknown {
  const { settings, kind } = resource
  if (database === undefined || !Object.hasOwn(kind.resourceSchema.shape, 'database')) return settings
  if (typeof settings !== 'object' || settings === null) return settings
  return 'database' in settings && settings.database !== undefined ? settings : { ...settings, database }
}
