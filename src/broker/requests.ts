import type { AccessOutcome } from '../audit/audit-event.ts'
import { z } from 'zod'
import type { AccessRequest, ApprovalStatus, RequestRow } from '../control/broker-schema.ts'
import type { ApprovalAnswer, ApprovalRequest, ApprovalResult, EditPreview } from '../control/schema.ts'
import { AgentgateError } from '../errors.ts'
import { asResourceName, asScopeName, newRequestId } from '../ids.ts'
import type { Requestable } from '../policy/access.ts'
import { placeName } from '../policy/problem.ts'
import type { Principal, Subject } from '../policy/subject.ts'
import { mayAnswer } from './may-answer.ts'
import type { StoredRequest } from './request-store.ts'
import { editedSeconds, requestText } from './request-text.ts'
import type { Caller } from './caller.ts'
import type { Sessions } from './sessions.ts'
import type { Store } from './store.ts'

/** More at once tire the approvers into saying yes. */
const maxOpenPerPrincipal = 5

const storedPrincipal = z.object({
  name: z.string(),
  groups: z.array(z.string()),
  source: z.enum(['os-user', 'oidc']),
  claims: z.record(z.string(), z.array(z.string())).optional(),
})

/** Access that somebody does not hold: asked for, answered by whom the policy names, theirs for a while, taken back. */
export class Requests {
  readonly #store: Store
  readonly #sessions: Sessions

  constructor(store: Store, sessions: Sessions) {
    this.#store = store
    this.#sessions = sessions
  }

