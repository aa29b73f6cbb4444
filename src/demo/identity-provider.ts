import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { InteractionResults, KoaContextWithOIDC, Provider as OidcProvider } from 'oidc-provider'
import { AgentgateError } from '../errors.ts'
import { confirmPage, codePage, failedPage, successPage } from './identity-pages.ts'

/** Somebody that the demo's provider knows. */
export interface DemoPerson {
  readonly id: 'maria' | 'jonas'
  readonly email: string
  readonly groups: readonly string[]
}

export const maria: DemoPerson = { id: 'maria', email: 'maria@shop.example', groups: ['support'] }
export const jonas: DemoPerson = { id: 'jonas', email: 'jonas@shop.example', groups: ['dba'] }

export const demoClient = 'agentgate-demo'

/** Says who a browser is that has not said it itself; a real provider would ask for a password. */
export const personCookie = 'person'

const people = new Map<string, DemoPerson>([maria, jonas].map(person => [person.id, person]))
/** RFC 8628 §3.2 says five where nothing is said: long, for whoever looks on. */
const pollSeconds = 1
const loginSeconds = 3600
const codeSeconds = 600

/**
 * A real OpenID provider (oidc-provider) on 127.0.0.1, in memory, with a page to confirm a code at. Whoever starts it
 * disposes of it. Without TLS: it is never reached from elsewhere, and a browser would warn of a certificate of its own.
 */
export class IdentityProvider implements AsyncDisposable {
  readonly issuer: string
  readonly #server: http.Server
  readonly #codes: string[] = []
  #waiting: ((address: string) => void) | undefined

  private constructor(server: http.Server, issuer: string) {
    this.#server = server
    this.issuer = issuer
  }

  /** The address to confirm the next code at that a terminal shows; one that nobody has taken yet comes first. */
  async nextCode(): Promise<string> {
    return this.#codes.shift() ?? (await new Promise(resolve => (this.#waiting = resolve)))
  }

  static async start(): Promise<IdentityProvider> {
    const { default: Provider } = await import('oidc-provider')
    const server = http.createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string')
      throw new AgentgateError('INTERNAL', 'a TCP listener has no port')
    const issuer = `http://127.0.0.1:${address.port}`
    const provider: OidcProvider = new Provider(issuer, configuration())
    provider.use(async (context: KoaContextWithOIDC, next) => {
      await next()
      const body: unknown = context.body
      if (isDeviceAuthorization(body)) context.body = { ...body, interval: pollSeconds }
    })
    const handle = provider.callback()
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      if (request.url?.startsWith('/interaction/') === true)
        interact(provider, request, response).catch(() => response.writeHead(500).end())
      else void handle(request, response)
    })
    const started = new IdentityProvider(server, issuer)
    provider.on('device_authorization.success', (_context, body: unknown) => {
      if (isDeviceAuthorization(body)) started.#shown(body.verification_uri_complete)
    })
    return started
  }

  #shown(address: string): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting === undefined) this.#codes.push(address)
    else waiting(address)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

function configuration() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' }
  return {
    jwks: { keys: [key] },
    cookies: { keys: [randomUUID()] },
    clients: [
      {
        client_id: demoClient,
        client_name: 'agentgate',
        token_endpoint_auth_method: 'none' as const,
        application_type: 'native' as const,
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: 'ES256' as const,
      },
    ],
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true, allowedPolicy: () => Promise.resolve(true) },
      deviceFlow: {
        enabled: true,
        mask: '****-****',
        userCodeInputSource: (context: KoaContextWithOIDC, form: string, _output: unknown, error?: Error) => {
          context.body = codePage(form, error === undefined ? undefined : reasonOf(error))
        },
        userCodeConfirmSource: (
          context: KoaContextWithOIDC,
          form: string,
          _client: unknown,
          _device: unknown,
          code: string,
        ) => {
          context.body = confirmPage(form, code, personOf(context.req).email)
        },
        successSource: (context: KoaContextWithOIDC) => {
          context.body = successPage()
        },
      },
    },
    renderError: (context: { body?: unknown; type?: string }) => {
      context.type = 'html'
      context.body = failedPage()
    },
    scopes: ['openid', 'email', 'groups', 'offline_access'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: false,
    rotateRefreshToken: true,
    interactions: { url: (_context: unknown, interaction: { uid: string }) => `/interaction/${interaction.uid}` },
    ttl: {
      IdToken: loginSeconds,
      AccessToken: loginSeconds,
      DeviceCode: codeSeconds,
      Grant: 86_400,
      RefreshToken: 86_400,
      Session: 86_400,
      Interaction: codeSeconds,
    },
    findAccount: (_context: unknown, id: string) => {
      const person = people.get(id)
      if (person === undefined) return undefined
      const { email, groups } = person
      return { accountId: id, claims: () => ({ sub: id, email, email_verified: true, groups: [...groups] }) }
    },
  }
}

/** Logs in whoever the browser is, and consents for them: the code was the question. */
async function interact(provider: OidcProvider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { prompt, params, session } = await provider.interactionDetails(request, response)
  let result: InteractionResults = { login: { accountId: personOf(request).id } }
  if (prompt.name === 'consent' && session !== undefined) {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: demoClient })
    grant.addOIDCScope(typeof params['scope'] === 'string' ? params['scope'] : 'openid')
    result = { consent: { grantId: await grant.save() } }
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true })
}

function personOf(request: IncomingMessage): DemoPerson {
  const name = new RegExp(`(?:^|; )${personCookie}=(\\w+)`).exec(request.headers.cookie ?? '')?.[1]
  return people.get(name ?? '') ?? maria
}

/** By its name (helpers/re_render_errors.js): what it says itself is for developers. */
function reasonOf(error: Error): string {
  switch (error.name) {
    case 'AbortedError':
      return 'Refused. The terminal has been told.'
    case 'ExpiredError':
      return 'This code has expired.'
    case 'AlreadyUsedError':
      return 'This code has been used.'
    default:
      return 'No terminal shows this code.'
  }
}

function isDeviceAuthorization(body: unknown): body is { readonly verification_uri_complete: string } {
  return (
    typeof body === 'object' &&
    body !== null &&
    'device_code' in body &&
    'verification_uri_complete' in body &&
    typeof body.verification_uri_complete === 'string'
  )
}
