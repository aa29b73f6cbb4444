import type * as OpenidClient from 'openid-client'
import { isSafeUrl } from '../config/loopback.ts'
import { AgentgateError } from '../errors.ts'
import { Secret } from '../secret.ts'
import type { IdentityIssuer } from './identity-issuer.ts'
import type { LoginTokens } from './login-store.ts'
import { networkHint, networkReason, verifyTls } from './provider-fetch.ts'
import { toleranceSeconds } from './verify-token.ts'

const timeoutSeconds = 15
/** Asked for where the provider says that it knows them; some refuse a login that asks for more. */
const usualScopes = ['openid', 'email', 'profile', 'groups', 'offline_access']

export interface DevicePrompt {
  readonly address: string
  /** With the code in it, where the provider has that. */
  readonly wholeAddress: string | undefined
  readonly code: string
  readonly expiresAt: Date
}

/** An OpenID provider as somebody's login needs it. Every method throws AgentgateError LOGIN_FAILED or IDP_UNREACHABLE. */
export class Provider {
  readonly #client: typeof OpenidClient
  readonly #issuer: IdentityIssuer
  readonly #configuration: OpenidClient.Configuration

  private constructor(client: typeof OpenidClient, issuer: IdentityIssuer, configuration: OpenidClient.Configuration) {
    this.#client = client
    this.#issuer = issuer
    this.#configuration = configuration
  }

  /** @param secret of a confidential client; a person's machine has none. */
  static async discover(issuer: IdentityIssuer, clientId = issuer.clientId, secret?: Secret): Promise<Provider> {
    verifyTls()
    const client = await import('openid-client')
    const metadata = { [client.clockTolerance]: toleranceSeconds }
    const plainOnLoopback = issuer.issuer.startsWith('http:') && isSafeUrl(issuer.issuer)
    const authentication = secret === undefined ? client.None() : client.ClientSecretBasic(secret.reveal())
    try {
      const configuration = await client.discovery(new URL(issuer.issuer), clientId, metadata, authentication, {
        timeout: timeoutSeconds,
        // On loopback, and nowhere else.
        // eslint-disable-next-line @typescript-eslint/no-deprecated -- marked so only that it stands out
        ...(plainOnLoopback ? { execute: [client.allowInsecureRequests] } : {}),
      })
      refuseUnsafe(configuration.serverMetadata())
      return new Provider(client, issuer, configuration)
    } catch (error) {
      throw explain(client, issuer, error)
    }
  }

  get canUseDevices(): boolean {
    return this.#configuration.serverMetadata().device_authorization_endpoint !== undefined
  }

  /** The device authorization grant (RFC 8628): somebody types a code into any browser anywhere. */
  async loginByDevice(show: (prompt: DevicePrompt) => void, signal: AbortSignal): Promise<LoginTokens> {
    return await this.#explained(async () => {
      const client = this.#client
      const device = await client.initiateDeviceAuthorization(this.#configuration, { scope: this.#scope() })
      const expiresAt = new Date(Date.now() + device.expires_in * 1000)
      show({
        address: shownAddress(device.verification_uri),
        wholeAddress:
          device.verification_uri_complete === undefined ? undefined : shownAddress(device.verification_uri_complete),
        code: device.user_code,
        expiresAt,
      })
      // §3.5: the provider need not say that it is over.
      const over = AbortSignal.timeout(device.expires_in * 1000)
      try {
        // Waits the interval, and five seconds more at each slow_down (§3.5).
        const tokens = await client.pollDeviceAuthorizationGrant(this.#configuration, device, undefined, {
          signal: AbortSignal.any([signal, over]),
        })
        return this.#login(tokens)
      } catch (error) {
        if (over.aborted) throw codeExpired(error)
        throw error
      }
    })
  }

  /**
   * The authorization code grant with PKCE (RFC 7636) on a loopback address (RFC 8252 §7.3).
   * @param receive is given the address to open, and resolves with the one that the browser came back with.
   */
  async loginByBrowser(redirect: string, receive: (address: string) => Promise<URL>): Promise<LoginTokens> {
    return await this.#explained(async () => {
      const client = this.#client
      const verifier = client.randomPKCECodeVerifier()
      const [state, nonce] = [client.randomState(), client.randomNonce()]
      const address = client.buildAuthorizationUrl(this.#configuration, {
        redirect_uri: redirect,
        scope: this.#scope(),
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state,
        nonce,
        ...(this.#scope().includes('offline_access') ? { prompt: 'consent' } : {}),
      })
      const back = await receive(address.href)
      const tokens = await client.authorizationCodeGrant(this.#configuration, back, {
        pkceCodeVerifier: verifier,
        expectedState: state,
        expectedNonce: nonce,
        idTokenExpected: true,
      })
      return this.#login(tokens)
    })
  }

  /** A token for the policy's audience, for a job that has a client of its own (RFC 6749 §4.4). */
  async clientCredentials(): Promise<Secret> {
    return await this.#explained(async () => {
      const { audience } = this.#issuer
      const tokens = await this.#client.clientCredentialsGrant(this.#configuration, {
        audience,
        // RFC 8707; an audience that is no address is none of its resources.
        ...(URL.canParse(audience) ? { resource: audience } : {}),
      })
      return new Secret(tokens.access_token)
    })
  }

  /** Undefined: the provider no longer takes it, and one has to log in again. */
  async refresh(login: LoginTokens): Promise<LoginTokens | undefined> {
    const { refreshToken } = login
    if (refreshToken === null) return undefined
    return await this.#explained(async () => {
      try {
        const tokens = await this.#client.refreshTokenGrant(this.#configuration, refreshToken.reveal())
        if (tokens.id_token === undefined) return undefined
        // Rotated where the provider does that; else the one there is stays (RFC 6749 §6).
        return { ...this.#login(tokens), refreshToken: new Secret(tokens.refresh_token ?? refreshToken.reveal()) }
      } catch (error) {
        if (error instanceof this.#client.ResponseBodyError && error.error === 'invalid_grant') return undefined
        throw error
      }
    })
  }

  /** RFC 7009. Says whether the provider has a way to. */
  async revoke(login: LoginTokens): Promise<boolean> {
    const { refreshToken } = login
    if (refreshToken === null || this.#configuration.serverMetadata().revocation_endpoint === undefined) return false
    await this.#explained(async () => {
      await this.#client.tokenRevocation(this.#configuration, refreshToken.reveal(), {
        token_type_hint: 'refresh_token',
      })
    })
    return true
  }

  #scope(): string {
    const offered = this.#configuration.serverMetadata().scopes_supported
    const scopes = this.#issuer.scopes ?? usualScopes.filter(scope => scope === 'openid' || offered?.includes(scope))
    return [...new Set(['openid', ...scopes])].join(' ')
  }

  #login(tokens: OpenidClient.TokenEndpointResponse): LoginTokens {
    if (tokens.id_token === undefined)
      throw new AgentgateError('LOGIN_FAILED', `${this.#issuer.issuer} gave no ID token`, {
        hint: 'the client must be registered for OpenID Connect, with scope openid',
      })
    return {
      issuer: this.#issuer.issuer,
      clientId: this.#configuration.clientMetadata().client_id,
      idToken: new Secret(tokens.id_token),
      refreshToken: tokens.refresh_token === undefined ? null : new Secret(tokens.refresh_token),
    }
  }

  async #explained<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      throw explain(this.#client, this.#issuer, error)
    }
  }
}

