import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { Changes } from '../changes.ts'
import type { ApprovalStatus, StreamEvent } from '../control/broker-schema.ts'
import {
  approvalRequest,
  editPreview,
  shapeLimits,
  uncountableRows,
  type ApprovalAnswer,
  type ApprovalRequest,
  type ApprovalResult,
  type EditPreview,
} from '../control/schema.ts'
import { AgentgateError } from '../errors.ts'
import { newCheckId } from '../ids.ts'
import { parseJson } from '../json-body.ts'
import { mayAnswer } from './may-answer.ts'
import type { Caller } from './caller.ts'
import type { Sessions } from './sessions.ts'
import type { ApprovalTable, VoteTable } from './approval-store.ts'
import type { Store } from './store.ts'

/** A tunnel that has not decided on an edit by then is not there. */
const checkWithinMs = 10_000
const lookEveryMs = 50

/** What an approver made of a request, as the store keeps it: nothing, where it runs as asked, once. */
const made = z.object({ text: z.string().optional(), shape: shapeLimits.optional() })

/** Carries what waits in tunnels to whoever may answer it, and one answer back. */
export class Approvals {
  readonly #store: Store
  readonly #sessions: Sessions
  readonly #changes = new Changes()

  constructor(store: Store, sessions: Sessions) {
    this.#store = store
    this.#sessions = sessions
    store.hear(word => {
      if (word.kind === 'approval') void this.#heard(word.id)
      if (word.kind === 'check') void this.#passOn(word.id).catch(() => undefined) // whoever asked is told that nobody answers
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
    const request: ApprovalRequest = {
      ...asked,
      session,
      principal: grant.principal,
      actor: grant.actor,
      purpose: grant.purpose,
      ticket: grant.ticket,
      approvers: strictest(rule.approvers, asked.approvers),
      // The proof is for whoever shares a machine with the asker; here a token says who answers.
      challenge: null,
    }
    const added = await this.#store.approvals.add({
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
    this.changed()
    this.#sessions.metrics.count('asked')
  }

  /** It no longer waits in its tunnel, or was answered there. False: it was decided before. */
  async end(session: string, id: string, outcome: 'approved' | 'edited' | 'rejected' | 'withdrawn'): Promise<boolean> {
    const found = await this.#store.approvals.find(id)
    // Not here yet: nobody can have decided it.
    if (found === undefined) return true
    if (found.session !== session) return false
    const state = outcome === 'edited' ? 'approved' : outcome
    const ended = await this.#store.approvals.decide(id, state, found.principal, null, this.#store.now().toISOString())
    this.changed()
    return ended
  }

  /** What the caller may answer. */
  async list(caller: Caller): Promise<readonly ApprovalRequest[]> {
    const mine = (await this.#store.approvals.open(this.#store.now().toISOString()))
      .map(readRequest)
      .filter(request => mayAnswerHeld(caller, request))
    const several = mine.filter(request => request.approvers.count > 1)
    const votes = await this.#store.approvals.votes(several.map(request => request.id))
    return mine.map(request => withProposal(request, votes))
  }

  /** Settles with the next change of what waits here, or when `signal` aborts. */
  async change(signal: AbortSignal): Promise<void> {
    await this.#changes.next(signal)
  }

  /** Something waits, or no longer does. */
  changed(): void {
    this.#changes.tell()
  }

  /** @throws AgentgateError NO_SUCH_APPROVAL: there is none, or it was not the caller's to answer; never says which */
  async status(id: string, caller: Caller): Promise<ApprovalStatus> {
    const found = await this.#answerable(id, caller)
    const at = this.#store.now().toISOString()
    const { state, decided_by: by, reason } = found
    if (state === 'open' && found.expires_at <= at) return { id, state: 'timed-out', by: null, reason: null }
    return { id, state: state === 'approved' && madeOf(found).text !== undefined ? 'edited' : state, by, reason }
  }

  /** @throws AgentgateError NO_SUCH_APPROVAL: none waits, or it is not the caller's to answer; never says which */
  async answer(id: string, caller: Caller, answer: ApprovalAnswer): Promise<ApprovalResult> {
    const { name } = caller.principal
    const found = await this.#answerable(id, caller)
    if ((await this.#store.suspension(name)) !== undefined) throw noSuchApproval(id)
    const { approvers, editable, shapeable, countsRows } = readRequest(found)
    const at = this.#store.now().toISOString()
    if (found.state !== 'open' || found.expires_at <= at) return tooLate(found)
    switch (answer.outcome) {
      case 'approve': {
        const { shape, reason = null } = answer
        if (shape !== undefined && shapeable !== true)
          return refused('USAGE', 'only this one can be approved: what its shape does is not known', 'approve it once')
        if (shape?.rows !== undefined && countsRows !== true)
          return refused('USAGE', uncountableRows.message, uncountableRows.hint)
        return await this.#sayYes(found, approvers.count, name, reason, shape === undefined ? {} : { shape })
      }
      case 'reject':
        return await this.#decide(found, 'rejected', name, answer.reason, {})
      case 'edit': {
        if (!editable) return refused('USAGE', 'this cannot be edited', 'reject it with a reason instead')
        const check = await this.#check(found, answer.text)
        if (check.kind === 'refused' || check.verdict === 'deny')
          return refused(
            'DENIED',
            check.message ?? 'a rule denies what you made of it',
            'edit it again, or reject it with a reason',
          )
        return await this.#sayYes(found, approvers.count, name, answer.reason ?? null, { text: answer.text })
      }
      default:
        return answer satisfies never
    }
  }

  /** Where several must say yes, it is to the same: another text, or other limits, start the count again. */
  async #sayYes(
    found: ApprovalTable,
    count: number,
    by: string,
    reason: string | null,
    what: z.infer<typeof made>,
  ): Promise<ApprovalResult> {
    const said = await this.#store.approvals.vote(
      found.id,
      by,
      this.#store.now().toISOString(),
      JSON.stringify(made.parse(what)),
    )
    if (said.length >= count) return await this.#decide(found, 'approved', by, reason, what)
    this.changed()
    await this.#store.tell({ kind: 'approval', id: found.id })
    return { kind: 'decided', outcome: what.text === undefined ? 'approved' : 'edited', missing: count - said.length }
  }

  /** What an edit would be decided as, by the tunnel that it would run in. @throws AgentgateError NO_SUCH_APPROVAL */
  async preview(id: string, caller: Caller, text: string): Promise<EditPreview> {
    const found = await this.#answerable(id, caller)
    if (found.state !== 'open') throw noSuchApproval(id)
    if (!readRequest(found).editable)
      return { kind: 'refused', message: 'this cannot be edited; reject it with a reason instead' }
    return await this.#check(found, text)
  }

  /** The tunnel's answer. @throws AgentgateError NO_SUCH_APPROVAL: nobody asked, or it was answered */
  async checked(session: string, id: string, check: string, preview: EditPreview): Promise<void> {
    const found = await this.#store.approvals.find(id)
    const taken =
      found?.session === session && (await this.#store.requests.answerCheck(check, id, JSON.stringify(preview)))
    if (!taken) throw noSuchApproval(id)
  }

  /** What was decided while a session's tunnel was away; what it has heard before it knows. */
  async decisionsOf(session: string): Promise<readonly StreamEvent[]> {
    return (await this.#store.approvals.decided(session)).map(eventOf)
  }

  async #answerable(id: string, caller: Caller): Promise<ApprovalTable> {
    const found = await this.#store.approvals.find(id)
    if (found === undefined || !mayAnswerHeld(caller, readRequest(found))) throw noSuchApproval(id)
    return found
  }

  /** Asks the tunnel, wherever it is on the line. */
  async #check({ id }: ApprovalTable, text: string): Promise<EditPreview> {
    const check = newCheckId()
    await this.#store.requests.addCheck({ id: check, approval: id, text, result: null })
    try {
      await this.#passOn(check)
      await this.#store.tell({ kind: 'check', id: check })
      const end = performance.now() + checkWithinMs
      while (performance.now() < end) {
        const result = (await this.#store.requests.check(check))?.result ?? null
        if (result !== null) return editPreview.parse(parseJson(result))
        await sleep(lookEveryMs)
      }
    } finally {
      await this.#store.requests.removeCheck(check)
    }
    return {
      kind: 'refused',
      message: 'the session that it waits in does not answer: nobody can say what that would do',
    }
  }

  async #passOn(check: string): Promise<void> {
    const found = await this.#store.requests.check(check)
    const approval = found === undefined ? undefined : await this.#store.approvals.find(found.approval)
    if (found === undefined || approval === undefined) return
    this.#sessions.publish(approval.session, { event: 'check', id: check, approval: approval.id, text: found.text })
  }

  /** Decided at another broker: its tunnel may be on the line here. */
  async #heard(id: string): Promise<void> {
    const found = await this.#store.approvals.find(id).catch(() => undefined) // not answered: after the gap it is asked again
    this.changed()
    if (found !== undefined && (found.state === 'approved' || found.state === 'rejected'))
      this.#sessions.publish(found.session, eventOf(found))
  }

  async #afterGap(): Promise<void> {
    this.changed()
    for (const session of this.#sessions.here())
      for (const event of await this.decisionsOf(session).catch(() => [])) this.#sessions.publish(session, event)
  }

  async #decide(
    found: ApprovalTable,
    state: 'approved' | 'rejected',
    by: string,
    reason: string | null,
    answer: z.infer<typeof made>,
  ): Promise<ApprovalResult> {
    const at = this.#store.now().toISOString()
    const kept = JSON.stringify(answer)
    if (!(await this.#store.approvals.decide(found.id, state, by, reason, at, kept)))
      return tooLate((await this.#store.approvals.find(found.id)) ?? found)
    this.#sessions.metrics.count('decided', { outcome: state })
    await this.#store.audit({ at, kind: state, by, about: found.id, detail: reason ?? '' })
    this.#sessions.publish(found.session, eventOf({ ...found, state, decided_by: by, reason, answer: kept }))
    await this.#store.tell({ kind: 'approval', id: found.id })
    this.changed()
    return { kind: 'decided', outcome: answer.text === undefined ? state : 'edited' }
  }
}

/** What waits, as one word: the same as long as nothing changes. */
export function versionOf(requests: readonly ApprovalRequest[]): string {
  return createHash('sha256')
    .update(JSON.stringify(requests.map(({ id, proposed }) => [id, proposed ?? null])))
    .digest('base64url')
}

/** A tunnel may know of more rules that ask, and say so; what the broker's own says it cannot lessen. */
function strictest(
  rule: { readonly groups: readonly string[]; readonly count: number; readonly notSelf: boolean },
  asked: ApprovalRequest['approvers'],
): ApprovalRequest['approvers'] {
  const narrower =
    asked.groups.length > 0 && (rule.groups.length === 0 || asked.groups.every(one => rule.groups.includes(one)))
  return {
    groups: narrower ? asked.groups : [...rule.groups],
    count: Math.max(rule.count, asked.count),
    notSelf: rule.notSelf || asked.notSelf,
  }
}

function mayAnswerHeld(caller: Caller, request: ApprovalRequest): boolean {
  return mayAnswer(caller, request.principal, request.approvers, 'asker')
}

function withProposal(request: ApprovalRequest, votes: readonly VoteTable[]): ApprovalRequest {
  const mine = votes.filter(vote => vote.approval === request.id)
  const last = mine.at(-1)
  const what = last === undefined ? {} : made.parse(JSON.parse(last.what))
  if (last === undefined || (what.text === undefined && what.shape === undefined)) return request
  return {
    ...request,
    proposed: { ...what, by: mine.filter(vote => vote.what === last.what).map(vote => vote.principal) },
  }
}

function readRequest(stored: ApprovalTable): ApprovalRequest {
  return approvalRequest.parse(JSON.parse(stored.request))
}

function madeOf({ answer }: ApprovalTable): z.infer<typeof made> {
  return answer === null ? {} : made.parse(JSON.parse(answer))
}

function eventOf(stored: ApprovalTable): StreamEvent {
  const { text, shape } = madeOf(stored)
  return {
    event: 'approval',
    id: stored.id,
    outcome: stored.state !== 'approved' ? 'rejected' : text === undefined ? 'approved' : 'edited',
    by: stored.decided_by ?? '',
    reason: stored.reason,
    ...(text === undefined ? {} : { text }),
    ...(shape === undefined ? {} : { shape }),
  }
}

function tooLate({ id, state, decided_by: by }: ApprovalTable): ApprovalResult {
  const how = state === 'open' ? 'timed out' : `was ${state}${by === null ? '' : ` by ${by}`}`
  return { kind: 'refused', code: 'NO_SUCH_APPROVAL', message: `request ${id} ${how}` }
}

function refused(code: string, message: string, hint: string): ApprovalResult {
  return { kind: 'refused', code, message, hint }
}

function noSuchApproval(id: string): AgentgateError {
  return new AgentgateError('NO_SUCH_APPROVAL', `no request ${id} is waiting for you`)
}
