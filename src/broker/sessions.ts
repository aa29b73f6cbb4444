import { createHash, randomBytes } from 'node:crypto'
import type { AuditEvent } from '../audit/audit-event.ts'
import type { Environment } from '../config/paths.ts'
import type { Adoption, OpenedSession, OpenRequest, StreamEvent, WireCredential } from '../control/broker-schema.ts'
import type { Credential, CredentialIssuer } from '../credentials/credential.ts'
import { AgentgateError } from '../errors.ts'
import { newBrokerId, newGrantId, newSessionId, type GrantId } from '../ids.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { GivenOnRequest, Principal, Subject } from '../policy/subject.ts'
import type { Caller } from './caller.ts'
import { CredentialKeeper, credentialOf, endCredential } from './credential-keeper.ts'
import { grantTo, requestFor, subjectOf } from './granting.ts'
import { Metrics } from './metrics.ts'
import { contentOf } from './policy-content.ts'
import type { Store } from './store.ts'
import type { EndState, StoredGrant } from './store-tables.ts'
import { credentialToWire, principalToWire, tlsToWire } from './wire.ts'

/** Against a program that opens and never ends. */
const maxLiveGrantsPerPrincipal = 200
/** What runs when a grant ends has so long; the tunnel itself lets nothing new start. */
const drainMs = 35_000
/** Each says every second that it runs; one that was only slow finds its grant ended, and ends the credential itself. */
const deadAfterMs = 5000
const forgetAfterMs = 24 * 3600_000
/** A broker that has not looked at its store for so long was asleep, or cut off: what tunnels did meanwhile it has not seen. */
const steadyMs = 5000
/** Without its store a broker cannot hear of an end, so it vouches for nothing. */
const vouchMs = 4000
const seenEveryMs = 15_000

export interface SessionsOptions {
  readonly store: Store
  readonly env: Environment
  readonly policy: LoadedPolicy
  /** A tunnel that has not been heard of for so long has lost its session. */
  readonly graceSeconds: number
  readonly onTrouble: (text: string) => void
  /** What auditors want to know of; never throws or waits. */
  readonly tell: (event: AuditEvent) => void
}

type Listener = (event: StreamEvent) => void

/** Gives out grants with their credentials, and takes them back: by word, by time, or when their tunnel is gone. */
export class Sessions {
  readonly #store: Store
  readonly #graceMs: number
  readonly tell: SessionsOptions['tell']
  #policy: LoadedPolicy
  readonly #keeper: CredentialKeeper
  readonly metrics = new Metrics()
  readonly #listeners = new Map<string, Set<Listener>>()
  /** Of this run among the brokers on the store. */
  readonly #id = newBrokerId()
  /** By the store's clock: silence counts from here on. */
  #steadySince = new Date(0)
  #tickedAt = -Infinity
  #sawAt = -Infinity
  #ticking = false

