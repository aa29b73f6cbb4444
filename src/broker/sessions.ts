import { createHash, randomBytes } from 'node:crypto'
import type { Environment } from '../config/paths.ts'
import type {
  OpenedSession,
  OpenRequest,
  PolicyContent,
  StreamEvent,
  WireCredential,
} from '../control/broker-schema.ts'
import type { Credential, CredentialIssuer } from '../credentials/credential.ts'
import { openResource } from '../credentials/open-resource.ts'
import { AgentgateError } from '../errors.ts'
import { asResourceName, asScopeName, newGrantId, newSessionId, type GrantId } from '../ids.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { Principal, Subject } from '../policy/subject.ts'
import type { EndState, Store, StoredGrant } from './store.ts'

/** Against a program that opens and never ends. */
const maxLiveGrantsPerPrincipal = 200
/** What runs when a grant ends has so long; the tunnel itself lets nothing new start. */
const drainMs = 35_000
const sweepEveryMs = 5 * 60_000

export interface SessionsOptions {
  readonly store: Store
  readonly env: Environment
  readonly policy: LoadedPolicy
  /** A tunnel that has not been heard of for so long has lost its session. */
  readonly graceSeconds: number
  readonly onTrouble: (text: string) => void
}

type Listener = (event: StreamEvent) => void

/** Gives out grants with their credentials, and takes them back: by word, by time, or when their tunnel is gone. */
export class Sessions {
  readonly #store: Store
  readonly #env: Environment
  readonly #graceMs: number
  readonly #onTrouble: (text: string) => void
  #policy: LoadedPolicy
  /** Of live grants, so that what the policy says now has no say in how an older credential ends. */
  readonly #issuers = new Map<string, CredentialIssuer>()
  readonly #listeners = new Map<string, Set<Listener>>()
  /** When a tunnel was last there; since the start for those of before. */
  readonly #seen = new Map<string, number>()
  readonly #startedAt = performance.now()
  #sweptAt = -Infinity
  #ticking = false

