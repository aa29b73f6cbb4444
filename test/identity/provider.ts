import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { newFolder } from '../support/folder.ts'

/** What a person decides in the browser. */
export type Confirmation = { readonly kind: 'yes' } | { readonly kind: 'no' } | { readonly kind: 'expire' }

export const clientId = 'agentgate'
export const machine = { id: 'ci-job', secret: 'ci-job-secret-0123456789-0123456789' } as const
export const audience = 'https://agentgate.example'

type Answer = (request: IncomingMessage, response: ServerResponse) => boolean

export interface NewKey {
  readonly kid: string
  readonly private: JsonWebKey
}

export function newKey(): NewKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kid = randomUUID()
  return { kid, private: { ...privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' } }
}

/** A real OpenID provider (oidc-provider) over TLS, with a door in front of it to break what passes. */
export class TestProvider {
  readonly issuer: string
  readonly caFile: string
  readonly key: NewKey
  /** Asked before the provider: true where it has answered itself. */
  before: Answer = () => false
  /** `POST /token`, and so on, in order. */
  readonly requests: string[] = []
  readonly #server: https.Server
  // Its models are made at run time, and have no types.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly #provider: any

  private constructor(server: https.Server, provider: unknown, issuer: string, caFile: string, key: NewKey) {
    this.#server = server
    this.#provider = provider
    this.issuer = issuer
    this.caFile = caFile
    this.key = key
  }

  static async start(options: { idTokenSeconds?: number; key?: NewKey } = {}): Promise<TestProvider> {
    const { default: Provider } = await import('oidc-provider')
    const folder = newFolder('idp')
    execFileSync(
      'openssl',
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost'.split(
        ' ',
      ),
      { cwd: folder, stdio: 'pipe' },
    )
    const caFile = path.join(folder, 'cert.pem')
    const door: { self?: TestProvider; handle?: (request: IncomingMessage, response: ServerResponse) => unknown } = {}
    const server = https.createServer(
      { key: readFileSync(path.join(folder, 'key.pem')), cert: readFileSync(caFile) },
      (request, response) => {
        const route = `${request.method ?? ''} ${new URL(request.url ?? '/', 'https://localhost').pathname}`
        door.self?.requests.push(route)
        if (door.self?.before(request, response) === true) return
        void door.handle?.(request, response)
      },
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const issuer = `https://localhost:${(server.address() as AddressInfo).port}`
    const key = options.key ?? newKey()
    const provider = new Provider(issuer, {
      jwks: { keys: [key.private] },
      clients: [
        {
          client_id: clientId,
          token_endpoint_auth_method: 'none',
          application_type: 'native',
          grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'authorization_code', 'refresh_token'],
          redirect_uris: ['http://127.0.0.1/callback'],
          response_types: ['code'],
          id_token_signed_response_alg: 'ES256',
        },
        {
          client_id: machine.id,
          client_secret: machine.secret,
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
          id_token_signed_response_alg: 'ES256',
        },
      ],
      features: {
        deviceFlow: { enabled: true },
        revocation: { enabled: true },
        clientCredentials: { enabled: true },
        devInteractions: { enabled: false },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => undefined,
          getResourceServerInfo: () => ({
            scope: '',
            audience,
            accessTokenFormat: 'jwt' as const,
            jwt: { sign: { alg: 'ES256' as const } },
          }),
        },
      },
      scopes: ['openid', 'email', 'groups', 'offline_access'],
      claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
      conformIdTokenClaims: false,
      rotateRefreshToken: true,
      interactions: { url: (_context: unknown, interaction: { uid: string }) => `/interaction/${interaction.uid}` },
      ttl: {
        IdToken: options.idTokenSeconds ?? 3600,
        AccessToken: 3600,
        ClientCredentials: 600,
        DeviceCode: 600,
        Grant: 86_400,
        RefreshToken: 86_400,
        Session: 86_400,
        Interaction: 600,
      },
      findAccount: (_context: unknown, id: string) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, groups: ['eng', 'dba'] }),
      }),
    })
    // RFC 8628 §3.2: five seconds where nothing is said.
    provider.use(async (context, next) => {
      await next()
      const { body } = context as { body?: unknown }
      if (typeof body === 'object' && body !== null && 'device_code' in body) context.body = { ...body, interval: 1 }
    })
    door.handle = provider.callback()
    door.self = new TestProvider(server, provider, issuer, caFile, key)
    // The page that a person logs in at, with nobody to look at it.
    door.self.before = (request, response) => door.self?.interact(request, response) ?? false
    return door.self
  }

  /** What a person does who is shown `code`. */
  async confirm(code: string, what: Confirmation, account = 'maria'): Promise<void> {
    const device = await this.#provider.DeviceCode.findByUserCode(code.replaceAll('-', ''))
    if (what.kind === 'no') device.error = 'access_denied'
    else if (what.kind === 'expire') {
      await device.destroy()
      return
    } else {
      const grant = new this.#provider.Grant({ accountId: account, clientId })
      grant.addOIDCScope('openid email groups offline_access')
      Object.assign(device, {
        accountId: account,
        grantId: await grant.save(),
        scope: 'openid email groups offline_access',
        claims: {},
        authTime: Math.floor(Date.now() / 1000),
        sessionUid: randomUUID(),
        expiresWithSession: false,
      })
    }
    await device.save(600)
  }

  /** Logs in and consents as maria, and sends the browser on. */
  interact(request: IncomingMessage, response: ServerResponse): boolean {
    if (!(request.url ?? '').startsWith('/interaction/')) return false
    void (async () => {
      const { prompt, params, session } = await this.#provider.interactionDetails(request, response)
      let result: object = { login: { accountId: 'maria' } }
      if (prompt.name === 'consent') {
        const grant = new this.#provider.Grant({ accountId: session.accountId, clientId: params.client_id })
        grant.addOIDCScope(params.scope)
        result = { consent: { grantId: await grant.save() } }
      }
      await this.#provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true })
    })().catch(() => response.writeHead(500).end())
    return true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