  /**
   * The same again while it waits is the same request.
   * @throws AgentgateError DENIED: nobody could give it to them; USAGE: they have it, or it is none
   */
  async ask(principal: Principal, asked: AccessRequest): Promise<RequestRow> {
    const { name } = principal
    await this.#sessions.refuseSuspended(name)
    const { resource, scope, actor, purpose, ticket } = asked
    const subject: Subject = {
      ...{ principal, confined: false, purpose, ticket },
      actor: actor === null ? null : { name: actor, proven: false },
      onRequest: await this.#sessions.givenTo(name),
    }
    const requestable = this.#requestable(subject, resource, scope)
    if (requestable === undefined) throw this.#cannotBeGiven(subject, resource, scope)
    if (this.#sessions.policy.policy.access(subject).some(each => holds(each, resource, scope)))
      throw new AgentgateError('USAGE', `scope ${scope} of ${resource} is yours already`, {
        hint: `agentgate connect ${resource} --scope ${scope}`,
      })
    const seconds = Math.min(asked.seconds ?? requestable.ttlSeconds, requestable.ttlSeconds)
    const now = this.#store.now()
    const waiting = await this.#store.requests.open(now.toISOString(), name)
    const same = waiting.find(
      each => each.resource === resource && each.scope === scope && each.actor === actor && each.seconds === seconds,
    )
    if (same !== undefined) return this.#row(same)
    if (waiting.length >= maxOpenPerPrincipal)
      throw new AgentgateError('DENIED', `${maxOpenPerPrincipal} requests of yours are waiting already`, {
        hint: 'agentgate requests; agentgate requests withdraw …',
      })
    const waits = Math.min(requestable.approvers.withinSeconds, asked.withinSeconds ?? Infinity)
    const request: StoredRequest = {
      id: newRequestId(),
      principal: name,
      asked_as: JSON.stringify(principal),
      ...{ actor, resource, scope, seconds, purpose, ticket },
      state: 'open',
      created_at: now.toISOString(),
      expires_at: new Date(now.getTime() + waits * 1000).toISOString(),
      decided_at: null,
      decided_by: null,
      reason: null,
      until: null,
    }
    await this.#store.requests.add(request)
    this.#tell(request, 'asked', null, purpose)
    await this.#audit('requested', name, request.id, `${resource} ${requestText(scope, seconds)}: ${purpose}`)
    return this.#row(request)
  }

  /** Newest first; one's own, or everybody's. */
  async list(principal: string | undefined): Promise<readonly RequestRow[]> {
    return (await this.#store.requests.list(principal)).map(each => this.#row(each))
  }

  /** @throws AgentgateError NO_SUCH_APPROVAL: there is none, or it is not the caller's to see; never says which */
  async one(id: string, caller: Caller): Promise<RequestRow> {
    const found = await this.#store.requests.find(id)
    if (found === undefined || !this.#maySee(caller, found)) throw noSuchRequest(id)
    return this.#row(found)
  }

  /** What the caller may answer, as a terminal shows it. */
  async waiting(caller: Caller): Promise<readonly ApprovalRequest[]> {
    const open = await this.#store.requests.open(this.#store.now().toISOString())
    return open.flatMap(each => {
      const shown = this.#shown(each)
      return shown !== undefined && mayAnswer(caller, each.principal, shown.approvers, 'nobody') ? [shown] : []
    })
  }

  /** @throws AgentgateError NO_SUCH_APPROVAL: there is none, or it was not the caller's to answer; never says which */
  async status(id: string, caller: Caller): Promise<ApprovalStatus> {
    const found = await this.#store.requests.find(id)
    const approvers = found === undefined ? undefined : this.#asked(found)?.approvers
    if (found === undefined || approvers === undefined || !mayAnswer(caller, found.principal, approvers, 'nobody'))
      throw noSuchRequest(id)
    const state = stateOf(found, this.#store.now())
    const shown = state === 'over' || state === 'revoked' ? (found.until === null ? 'withdrawn' : 'approved') : state
    return { id, state: shown, by: found.decided_by, reason: found.reason }
  }

  async preview(id: string, caller: Caller, text: string): Promise<EditPreview> {
    const { found, shown } = await this.#answerable(id, caller)
    const seconds = editedSeconds(text, found.scope)
    if (seconds === undefined)
      return { kind: 'refused', message: `expected: ${requestText(found.scope, found.seconds)}` }
    const view = { ...shown.view, ...viewOf(found, seconds) }
    return seconds > found.seconds
      ? {
          kind: 'ok',
          view,
          verdict: 'deny',
          message: 'it may be given for a shorter time than was asked for, not for longer',
        }
      : { kind: 'ok', view, verdict: 'approve' }
  }

  /** @throws AgentgateError NO_SUCH_APPROVAL: none waits, or it is not the caller's to answer; never says which */
  async answer(id: string, caller: Caller, answer: ApprovalAnswer): Promise<ApprovalResult> {
    const { found, shown } = await this.#answerable(id, caller)
    const { name } = caller.principal
    if ((await this.#store.suspension(name)) !== undefined) throw noSuchRequest(id)
    const at = this.#store.now()
    if (stateOf(found, at) !== 'open') return tooLate(found, at)
    switch (answer.outcome) {
      case 'reject':
        return await this.#decide(found, { state: 'rejected', by: name, reason: answer.reason }, at)
      case 'edit': {
        const seconds = editedSeconds(answer.text, found.scope)
        if (seconds === undefined || seconds > found.seconds)
          return refused('USAGE', 'it may be given for a shorter time than was asked for, and as it was asked for else')
        if (shown.approvers.count > 1)
          return refused('USAGE', 'several must say yes to this: it is given as asked, or not')
        return await this.#decide(found, { state: 'approved', by: name, reason: answer.reason ?? null, seconds }, at)
      }
      case 'approve': {
        if (answer.shape !== undefined) return refused('USAGE', 'access is given once, for the time that was asked for')
        const missing = shown.approvers.count - (await this.#store.requests.vote(id, name, at.toISOString()))
        if (missing > 0) return { kind: 'decided', outcome: 'approved', missing }
        return await this.#decide(found, { state: 'approved', by: name, reason: answer.reason ?? null }, at)
      }
      default:
        return answer satisfies never
    }
  }

  /**
   * By whoever asked: withdrawn, or given back. By an administrator: refused or taken back, with the sessions that it gave.
   * @throws AgentgateError NO_SUCH_APPROVAL: nothing that is open or given, or not theirs to end; never says which
   */
  async end(id: string, caller: Caller, reason: string): Promise<RequestRow> {
    const found = await this.#store.requests.find(id)
    const { name } = caller.principal
    const own = found?.principal === name
    if (found === undefined || !(own || caller.administers)) throw noSuchRequest(id)
    const at = this.#store.now().toISOString()
    const waited = { state: own ? ('withdrawn' as const) : ('revoked' as const), until: null, seconds: found.seconds }
    const ended =
      (await this.#store.requests.decide(id, { ...waited, decided_by: name, reason }, at)) ||
      (await this.#store.requests.revoke(id, name, reason, at))
    if (!ended) throw noSuchRequest(id)
    await this.#sessions.endGivenBy(id, name, reason)
    this.#tell(found, own ? 'withdrawn' : 'revoked', name, reason)
    await this.#audit(own ? 'withdrawn' : 'revoked', name, id, reason)
    return this.#row((await this.#store.requests.find(id)) ?? found)
  }

  async #answerable(id: string, caller: Caller): Promise<{ found: StoredRequest; shown: ApprovalRequest }> {
    const found = await this.#store.requests.find(id)
    const shown = found === undefined ? undefined : this.#shown(found)
    if (found === undefined || shown === undefined || !mayAnswer(caller, found.principal, shown.approvers, 'nobody'))
      throw noSuchRequest(id)
    return { found, shown }
  }

  async #decide(
    found: StoredRequest,
    {
      state,
      by,
      reason,
      seconds = found.seconds,
    }: { state: 'approved' | 'rejected'; by: string; reason: string | null; seconds?: number },
    at: Date,
  ): Promise<ApprovalResult> {
    const until = state === 'approved' ? new Date(at.getTime() + seconds * 1000).toISOString() : null
    const decided = { state, decided_by: by, reason, until, seconds }
    if (!(await this.#store.requests.decide(found.id, decided, at.toISOString())))
      return tooLate((await this.#store.requests.find(found.id)) ?? found, this.#store.now())
    this.#tell(found, state, by, reason)
    await this.#audit(state, by, found.id, reason ?? '')
    return { kind: 'decided', outcome: seconds === found.seconds ? state : 'edited' }
  }

  #requestable(subject: Subject, resourceName: string, scopeName: string): Requestable | undefined {
    const [resource, scope] = [asResourceName(resourceName), asScopeName(scopeName)]
    return resource === undefined || scope === undefined
      ? undefined
      : this.#sessions.policy.policy.requestable(subject, resource, scope)
  }

  /** As the policy is now: what it no longer gives nobody can say yes to. */
  #asked(request: StoredRequest): Requestable | undefined {
    const principal = readPrincipal(request.asked_as)
    const actor = request.actor === null ? null : { name: request.actor, proven: false }
    const { purpose, ticket, resource, scope } = request
    return this.#requestable({ principal, actor, confined: false, purpose, ticket }, resource, scope)
  }

  #shown(request: StoredRequest): ApprovalRequest | undefined {
    const asked = this.#asked(request)
    if (asked === undefined) return undefined
    const { groups, count, notSelf } = asked.approvers
    const rule = { name: 'access on request', place: placeName(asked.entry.place) }
    const { id, principal, actor, purpose, ticket, resource } = request
    return {
      ...{ id, resource, principal, actor, purpose, ticket, rule },
      session: '',
      connection: '',
      view: viewOf(request, request.seconds),
      effects: [
        `${request.principal}${actor === null ? '' : `’s ${actor}`} may use scope ${request.scope} of ${resource}`,
      ],
      holdsLocks: false,
      client: null,
      askedAt: request.created_at,
      expiresAt: request.expires_at,
      approvers: { groups: [...groups], count, notSelf },
      editable: count === 1,
      challenge: null,
    }
  }

  #maySee(caller: Caller, request: StoredRequest): boolean {
    if (request.principal === caller.principal.name || caller.administers || caller.audits) return true
    const approvers = this.#asked(request)?.approvers
    return approvers !== undefined && mayAnswer(caller, request.principal, approvers, 'nobody')
  }

  #row(request: StoredRequest): RequestRow {
    const approvers = this.#asked(request)?.approvers
    return {
      request: request.id,
      principal: request.principal,
      actor: request.actor,
      resource: request.resource,
      scope: request.scope,
      seconds: request.seconds,
      purpose: request.purpose,
      ticket: request.ticket,
      state: stateOf(request, this.#store.now()),
      askedAt: request.created_at,
      expiresAt: request.expires_at,
      approvers:
        approvers === undefined
          ? null
          : { groups: [...approvers.groups], count: approvers.count, notSelf: approvers.notSelf },
      decidedAt: request.decided_at,
      decidedBy: request.decided_by,
      reason: request.reason,
      until: request.until,
    }
  }

  /** What there is not, and what is not theirs, are answered alike: a name tells nothing. */
  #cannotBeGiven(subject: Subject, resource: string, scope: string): AgentgateError {
    const { policy } = this.#sessions.policy
    const own = policy.access(subject).some(each => holds(each, resource, scope))
    if (own)
      return new AgentgateError('USAGE', `scope ${scope} of ${resource} is yours already`, {
        hint: `agentgate connect ${resource} --scope ${scope}`,
      })
    return new AgentgateError('DENIED', `nobody can give you scope ${scope} of ${resource}`, {
      hint: 'what may be asked for: agentgate access of me',
    })
  }

  #tell(request: StoredRequest, outcome: AccessOutcome, by: string | null, reason: string | null): void {
    const { id, principal, actor, resource, scope, purpose, ticket } = request
    this.#sessions.tell({
      kind: 'access-request',
      ...{ id, resource, scope, outcome, by, reason },
      subject: {
        principal: { name: principal, groups: [], source: 'oidc' },
        actor: actor === null ? null : { name: actor, proven: false },
        confined: false,
        purpose,
        ticket,
      },
    })
  }

  async #audit(kind: string, by: string, about: string, detail: string): Promise<void> {
    await this.#store.audit({ at: this.#store.now().toISOString(), kind, by, about, detail })
  }
}

/** As the store keeps one. */
export function readPrincipal(text: string): Principal {
  return storedPrincipal.parse(JSON.parse(text))
}

function holds(
  access: {
    readonly resource: { readonly name: string }
    readonly scopes: readonly { readonly scope: { readonly name: string } }[]
  },
  resource: string,
  scope: string,
): boolean {
  return access.resource.name === resource && access.scopes.some(each => each.scope.name === scope)
}

function viewOf(request: StoredRequest, seconds: number): ApprovalRequest['view'] {
  const text = requestText(request.scope, seconds)
  return {
    kind: 'access',
    summary: `access: ${text}`,
    text,
    effect: 'unknown',
    verbs: ['request'],
    reads: [],
    writes: [],
    attributes: { scope: request.scope, seconds },
  }
}

export function stateOf(request: StoredRequest, now: Date): RequestRow['state'] {
  const at = now.toISOString()
  if (request.state === 'open' && request.expires_at <= at) return 'timed-out'
  if (request.state === 'approved' && (request.until ?? '') <= at) return 'over'
  return request.state
}

function tooLate(request: StoredRequest, now: Date): ApprovalResult {
  const state = stateOf(request, now)
  const by = request.decided_by === null ? '' : ` by ${request.decided_by}`
  const how = state === 'timed-out' ? 'timed out' : `was ${request.state}${by}`
  return refused('NO_SUCH_APPROVAL', `request ${request.id} ${how}`)
}

function refused(code: string, message: string): ApprovalResult {
  return { kind: 'refused', code, message }
}

function noSuchRequest(id: string): AgentgateError {
  return new AgentgateError('NO_SUCH_APPROVAL', `no request ${id} is yours, or waiting for you`, {
    hint: 'agentgate requests, or agentgate approvals list',
  })
}