  constructor(options: SessionsOptions) {
    this.#store = options.store
    this.#env = options.env
    this.#policy = options.policy
    this.#graceMs = options.graceSeconds * 1000
    this.#onTrouble = options.onTrouble
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
  async open(principal: Principal, request: OpenRequest): Promise<OpenedSession> {
    const suspension = await this.#store.suspension(principal.name)
    if (suspension !== undefined)
      throw new AgentgateError('DENIED', `${principal.name} is suspended`, {
        hint: `by ${suspension.by}: ${suspension.reason}`,
      })
    if ((await this.#store.liveGrants(principal.name)).length + request.resources.length > maxLiveGrantsPerPrincipal)
      throw new AgentgateError('DENIED', `${principal.name} has ${maxLiveGrantsPerPrincipal} grants open`, {
        hint: 'agentgate grants list; agentgate grants revoke …',
      })
    const policy = this.#policy
    const subject: Subject = {
      principal,
      actor: request.actor === null ? null : { name: request.actor, proven: false },
      confined: request.confined,
      purpose: request.purpose,
      ticket: request.ticket,
    }
    const granted = request.resources.map(({ name, scope }) => policy.policy.grant(subject, name, scope ?? undefined))
    const allowed = Math.min(...granted.map(each => each.ttlSeconds))
    const ttlSeconds = Math.min(allowed, request.ttlSeconds ?? allowed)
    const session = newSessionId()
    const token = randomBytes(32).toString('base64url')
    const now = Date.now()
    const expiresAt = new Date(now + ttlSeconds * 1000).toISOString()
    const rows = granted.map(({ resource, scope }): StoredGrant => ({
      id: newGrantId(),
      session,
      principal: principal.name,
      actor: request.actor,
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
    }))
    // First what is owed is written down: whoever dies from here on leaves something that another can find.
    await this.#store.addSession(
      { id: session, principal: principal.name, token_hash: hashOf(token), expires_at: expiresAt },
      rows,
    )
    this.#seen.set(session, performance.now())
    try {
      const grants: OpenedSession['grants'] = []
      for (const [index, { resource, scope }] of granted.entries()) {
        const row = rows[index]
        if (row === undefined) continue
        const { issuer, ...target } = await openResource(policy, resource.name, scope.name, { env: this.#env })
        this.#issuers.set(row.id, issuer)
        const credential = await issuer.mint({
          grant: row.id as GrantId,
          subject,
          scope: target.scope,
          ttlSeconds,
          outlivesProcess: true,
        })
        if (!(await this.#store.activate(row.id, credential.issuer, credential.user))) {
          await endCredential(issuer, credential)
          throw new AgentgateError('REVOKED', 'access was ended while it was being opened')
        }
        grants.push({
          grant: row.id,
          resource: target.name,
          kind: target.kind,
          scope: target.scope.name,
          address: target.address,
          tls: definedOf(target.tls),
          settings: target.settings,
          scopeSettings: target.scope.settings,
          credential: toWire(credential),
        })
      }
      await this.#audit('opened', principal.name, session, granted.map(each => each.resource.name).join(', '))
      const { name, groups, source } = principal
      return {
        session,
        token,
        principal: { name, groups: [...groups], source },
        expiresAt,
        ttlSeconds,
        policy: contentOf(policy),
        grants,
      }
    } catch (error) {
      await this.#end(session, 'closed', 'broker', 'it could not be opened')
      throw error
    }
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

  /** Undefined: it has ended already. Whoever listens is there. */
  async listen(session: string, listener: Listener): Promise<(() => void) | undefined> {
    const listeners = this.#listeners.get(session) ?? new Set()
    this.#listeners.set(session, listeners)
    // Before the question, so that an end in between is heard.
    listeners.add(listener)
    const stop = () => {
      listeners.delete(listener)
      this.#seen.set(session, performance.now())
      if (listeners.size === 0) this.#listeners.delete(session)
    }
    const live = await this.#store.liveGrants()
    if (live.some(grant => grant.session === session)) return stop
    stop()
    return undefined
  }

  /** Why a session ended, for a tunnel that was not there to hear. */
  async endOf(session: string): Promise<{ readonly kind: EndState; readonly reason: string }> {
    const grants = await this.#store.grants(undefined)
    const found = grants.find(grant => grant.session === session && grant.ended_at !== null)
    const kind = found?.state === 'expired' || found?.state === 'closed' ? found.state : 'revoked'
    return { kind, reason: found?.reason ?? 'it is over' }
  }

  /** @throws AgentgateError REVOKED, NO_SUCH_GRANT */
  async renew(session: string, id: string, seconds: number): Promise<WireCredential> {
    const grant = await this.#store.grant(id)
    if (grant?.session !== session) throw noSuchGrant()
    const leftSeconds = Math.floor((Date.parse(grant.expires_at) - Date.now()) / 1000)
    if (grant.state !== 'active' || leftSeconds <= 0) throw new AgentgateError('REVOKED', 'the grant has ended')
    const issuer = await this.#issuerOf(grant)
    return toWire(await issuer.renew(credentialOf(grant), Math.min(seconds, leftSeconds)))
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
    return await this.#end(found.session, 'revoked', by.principal.name, reason)
  }

  /** Ends what they have, and gives them nothing more until they are resumed. */
  async suspend(principal: string, by: string, reason: string): Promise<number> {
    // First no more, then no longer: what is opened in between is found by the second.
    await this.#store.suspend({ principal, at: new Date().toISOString(), by, reason })
    await this.#audit('suspended', by, principal, reason)
    const sessions = new Set((await this.#store.liveGrants(principal)).map(grant => grant.session))
    await Promise.all([...sessions].map(async session => await this.#end(session, 'revoked', by, reason)))
    return sessions.size
  }

  async resume(principal: string, by: string): Promise<boolean> {
    const found = await this.#store.resume(principal)
    if (found) await this.#audit('resumed', by, principal, '')
    return found
  }

  /** Called each second: ends what is over, and whose tunnel is gone. */
  async tick(): Promise<void> {
    if (this.#ticking) return
    this.#ticking = true
    try {
      const now = performance.now()
      const drained = new Date(Date.now() - drainMs).toISOString()
      const seen = new Set<string>()
      for (const grant of await this.#store.liveGrants()) {
        if (seen.has(grant.session)) continue
        seen.add(grant.session)
        // A tunnel that is there has closed it by then.
        if (grant.expires_at <= drained) await this.#end(grant.session, 'expired', 'broker', 'its time is over')
        else if (
          !this.#listeners.has(grant.session) &&
          now - (this.#seen.get(grant.session) ?? this.#startedAt) > this.#graceMs
        )
          await this.#end(grant.session, 'revoked', 'broker', 'its tunnel has not been heard of')
      }
      if (now - this.#sweptAt > sweepEveryMs) {
        this.#sweptAt = now
        void this.#sweep()
      }
    } finally {
      this.#ticking = false
    }
  }

  async #end(session: string, state: EndState, by: string, reason: string): Promise<number> {
    const ended = await this.#store.endSession(session, state, by, reason, new Date().toISOString())
    if (ended.length === 0) return 0
    // The tunnel is told and the target is told, neither waits for the other.
    for (const listener of this.#listeners.get(session) ?? []) listener({ event: 'ended', kind: state, reason })
    await Promise.all(ended.map(async grant => await this.#endAtTarget(grant)))
    await this.#store.withdrawApprovals(session, new Date().toISOString())
    this.#seen.delete(session)
    await this.#audit(state, by, session, reason)
    return 1
  }

  async #endAtTarget(grant: StoredGrant): Promise<void> {
    if (grant.state === 'minting' && grant.credential_user === null && !this.#issuers.has(grant.id)) return
    try {
      if (grant.credential_user !== null) await endCredential(await this.#issuerOf(grant), credentialOf(grant))
    } catch (error) {
      const why = error instanceof AgentgateError ? error.message : 'a bug of agentgate'
      this.#onTrouble(`${grant.resource}: a credential is still valid there until it expires or is swept: ${why}`)
    } finally {
      this.#issuers.delete(grant.id)
    }
  }

  async #issuerOf(grant: StoredGrant): Promise<CredentialIssuer> {
    const known = this.#issuers.get(grant.id)
    if (known !== undefined) return known
    const resource = asResourceName(grant.resource)
    const scope = asScopeName(grant.scope)
    if (resource === undefined || scope === undefined) throw noSuchGrant()
    const { issuer } = await openResource(this.#policy, resource, scope, { env: this.#env })
    this.#issuers.set(grant.id, issuer)
    return issuer
  }

  async #sweep(): Promise<void> {
    for (const resource of this.#policy.policy.resources.values())
      for (const scope of resource.scopes.keys())
        try {
          const { issuer } = await openResource(this.#policy, resource.name, scope, { env: this.#env })
          await issuer.sweep()
          if (issuer.name === 'postgres-role') break // a sweep is the whole server's
        } catch (error) {
          if (!(error instanceof AgentgateError)) throw error
          this.#onTrouble(`${resource.name}: could not be swept: ${error.message}`)
          break
        }
  }

  async #audit(kind: string, by: string, about: string, detail: string): Promise<void> {
    await this.#store.audit({ at: new Date().toISOString(), kind, by, about, detail })
  }
}

/** Who asks the broker something. */
export interface Caller {
  readonly principal: Principal
  readonly administers: boolean
  /** May see what everybody did. */
  readonly audits: boolean
}

export function contentOf(policy: LoadedPolicy): PolicyContent {
  return {
    digest: policy.digest,
    kind: policy.files.length === 1 && policy.path === policy.files[0]?.path ? 'file' : 'folder',
    files: policy.files.map(file => ({
      name: file.path.split('/').at(-1) ?? 'agentgate.yaml',
      text: file.bytes.toString('utf8'),
    })),
  }
}

async function endCredential(issuer: CredentialIssuer, credential: Credential): Promise<void> {
  await issuer.revoke(credential)
  await issuer.terminate(credential)
}

function credentialOf(grant: StoredGrant): Credential {
  return { issuer: grant.issuer ?? '', user: grant.credential_user, secret: null, certificate: null, expiresAt: null }
}

function toWire(credential: Credential): WireCredential {
  const { certificate } = credential
  return {
    issuer: credential.issuer,
    user: credential.user,
    secret: credential.secret?.reveal() ?? null,
    certificate: certificate === null ? null : { certificate: certificate.certificate, key: certificate.key.reveal() },
    expiresAt: credential.expiresAt?.toISOString() ?? null,
  }
}

function definedOf(tls: {
  mode: OpenedSession['grants'][number]['tls']['mode']
  name: string | undefined
  ca: string | undefined
}) {
  return {
    mode: tls.mode,
    ...(tls.name === undefined ? {} : { name: tls.name }),
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

function noSuchGrant(): AgentgateError {
  return new AgentgateError('NO_SUCH_GRANT', 'there is no such grant or session that is open and yours to end', {
    hint: 'agentgate grants list',
  })
}
