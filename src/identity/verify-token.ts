import type { errors as JoseErrors } from 'jose'
import type { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { Secret } from '../secret.ts'
import type { Claims } from './claims.ts'
import type { IdentityIssuer } from './identity-issuer.ts'
import { ProviderKeys } from './provider-keys.ts'

/** Signatures by a key pair only: with one that is shared, whoever verifies could have signed (RFC 8725 §2.1, §3.1). */
const algorithms = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
]
/** Clocks differ. */
export const toleranceSeconds = 120
const fromTheFuture = 'it is from the future: is the clock right?'
const maxTokenBytes = 64 * 1024

export interface VerifiedToken {
  readonly issuer: IdentityIssuer
  readonly claims: Claims
  readonly expiresAt: Date
  readonly token: Secret
}

/** Verifies tokens by the keys that their issuers show. One for as long as tokens come, so that keys are asked for once. */
export class TokenVerifier {
  readonly #keys: ProviderKeys

  constructor(paths: Paths) {
    this.#keys = new ProviderKeys(paths)
  }

  /**
   * A token that one of these issuers signed for us, and that counts now (RFC 7519 §4.1, RFC 8725).
   * @param audience what it must be meant for: an ID token the client that logged in, any other what the policy says.
   * @throws AgentgateError NOT_LOGGED_IN, IDP_UNREACHABLE
   */
  async verify(
    token: string,
    issuers: readonly IdentityIssuer[],
    audience: (issuer: IdentityIssuer) => string | string[],
  ): Promise<VerifiedToken> {
    const jose = await import('jose')
    const refused = (why: string, cause?: unknown) =>
      new AgentgateError('NOT_LOGGED_IN', `the token is not accepted: ${why}`, { hint: 'agentgate login', cause })
    if (token.length > maxTokenBytes) throw refused('it is too large')
    let named: unknown
    try {
      named = jose.decodeJwt(token).iss
    } catch (cause) {
      throw refused('it is no JWT', cause)
    }
    const issuer = issuers.find(each => each.issuer === named)
    if (issuer === undefined) throw refused('the policy does not know who issued it')
    for (let anew = false; ; anew = true) {
      const { keys, mayBeOlder } = await this.#keys.of(issuer.issuer, anew)
      try {
        const { payload } = await jose.jwtVerify(token, jose.createLocalJWKSet(keys), {
          issuer: issuer.issuer,
          audience: audience(issuer),
          algorithms,
          clockTolerance: toleranceSeconds,
          requiredClaims: ['exp', 'iat', 'sub'],
        })
        if ((payload.iat ?? 0) > Date.now() / 1000 + toleranceSeconds) throw refused(fromTheFuture)
        return { issuer, claims: payload, expiresAt: new Date((payload.exp ?? 0) * 1000), token: new Secret(token) }
      } catch (error) {
        if (error instanceof AgentgateError) throw error
        const rotated =
          error instanceof jose.errors.JWKSNoMatchingKey || error instanceof jose.errors.JWSSignatureVerificationFailed
        if (rotated && mayBeOlder) continue
        throw refused(reason(error, jose.errors), error)
      }
    }
  }
}

/** In our words: what a library says may quote the token. */
function reason(error: unknown, errors: typeof JoseErrors): string {
  if (error instanceof errors.JWTExpired) return 'it has expired'
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim } = error
    if (claim === 'aud') return 'it is meant for somebody else (aud)'
    if (claim === 'nbf' || claim === 'iat') return fromTheFuture
    return `its claim ${/^\w{1,20}$/.test(claim) ? claim : ''} does not hold`
  }
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported)
    return 'it is not signed in a way that proves anything (alg)'
  if (error instanceof errors.JWKSNoMatchingKey) return 'no key of its issuer signed it'
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong'
  return 'it is malformed'
}