  constructor(options: SessionsOptions) {
    this.#store = options.store
    this.#policy = options.policy
    this.#graceMs = options.graceSeconds * 1000
    this.tell = options.tell
    this.#keeper = new CredentialKeeper({
      store: options.store,
      env: options.env,
      metrics: this.metrics,
      onTrouble: options.onTrouble,
    })
    this.#store.hear(word => {
      if (word.kind === 'ended') void this.#tellEnded([word.session])
      if (word.kind === 'gap') void this.#tellEnded(this.here())
    })
  }

  get policy(): LoadedPolicy {
    return this.#policy
  }

  /** A changed policy, for every tunnel at its next action. */
  replacePolicy(policy: LoadedPolicy): void {
    this.#policy = policy
    const event: StreamEvent = { event: 'policy', policy: contentOf(policy) }
    for (const listeners of this.#listeners.values()) for (const listener of listeners) listener(event)
  }

  /**
   * Grants what the policy gives, and mints a credential for each.
   * @throws AgentgateError DENIED, NO_SUCH_RESOURCE, NO_SUCH_SCOPE, and as the issuers; nothing is left behind.
   */
  async open(
    { principal, actor: proven }: Pick<Caller, 'principal' | 'actor'>,
    request: OpenRequest,
  ): Promise<OpenedSession> {
    await this.refuseSuspended(principal.name)
    if ((await this.#store.liveGrants(principal.name)).length + request.resources.length > maxLiveGrantsPerPrincipal)
      throw new AgentgateError('DENIED', `${principal.name} has ${maxLiveGrantsPerPrincipal} grants open`, {
        hint: 'agentgate grants list; agentgate grants revoke …',
      })
    const policy = this.#policy
    // What a token proves counts, whatever its bearer says.
    const actor = proven ?? (request.actor === null ? null : { name: request.actor, proven: false })
    const subject: Subject = {
      principal,
      actor,
      confined: request.confined,
      purpose: request.purpose,
      ticket: request.ticket,
      onRequest: await this.givenTo(principal.name),
    }
    const granted = request.resources.map(({ name, scope }) =>
      grantTo(policy.policy, subject, name, scope ?? undefined),
    )
    const given = await this.#store.requests.given(principal.name, this.#store.now().toISOString())
    const requests = granted.map(each => requestFor(each, subject, given))
    const allowed = Math.min(
      ...granted.map(each => each.ttlSeconds),
      ...requests.map(each => (each === undefined ? Infinity : secondsUntil(each.until ?? '', this.#store.now()))),
    )
    const ttlSeconds = Math.min(allowed, request.ttlSeconds ?? allowed)
    const session = newSessionId()
    const token = randomBytes(32).toString('base64url')
    const now = this.#store.now().getTime()
    const expiresAt = new Date(now + ttlSeconds * 1000).toISOString()
    const rows = granted.map(({ resource, scope }, index): StoredGrant => ({
      id: newGrantId(),
      session,
      principal: principal.name,
      actor: actor?.name ?? null,
      resource: resource.name,
      scope: scope.name,
      state: 'minting',
      issuer: null,
      credential_user: null,
      host: request.host,
      purpose: request.purpose,
      ticket: request.ticket,
      created_at: new Date(now).toISOString(),
      expires_at: expiresAt,
      ended_at: null,
      ended_by: null,
      reason: null,
      request: requests[index]?.id ?? null,
    }))
    // First what is owed is written down: whoever dies from here on leaves something that another can find.
    await this.#store.addSession(
      {
        id: session,
        principal: principal.name,
        token_hash: hashOf(token),
        expires_at: expiresAt,
        seen_at: new Date(now).toISOString(),
        broker: this.#id,
      },
      rows,
    )
    const minted: { readonly issuer: CredentialIssuer; readonly credential: Credential }[] = []
    try {
      // Whoever took it away meanwhile may not have seen what was written just now.
      await this.refuseSuspended(principal.name)
      const still = new Set((await this.givenTo(principal.name)).map(each => each.request))
      if (requests.some(each => each !== undefined && !still.has(each.id)))
        throw new AgentgateError('REVOKED', 'what was given on request was taken back while it was being opened')
      const grants: OpenedSession['grants'] = []
      for (const [index, { resource, scope }] of granted.entries()) {
        const row = rows[index]
        if (row === undefined) continue
        const { issuer, ...target } = await this.#keeper.open(policy, resource.name, scope.name)
        this.#keeper.keep(row.id, issuer)
        const credential = await issuer.mint({
          grant: row.id as GrantId,
          subject,
          scope: target.scope,
          ttlSeconds,
          keeper: await this.#store.id(),
        })
        minted.push({ issuer, credential })
        if (!(await this.#store.activate(row.id, credential.issuer, credential.user)))
          throw new AgentgateError('REVOKED', 'access was ended while it was being opened')
        grants.push({
          grant: row.id,
          resource: target.name,
          kind: target.kind,
          scope: target.scope.name,
          address: target.address,
          tls: tlsToWire(target.tls),
          settings: target.settings,
          scopeSettings: target.scope.settings,
          credential: credentialToWire(credential),
        })
      }
      for (const row of rows) this.tell({ kind: 'grant', ...toldOf(row, subject), by: null, reason: row.purpose })
      this.metrics.count('granted', {}, granted.length)
      await this.#audit('opened', principal.name, session, granted.map(each => each.resource.name).join(', '))
      return {
        session,
        token,
        actor,
        principal: principalToWire(principal),
        onRequest: [...(subject.onRequest ?? [])],
        now: this.#store.now().toISOString(),
        expiresAt,
        ttlSeconds,
        policy: contentOf(policy),
        grants,
      }
    } catch (error) {
      // Whatever the store says by now: what was made here goes, and what is left of it is swept.
      await Promise.allSettled(minted.map(async each => await endCredential(each.issuer, each.credential)))
      await this.#end(session, 'closed', 'broker', 'it could not be opened').catch(() => this.#keeper.sweepSoon())
      throw error
    }
  }

  /** A session that its tunnel opened alone: listed, ended by word, and ended when the tunnel is gone. */
  async adopt(adopted: Adoption, issuers: ReadonlyMap<string, CredentialIssuer>): Promise<void> {
    const { session, principal, actor, host, purpose, ticket } = adopted
    const now = this.#store.now().toISOString()
    const expiresAt = new Date(Date.parse(adopted.expiresAt)).toISOString()
    for (const [grant, issuer] of issuers) this.#keeper.keep(grant, issuer)
    await this.#store.adopt(
      {
        ...{ id: session, principal, token_hash: hashOf(adopted.token), expires_at: expiresAt },
        ...{ seen_at: now, broker: this.#id },
      },
      adopted.grants.map(({ grant, resource, scope, issuer, user }) => ({
        ...{ id: grant, session, principal, actor, resource, scope, state: 'active' as const, issuer },
        ...{ credential_user: issuers.has(grant) ? user : null, host, purpose, ticket },
        ...{ created_at: now, expires_at: expiresAt, ended_at: null, ended_by: null, reason: null, request: null },
      })),
    )
  }

  /** @throws AgentgateError DENIED */
  async refuseSuspended(principal: string): Promise<void> {
    const suspension = await this.#store.suspension(principal)
    if (suspension !== undefined)
      throw new AgentgateError('DENIED', `${principal} is suspended`, {
        hint: `by ${suspension.by}: ${suspension.reason}`,
      })
  }

  /** What a principal was given on request, and still has. */
  async givenTo(principal: string): Promise<readonly GivenOnRequest[]> {
    const given = await this.#store.requests.given(principal, this.#store.now().toISOString())
    return given.map(({ id, resource, scope, actor }) => ({ request: id, resource, scope, actor }))
  }

  /** The sessions that somebody has by a request. */
  async endGivenBy(request: string, by: string, reason: string): Promise<void> {
    const live = await this.#store.liveGrants()
    const sessions = new Set(live.filter(grant => grant.request === request).map(grant => grant.session))
    await Promise.all([...sessions].map(async session => await this.#end(session, 'revoked', by, reason)))
  }

  /** @throws AgentgateError NOT_LOGGED_IN: not this session's token, or there is no such session; never says which */
  async authenticate(session: string, token: string): Promise<void> {
    const found = await this.#store.session(session)
    // The hash of what was sent: a comparison that takes longer tells nothing about the token.
    if (found?.token_hash !== hashOf(token))
      throw new AgentgateError('NOT_LOGGED_IN', 'the session’s token is not accepted')
  }

  /** Tells a session's tunnel; one that is not there hears of it when it comes back. */
  publish(session: string, event: StreamEvent): void {
    for (const listener of this.#listeners.get(session) ?? []) listener(event)
  }

  /** Sessions whose tunnels are on the line here. */
  here(): readonly string[] {
    return [...this.#listeners.keys()]
  }

  /** Undefined: it has ended already. Whoever listens is there. */
  async listen(session: string, listener: Listener): Promise<(() => void) | undefined> {
    const listeners = this.#listeners.get(session) ?? new Set()
    this.#listeners.set(session, listeners)
    // Before the question, so that an end in between is heard.
    listeners.add(listener)
    const stop = () => {
      listeners.delete(listener)
      if (listeners.size > 0) return
      this.#listeners.delete(session)
      // Where it cannot be written, its silence counts from a little earlier.
      void this.#store.seen([session], this.#store.now().toISOString()).catch(() => undefined)
    }
    try {
      if (await this.#store.isLive(session)) return stop
    } catch (error) {
      stop()
      throw error
    }
    stop()
    return undefined
  }

  /** What it keeps at targets; what it has granted lives on. */
  async release(): Promise<void> {
    await this.#keeper.close()
  }

  /** Whether what is said here of sessions is what holds: the store answers. */
  get vouches(): boolean {
    return performance.now() - this.#tickedAt < vouchMs
  }

  /** Why a session ended, for a tunnel that was not there to hear. */
  async endOf(session: string): Promise<{ readonly kind: EndState; readonly reason: string }> {
    const found = (await this.#store.grantsOf(session)).find(grant => grant.ended_at !== null)
    const kind = found?.state === 'expired' || found?.state === 'closed' ? found.state : 'revoked'
    return { kind, reason: found?.reason ?? 'it is over' }
  }

  /** @throws AgentgateError REVOKED, NO_SUCH_GRANT */
  async renew(session: string, id: string, seconds: number): Promise<WireCredential> {
    const grant = await this.#store.grant(id)
    if (grant?.session !== session) throw noSuchGrant()
    const leftSeconds = Math.floor((Date.parse(grant.expires_at) - this.#store.now().getTime()) / 1000)
    if (grant.state !== 'active' || leftSeconds <= 0) throw new AgentgateError('REVOKED', 'the grant has ended')
    const issuer = await this.#keeper.issuerOf(grant, this.#policy)
    return credentialToWire(await issuer.renew(credentialOf(grant), Math.min(seconds, leftSeconds)))
  }

  /**
   * A session for longer, as the policy gives now to whoever asks, who must be whose it is.
   * @throws AgentgateError NO_SUCH_GRANT: none that is open and theirs, never says which; DENIED, EXPIRED
   */
  async extend(principal: Principal, session: string, seconds: number | null) {
    const live = (await this.#store.grantsOf(session)).filter(grant => grant.state === 'active')
    if (live.length === 0 || live.some(grant => grant.principal !== principal.name)) throw noSuchGrant()
    await this.refuseSuspended(principal.name)
    const now = this.#store.now()
    const before = Math.min(...live.map(grant => Date.parse(grant.expires_at)))
    if (before <= now.getTime()) throw new AgentgateError('EXPIRED', 'access has ended: open it again')
    const onRequest = await this.givenTo(principal.name)
    const given = await this.#store.requests.given(principal.name, now.toISOString())
    const allowed = live.map(({ actor, purpose, ticket, resource, scope }) => {
      const subject: Subject = {
        ...{ principal, purpose, ticket, onRequest },
        actor: actor === null ? null : { name: actor, proven: false },
        confined: false, // of no account to access
      }
      const granted = grantTo(this.#policy.policy, subject, resource, scope)
      const request = requestFor(granted, subject, given)
      return Math.min(granted.ttlSeconds, request === undefined ? Infinity : secondsUntil(request.until ?? '', now))
    })
    const wanted = now.getTime() + Math.min(...allowed, seconds ?? Infinity) * 1000
    const expiresAt = new Date(Math.max(before, wanted))
    if (!(await this.#store.extendSession(session, expiresAt.toISOString(), now.toISOString()))) throw noSuchGrant()
    await this.#audit('renewed', principal.name, session, expiresAt.toISOString())
    return {
      expiresAt: expiresAt.toISOString(),
      ttlSeconds: Math.floor((expiresAt.getTime() - now.getTime()) / 1000),
    }
  }

  /** By the tunnel itself. */
  async close(session: string, reason: string): Promise<number> {
    return await this.#end(session, 'closed', 'tunnel', reason)
  }

  /**
   * Ends a session, its tunnel's connections and its backends at the targets. A grant's end is its session's.
   * @throws AgentgateError NO_SUCH_GRANT: there is none that is live, or it is not the caller's; never says which
   */
  async revoke(what: { session: string } | { grant: string }, by: Caller, reason: string): Promise<number> {
    const live = await this.#store.liveGrants(by.administers ? undefined : by.principal.name)
    const found = live.find(grant => ('session' in what ? grant.session === what.session : grant.id === what.grant))
    if (found === undefined) throw noSuchGrant()
    const { name } = by.principal
    // First no more, then no longer. Whoever ends their own keeps what they were given.
    if (found.principal !== name)
      for (const { session, request } of live)
        if (session === found.session && request !== null)
          await this.#store.requests.revoke(request, name, reason, this.#store.now().toISOString())
    return await this.#end(found.session, 'revoked', name, reason)
  }

  /** Ends what they have, and gives them nothing more until they are resumed. */
  async suspend(principal: string, by: string, reason: string): Promise<number> {
    // First no more, then no longer: what is opened in between is found by the second.
    const at = this.#store.now().toISOString()
    await this.#store.suspend({ principal, at, by, reason })
    await this.#store.requests.endAllOf(principal, by, reason, at)
    this.tell({ kind: 'suspension', principal, by, reason })
    await this.#audit('suspended', by, principal, reason)
    const sessions = new Set((await this.#store.liveGrants(principal)).map(grant => grant.session))
    await Promise.all([...sessions].map(async session => await this.#end(session, 'revoked', by, reason)))
    return sessions.size
  }

  async resume(principal: string, by: string): Promise<boolean> {
    const found = await this.#store.resume(principal)
    if (!found) return false
    this.tell({ kind: 'resumption', principal, by, reason: null })
    await this.#audit('resumed', by, principal, '')
    return found
  }

  /**
   * Called each second: ends what is over, and whose tunnel is gone.
   * @throws AgentgateError STORE_FAILED: nothing is vouched for until it succeeds again
   */
  async tick(): Promise<void> {
    if (this.#ticking) return
    this.#ticking = true
    try {
      await this.#store.ping()
      const now = this.#store.now()
      const here = this.here()
      if (performance.now() - this.#sawAt > Math.min(seenEveryMs, this.#graceMs / 4)) {
        await this.#store.seen(here, now.toISOString())
        this.#sawAt = performance.now()
      }
      if (performance.now() - this.#tickedAt > steadyMs) this.#steadySince = now
      await this.#store.runs(this.#id, now.toISOString(), new Date(now.getTime() - forgetAfterMs).toISOString())
      await this.#endWhatIsOver(now)
      // What another broker ended, and could not say.
      await this.#tellEnded(here)
      this.#tickedAt = performance.now()
      this.#keeper.tick(this.#policy)
    } finally {
      this.#ticking = false
    }
  }

  async #endWhatIsOver(now: Date): Promise<void> {
    // A tunnel that is there has closed it by then.
    const drained = new Date(now.getTime() - drainMs).toISOString()
    const silentSince = now.getTime() - this.#graceMs
    for (const { id, until, seen_at } of await this.#store.liveSessions()) {
      const seen = Math.max(this.#steadySince.getTime(), seen_at === null ? 0 : Date.parse(seen_at))
      if (until <= drained) this.#endMeanwhile(id, 'expired', 'broker', 'its time is over')
      else if (!this.#listeners.has(id) && seen < silentSince)
        this.#endMeanwhile(id, 'revoked', 'broker', 'its tunnel has not been heard of')
    }
    const running = new Date(now.getTime() - deadAfterMs).toISOString()
    // On a store that nobody else can have open, nobody else runs.
    for (const session of await this.#store.mintingOfTheDead(this.#id, this.#store.shared ? running : null))
      this.#endMeanwhile(session, 'closed', 'broker', 'its broker died while opening it')
  }

  /** A target that takes its time must not keep the next look waiting; what fails is found again by that. */
  #endMeanwhile(session: string, state: EndState, by: string, reason: string): void {
    void this.#end(session, state, by, reason).catch(() => undefined)
  }

  /** Those of the tunnels here whose session has ended, by whomever. */
  async #tellEnded(sessions: readonly string[]): Promise<void> {
    for (const session of sessions) {
      if (!this.#listeners.has(session)) continue
      try {
        if (await this.#store.isLive(session)) continue
        this.publish(session, { event: 'ended', ...(await this.endOf(session)) })
      } catch {
        return // the next tick asks again, and until then nothing is vouched for
      }
    }
  }

  async #end(session: string, state: EndState, by: string, reason: string): Promise<number> {
    const startedAt = performance.now()
    const ended = await this.#store
      .endSession(session, state, by, reason, this.#store.now().toISOString())
      .catch((error: unknown) => {
        // It may have been written down though nobody could say so: then nobody else ends it at the target.
        this.#keeper.sweepSoon()
        throw error
      })
    if (ended.length === 0) return 0
    if (state === 'revoked')
      for (const grant of ended) this.tell({ kind: 'revocation', ...toldOf(grant, subjectOf(grant)), by, reason })
    // The tunnel is told, wherever it is, and the target is told; neither waits for the other.
    this.publish(session, { event: 'ended', kind: state, reason })
    await Promise.all([
      this.#store.tell({ kind: 'ended', session }),
      ...ended.map(async grant => await this.#keeper.end(grant, this.#policy)),
    ])
    this.metrics.count('ended', { how: state })
    this.metrics.observe('endSeconds', (performance.now() - startedAt) / 1000)
    return 1
  }

  async #audit(kind: string, by: string, about: string, detail: string): Promise<void> {
    await this.#store.audit({ at: this.#store.now().toISOString(), kind, by, about, detail })
  }
}

function toldOf(grant: StoredGrant, subject: Subject) {
  const { id, session, resource, scope, expires_at } = grant
  return { id, subject, session, resource, scope, expiresAt: Date.parse(expires_at) }
}

function secondsUntil(at: string, now: Date): number {
  return Math.max(1, Math.floor((Date.parse(at) - now.getTime()) / 1000))
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

function noSuchGrant(): AgentgateError {
  return new AgentgateError('NO_SUCH_GRANT', 'there is no such grant or session that is open and yours to end', {
    hint: 'agentgate grants list',
  })
}