/** What carries tokens goes nowhere in the clear, though a provider on loopback says so. */
function refuseUnsafe(metadata: OpenidClient.ServerMetadata): void {
  const { token_endpoint, device_authorization_endpoint, authorization_endpoint, revocation_endpoint } = metadata
  for (const address of [token_endpoint, device_authorization_endpoint, authorization_endpoint, revocation_endpoint])
    if (address !== undefined) shownAddress(address)
}

/** What is shown and opened is an address of the web, whatever a provider says. */
function shownAddress(text: string): string {
  if (isSafeUrl(text)) return new URL(text).href
  throw new AgentgateError('LOGIN_FAILED', 'the identity provider names an address that is not https')
}

function codeExpired(cause: unknown): AgentgateError {
  return new AgentgateError('LOGIN_FAILED', 'nobody confirmed the code in time', { hint: 'agentgate login', cause })
}

/** In our words; of the provider's own only its error code (RFC 6749 §5.2), which is one of a list. */
function explain(client: typeof OpenidClient, issuer: IdentityIssuer, error: unknown): unknown {
  if (error instanceof AgentgateError) return error
  if (error instanceof client.ResponseBodyError || error instanceof client.AuthorizationResponseError) {
    switch (error.error) {
      case 'access_denied':
        return new AgentgateError('LOGIN_FAILED', 'the login was refused in the browser', { cause: error })
      case 'expired_token':
        return codeExpired(error)
      case 'invalid_client':
      case 'unauthorized_client':
        return new AgentgateError('LOGIN_FAILED', `${issuer.issuer} does not let this client log in (${error.error})`, {
          hint: 'issuers: [ { client-id: … } ] must name a public client with this kind of login allowed',
          cause: error,
        })
      default:
        return new AgentgateError(
          'LOGIN_FAILED',
          `${issuer.issuer} refused the login (${/^[\w-]{1,60}$/.test(error.error) ? error.error : 'no reason'})`,
          { cause: error },
        )
    }
  }
  if (error instanceof Error && error.name === 'AbortError')
    return new AgentgateError('LOGIN_FAILED', 'the login was interrupted', { cause: error })
  if (error instanceof client.WWWAuthenticateChallengeError)
    return new AgentgateError('LOGIN_FAILED', `${issuer.issuer} does not let this client log in (${error.status})`, {
      hint: 'check the client’s id and secret',
      cause: error,
    })
  if (error instanceof client.ClientError && error.code === 'OAUTH_JWT_TIMESTAMP_CHECK_FAILED')
    return new AgentgateError('LOGIN_FAILED', `the token of ${issuer.issuer} does not count at this machine’s time`, {
      hint: `is the clock right? here it is ${new Date().toISOString()}`,
      cause: error,
    })
  if (error instanceof client.ClientError && error.code !== 'OAUTH_TIMEOUT' && !isNetworkError(error.cause))
    return new AgentgateError(
      'LOGIN_FAILED',
      `what ${issuer.issuer} answered is not as it should be (${error.code ?? 'no reason'})`,
      { hint: 'issuer: in the policy must be what the provider calls itself, to the last slash', cause: error },
    )
  if (error instanceof client.ClientError || isNetworkError(error))
    return new AgentgateError(
      'IDP_UNREACHABLE',
      `the identity provider did not answer at ${issuer.issuer} (${networkReason(error)})`,
      { hint: networkHint(networkReason(error)), cause: error },
    )
  return error
}

/** As fetch throws them (WHATWG Fetch §5.6): what went wrong on the way is the cause of a TypeError. */
function isNetworkError(error: unknown): boolean {
  return error instanceof TypeError && error.cause instanceof Error
}
