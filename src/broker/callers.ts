import { createHash } from 'node:crypto'
import type http from 'node:http'
import type { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { actorOf, principalOf } from '../identity/claims.ts'
import { osUser } from '../identity/os-user.ts'
import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import { TokenVerifier, type VerifiedToken } from '../identity/verify-token.ts'
import { isWho } from '../policy/access.ts'
import type { CompiledPolicy } from '../policy/compile.ts'
import type { ParsedWho } from '../policy/schema.ts'
import type { Principal } from '../policy/subject.ts'
import { bearerOf, tooOften } from './http.ts'
import { RateLimit } from './rate-limit.ts'
import type { Caller } from './caller.ts'
import type { Sessions } from './sessions.ts'
import { principalToWire } from './wire.ts'
import type { Store } from './store.ts'

/** A token that was good is good for so long, as far as looking it up again goes; never beyond its own end. */
const rememberTokenMs = 30_000
const maxRememberedTokens = 10_000
const refusedEveryMs = 1000

/** How a request came in: over the network, or by a socket of this user's that may administer, or only ask. */
export type Door = 'network' | 'administer' | 'ask'

type Verified = Pick<Caller, 'principal' | 'actor'>

/** Who asks, by their token or by the socket they came through, and how often they may. */
export class Callers {
  readonly #sessions: Sessions
  readonly #store: Store
  readonly #verifier: TokenVerifier
  readonly #tokens = new Map<string, Verified & { readonly until: number; readonly policy: string }>()
  /** Hashes of tokens that were told of. */
  readonly #told = new Set<string>()
  #toldRefusedAt = -Infinity
  readonly #calls = new RateLimit(50, 500)
  /** A whole office may come from one address. */
  readonly #failures = new RateLimit(20, 500)

  constructor(sessions: Sessions, store: Store, paths: Paths) {
    this.#sessions = sessions
    this.#store = store
    this.#verifier = new TokenVerifier(paths)
  }

  /** @throws AgentgateError NOT_LOGGED_IN, DENIED, IDP_UNREACHABLE */
  async caller(door: Door, request: http.IncomingMessage): Promise<Caller> {
    const token = bearerOf(request)
    if (token === undefined) {
      if (door === 'network')
        throw new AgentgateError('NOT_LOGGED_IN', 'the broker wants to know who asks', { hint: 'agentgate login' })
      const owner = await osUser()
      this.#within(`principal ${owner.name}`)
      const administers = door === 'administer'
      const suspended = !administers && (await this.#store.suspension(owner.name)) !== undefined
      return { principal: owner, actor: null, administers, audits: administers, suspended }
    }
    const { principal, actor } = await this.#verifiedWithin(token, request.socket.remoteAddress ?? 'local')
    this.#within(`principal ${principal.name}`)
    const { admins } = this.#sessions.policy.policy.declaration
    const subject = { principal, actor, confined: false, purpose: null, ticket: null }
    const suspended = (await this.#store.suspension(principal.name)) !== undefined
    const is = (who: ParsedWho | undefined) => !suspended && who !== undefined && isWho(who, subject)
    const administers = (door === 'administer' && actor === null) || is(admins?.policy)
    return { principal, actor, administers, audits: administers || is(admins?.auditor), suspended }
  }

  /** By their token as that policy reads it, else by the socket; what cannot be told is a no. */
  async administersUnder(policy: CompiledPolicy, door: Door, request: http.IncomingMessage): Promise<boolean> {
    const token = bearerOf(request)
    if (token === undefined) return door === 'administer'
    const { issuers, admins } = policy.declaration
    try {
      const { issuer, claims } = await this.#verify(token, issuers)
      const [principal, actor] = [principalOf(claims, issuer), actorOf(claims)]
      const subject = { principal, actor, confined: false, purpose: null, ticket: null }
      return (
        (door === 'administer' && actor === null) || (admins?.policy !== undefined && isWho(admins.policy, subject))
      )
    } catch (error) {
      if (error instanceof AgentgateError) return false
      throw error
    }
  }

  async #verify(token: string, issuers: readonly IdentityIssuer[]): Promise<VerifiedToken> {
    return await this.#verifier.verify(token, issuers, each => [each.audience, each.clientId])
  }

  async #verified(token: string): Promise<Verified> {
    const key = createHash('sha256').update(token).digest('hex')
    const { digest, policy } = this.#sessions.policy
    const known = this.#tokens.get(key)
    // Another policy may read it otherwise, or not at all.
    if (known !== undefined && known.policy === digest && Date.now() < known.until) return known
    const { issuer, claims, expiresAt } = await this.#verify(token, policy.declaration.issuers).catch(
      (error: unknown) => {
        this.#tellRefused(error)
        throw error
      },
    )
    const principal = principalOf(claims, issuer)
    const actor = actorOf(claims)
    this.#tellLogin(key, principal, issuer.issuer)
    const seen = JSON.stringify(principalToWire(principal))
    await this.#store.requests.seen(principal.name, seen, this.#store.now().toISOString())
    if (this.#tokens.size >= maxRememberedTokens) this.#tokens.clear()
    const until = Math.min(Date.now() + rememberTokenMs, expiresAt.getTime())
    this.#tokens.set(key, { principal, actor, until, policy: digest })
    return { principal, actor }
  }

  /** A token counts as a login when it is first shown. */
  #tellLogin(token: string, { name, groups }: Principal, issuer: string): void {
    if (this.#told.has(token)) return
    if (this.#told.size >= maxRememberedTokens) this.#told.clear()
    this.#told.add(token)
    this.#sessions.tell({ kind: 'login', user: { name, groups }, issuer, refused: null })
  }

  /** Not more often than each second: whoever has no token must not be able to fill the outbox. */
  #tellRefused(error: unknown): void {
    if (!(error instanceof AgentgateError) || performance.now() - this.#toldRefusedAt < refusedEveryMs) return
    this.#toldRefusedAt = performance.now()
    this.#sessions.tell({ kind: 'login', user: null, issuer: 'agentgate broker', refused: error.message })
  }

  /** Whoever has the session's own token. @throws AgentgateError NOT_LOGGED_IN, RATE_LIMITED */
  async session(session: string, request: http.IncomingMessage): Promise<void> {
    await this.#counted(request.socket.remoteAddress ?? 'local', async () => {
      await this.#sessions.authenticate(session, bearerOf(request) ?? '')
    })
    this.#within(`session ${session}`)
  }

  /** @throws AgentgateError RATE_LIMITED */
  #within(key: string): void {
    if (this.#calls.take(key) !== undefined) throw tooOften()
  }

  /** Whoever guesses is slowed down, by where they are: nobody knows who they are. */
  async #counted<Result>(from: string, verify: () => Promise<Result>): Promise<Result> {
    if (!this.#failures.has(from)) throw tooOften()
    try {
      return await verify()
    } catch (error) {
      if (error instanceof AgentgateError && error.code === 'NOT_LOGGED_IN') this.#failures.take(from)
      throw error
    }
  }

  async #verifiedWithin(token: string, from: string): Promise<Verified> {
    return await this.#counted(from, async () => await this.#verified(token))
  }
}
