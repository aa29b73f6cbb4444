import type { StreamEvent } from '../control/broker-schema.ts'
import {
  approvalRequest,
  type ApprovalAnswer,
  type ApprovalRequest,
  type ApprovalResult,
  type EditPreview,
} from '../control/schema.ts'
import { AgentgateError } from '../errors.ts'
import { mayAnswer } from './may-answer.ts'
import type { Caller, Sessions } from './sessions.ts'
import type { Store, StoredApproval } from './store.ts'

/** Carries what waits in tunnels to whoever may answer it, and one answer back. */
export class Approvals {
  readonly #store: Store
  readonly #sessions: Sessions

  constructor(store: Store, sessions: Sessions) {
    this.#store = store
    this.#sessions = sessions
    store.hear(word => {
      if (word.kind === 'approval') void this.#heard(word.id)
      if (word.kind === 'gap') void this.#afterGap()
    })
  }

  /**
   * From a session's tunnel. Who asks is what the grant says, and who may answer what the rule says, whatever the tunnel sends.
   * @throws AgentgateError NO_SUCH_GRANT, DENIED
   */
  async ask(session: string, asked: ApprovalRequest): Promise<void> {
    const grant = (await this.#store.grantsOf(session)).find(
      each => each.resource === asked.resource && each.ended_at === null,
    )
    if (grant === undefined) throw new AgentgateError('NO_SUCH_GRANT', 'the session has no such grant')
    const rule = this.#sessions.policy.policy.declaration.rules.find(each => each.name === asked.rule.name)
    if (rule?.effect !== 'approve') throw new AgentgateError('DENIED', 'the policy has no rule of this name that asks')
    const { groups, count, notSelf } = rule.approvers
    const request: ApprovalRequest = {
      ...asked,
      session,
      principal: grant.principal,
      actor: grant.actor,
      purpose: grant.purpose,
      ticket: grant.ticket,
      approvers: { groups: [...groups], count, notSelf },
      // An edit is checked where the statement is; the proof is for whoever shares a machine with the asker.
      editable: false,
      challenge: null,
    }
    const added = await this.#store.addApproval({
      id: asked.id,
      session,
      principal: grant.principal,
      request: JSON.stringify(request),
      state: 'open',
      expires_at: new Date(Date.parse(asked.expiresAt)).toISOString(),
      decided_at: null,
      decided_by: null,
      reason: null,
      answer: null,
    })
    if (!added) throw new AgentgateError('DENIED', 'another session has a request of this id')
    this.#sessions.metrics.count('asked')
  }

  /** It no longer waits in its tunnel, or was answered there. False: it was decided before. */
  async end(session: string, id: string, outcome: 'approved' | 'edited' | 'rejected' | 'withdrawn'): Promise<boolean> {
    const found = await this.#store.approval(id)
    // Not here yet: nobody can have decided it.
    if (found === undefined) return true
    if (found.session !== session) return false
    const state = outcome === 'edited' ? 'approved' : outcome
    return await this.#store.decide(id, state, found.principal, null, this.#store.now().toISOString())
  }

  /** What the caller may answer. */
  async list(caller: Caller): Promise<readonly ApprovalRequest[]> {
    return (await this.#store.openApprovals(this.#store.now().toISOString()))
      .map(readRequest)
      .filter(request => mayAnswerHeld(caller, request))
  }

  /** @throws AgentgateError NO_SUCH_APPROVAL: none waits, or it is not the caller's to answer; never says which */
  async answer(id: string, caller: Caller, answer: ApprovalAnswer): Promise<ApprovalResult> {
    const { name } = caller.principal
    const found = await this.#store.approval(id)
    if (
      found === undefined ||
      !mayAnswerHeld(caller, readRequest(found)) ||
      (await this.#store.suspension(name)) !== undefined
    )
      throw new AgentgateError('NO_SUCH_APPROVAL', `no request ${id} is waiting for you`)
    const request = readRequest(found)
    const at = this.#store.now().toISOString()
    switch (answer.outcome) {
      case 'approve': {
        if (answer.shape !== undefined) return onlyThere('only this one can be approved from here')
        if (found.state !== 'open' || found.expires_at <= at) return tooLate(found)
        const missing = request.approvers.count - (await this.#store.vote(id, name, at))
        if (missing > 0) return { kind: 'decided', outcome: 'approved', missing }
        return await this.#decide(found, 'approved', name, answer.reason ?? null, at)
      }
      case 'reject':
        return await this.#decide(found, 'rejected', name, answer.reason, at)
      case 'edit':
        return onlyThere('it cannot be edited from here')
      default:
        return answer satisfies never
    }
  }

  /** @throws AgentgateError NO_SUCH_APPROVAL */
  async preview(id: string, caller: Caller, _text: string): Promise<EditPreview> {
    const found = await this.#store.approval(id)
    if (found === undefined || !mayAnswerHeld(caller, readRequest(found)))
      throw new AgentgateError('NO_SUCH_APPROVAL', `no request ${id} is waiting for you`)
    return { kind: 'refused', message: 'it can be edited only where its session runs' }
  }

  /** What was decided while a session's tunnel was away; what it has heard before it knows. */
  async decisionsOf(session: string): Promise<readonly StreamEvent[]> {
    return (await this.#store.decidedApprovals(session)).map(eventOf)
  }

  /** Decided at another broker: its tunnel may be on the line here. */
  async #heard(id: string): Promise<void> {
    const found = await this.#store.approval(id).catch(() => undefined) // not answered: after the gap it is asked again
    if (found !== undefined && (found.state === 'approved' || found.state === 'rejected'))
      this.#sessions.publish(found.session, eventOf(found))
  }

  async #afterGap(): Promise<void> {
    for (const session of this.#sessions.here())
      for (const event of await this.decisionsOf(session).catch(() => [])) this.#sessions.publish(session, event)
  }

  async #decide(
    found: StoredApproval,
    state: 'approved' | 'rejected',
    by: string,
    reason: string | null,
    at: string,
  ): Promise<ApprovalResult> {
    if (!(await this.#store.decide(found.id, state, by, reason, at)))
      return tooLate((await this.#store.approval(found.id)) ?? found)
    this.#sessions.metrics.count('decided', { outcome: state })
    await this.#store.audit({ at, kind: state, by, about: found.id, detail: reason ?? '' })
    this.#sessions.publish(found.session, eventOf({ ...found, state, decided_by: by, reason }))
    await this.#store.tell({ kind: 'approval', id: found.id })
    return { kind: 'decided', outcome: state }
  }
}

function mayAnswerHeld(caller: Caller, request: ApprovalRequest): boolean {
  return mayAnswer(caller, request.principal, request.approvers, 'asker')
}

function readRequest(stored: StoredApproval): ApprovalRequest {
  return approvalRequest.parse(JSON.parse(stored.request))
}

function eventOf(stored: StoredApproval): StreamEvent {
  return {
    event: 'approval',
    id: stored.id,
    outcome: stored.state === 'approved' ? 'approved' : 'rejected',
    by: stored.decided_by ?? '',
    reason: stored.reason,
  }
}

function tooLate({ id, state, decided_by: by }: StoredApproval): ApprovalResult {
  const how = state === 'open' ? 'timed out' : `was ${state}${by === null ? '' : ` by ${by}`}`
  return { kind: 'refused', code: 'NO_SUCH_APPROVAL', message: `request ${id} ${how}` }
}

function onlyThere(message: string): ApprovalResult {
  return { kind: 'refused', code: 'USAGE', message, hint: 'approve it once, or reject it with a reason' }
}
