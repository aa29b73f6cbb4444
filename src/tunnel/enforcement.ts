import type { Duplex } from 'node:stream'
import { AgentgateError, type ErrorCode } from '../errors.ts'
import type { ConnectionId, SessionId } from '../ids.ts'
import type { Action, ActionView, Approval, Mask, RuleRef, Verdict } from '../policy/action.ts'
import type { Subject } from '../policy/subject.ts'
import type { Asker, Context, Decision, ServedResource } from '../protocols/protocol.ts'
import type { ClientProcess, RecordedDecision, RecordedEvent } from '../recording/event.ts'
import type { Secret } from '../secret.ts'
import type { EditCheck, HoldOutcome, ShapeApproval } from './approval-gate.ts'
import { timestamp } from './clock.ts'
import type { Tunnel } from './tunnel.ts'

type Allowed<A extends Action> = Extract<Decision<A>, { kind: 'allow' }>
type Approve = Extract<Verdict, { kind: 'approve' }>

/**
 * One client connection's way to decisions, target and record. What is allowed outright is decided without a promise;
 * every event is chained before its action may go on, and written by the protocol's `commit` for all that one read brought.
 */
export class ConnectionContext implements Context {
  readonly session: SessionId
  readonly connection: ConnectionId
  readonly subject: Subject
  readonly resource: ServedResource
  readonly clientSecret: Secret
  readonly signal: AbortSignal
  readonly #tunnel: Tunnel
  #client: ClientProcess | null = null
  #blocked: AgentgateError | undefined
  #place: 'none' | 'taken' | 'given back' = 'none'
  #running = 0

  constructor(tunnel: Tunnel, connection: ConnectionId) {
    this.#tunnel = tunnel
    this.session = tunnel.parts.id
    this.connection = connection
    this.subject = tunnel.parts.subject
    this.resource = tunnel.resource
    this.clientSecret = tunnel.clientSecret
    this.signal = tunnel.parts.signal
  }

  get generation(): number {
    return this.#tunnel.generation
  }

  get client(): ClientProcess | null {
    return this.#client
  }

  /** The connection itself is not on record: nothing of it may reach the target, and its protocol tells the client why. */
  block(error: AgentgateError): void {
    this.#blocked = error
  }

  /** Told once, as soon as /proc has said who it is. */
  setClient(client: ClientProcess | null): void {
    this.#client = client
    this.#tunnel.parts.note({ kind: 'client', connection: this.connection, process: client })
  }

  /** The connection is over: what it had running no longer keeps the session from ending. */
  close(reason: string): void {
    this.#ran(-this.#running)
    if (this.#place === 'taken') this.#tunnel.leave()
    this.#place = 'given back'
    this.#tunnel.parts.note({ kind: 'connection-end', connection: this.connection, reason })
  }

  #ran(change: number): void {
    this.#running += change
    this.#tunnel.parts.counts.running += change
  }

  masks(): readonly Mask[] {
    return this.#tunnel.enforcer.masks
  }

  async upstream(): Promise<Duplex> {
    if (this.#blocked !== undefined) throw this.#blocked
    if (!this.#hasPlace()) throw this.#tunnel.full
    return await this.#tunnel.upstream()
  }

  /**
   * Whether `limits.connections` has room for it, which it takes with its first wish: whoever only connects, and proves
   * nothing, takes nobody's place. What a client began for all (the tunnel's own connection) goes on without it.
   */
  #hasPlace(): boolean {
    if (this.#place === 'none' && this.#tunnel.enter()) this.#place = 'taken'
    return this.#place !== 'none'
  }

  commit(): void {
    if (this.#blocked !== undefined) throw this.#blocked
    this.#tunnel.parts.recorder.commit()
  }

  record(event: RecordedEvent): void | Promise<void> {
    const { recorder, hub, id } = this.#tunnel.parts
    if (event.kind === 'result') return recorder.result(event)
    if (event.kind === 'outcome') {
      // What another connection began (a tool call, whose result comes by one of its own) was counted there.
      if (this.#running > 0) this.#ran(-1)
    }
    recorder.append(event)
    if (event.kind === 'outcome' && hub.watched) {
      const at = this.#tunnel.parts.clock.wall()
      hub.emit(() => {
        const { kind: _, masked, ...rest } = event
        return { event: 'outcome', at: timestamp(at), session: id, ...rest, masked: [...masked] }
      })
    }
  }

  decide<A extends Action>(action: A, asker: Asker<A>): Decision<A> | Promise<Decision<A>> {
    this.#tunnel.parts.counts.statements += 1
    const ended = this.#tunnel.parts.lease.refusal()
    try {
      if (ended !== undefined) return this.#refuse(action, 'denied', ended.code, ended.message, null, ended.hint)
      if (!this.#hasPlace()) {
        const { code, message, hint } = this.#tunnel.full
        return this.#refuse(action, 'denied', code, message, null, hint)
      }
      const verdict = this.#verdict(action)
      switch (verdict.kind) {
        case 'allow':
          return this.#onceDurable(this.#allow(action, verdict, { outcome: 'allowed', rule: verdict.rule }))
        case 'deny':
          return this.#refuse(action, 'denied', 'DENIED', verdict.message, verdict.rule, verdict.hint)
        case 'approve':
          return this.#hold(action, verdict, asker)
            .then(async decision => await this.#onceDurable(decision))
            .catch(unrecorded)
        default:
          return verdict satisfies never
      }
    } catch (error) {
      return unrecorded(error)
    }
  }

  /** What may run waits until that is on record where the policy wants it, if it is not enough that it is here. */
  #onceDurable<A extends Action>(decision: Decision<A>): Decision<A> | Promise<Decision<A>> {
    const { recorder } = this.#tunnel.parts
    if (recorder.durable === undefined || decision.kind === 'deny') return decision
    return this.#afterwards(recorder.durable(), decision).catch(unrecorded)
  }

  async #afterwards<A extends Action>(durable: Promise<void>, decision: Allowed<A>): Promise<Decision<A>> {
    const { lease } = this.#tunnel.parts
    try {
      await durable
      const ended = lease.refusal()
      if (ended !== undefined) throw ended
      return decision
    } catch (error) {
      // It stands on record as allowed: that it did not run has to stand there, too.
      void this.record({
        ...{ kind: 'outcome', connection: this.connection, action: decision.event },
        ...{ status: 'cancelled', tag: 'not run', rows: null, milliseconds: 0, masked: [] },
      })
      throw error
    }
  }

  denies(action: Action): boolean {
    return this.#tunnel.parts.lease.refusal() !== undefined || this.#verdict(action).kind === 'deny'
  }

  asks(condition: string): boolean {
    return this.#tunnel.enforcer.asks(condition)
  }

  get shapes(): Context['shapes'] {
    return this.#tunnel.shapes
  }

  refuse(action: Action, message: string): number {
    this.#tunnel.parts.counts.statements += 1
    return this.#refuse(action, 'denied', 'DENIED', message, null, undefined).event
  }

  #verdict(action: Action): Verdict {
    const known = this.#tunnel.verdicts.get(action.shape)
    if (known !== undefined) return known
    const verdict = this.#tunnel.enforcer.decide(action, {
      nowMs: this.#tunnel.parts.clock.wall(),
      client: this.#client?.program ?? null,
    })
    if (verdict.stable) this.#tunnel.verdicts.set(action.shape, verdict)
    return verdict
  }

  #allow<A extends Action>(
    action: A,
    { masks, limit, record }: Exclude<Verdict, { kind: 'deny' }>,
    decision: RecordedDecision,
  ): Decision<A> {
    const event = this.#append(action, record === undefined ? decision : { ...decision, results: record }, masks)
    this.#ran(1)
    return {
      kind: 'allow',
      action,
      edited: decision.approval?.edited ?? false,
      approval: decision.approval ?? null,
      rule: decision.rule,
      masks,
      ...(limit === undefined ? {} : { limit }),
      event,
    }
  }

  #refuse<A extends Action>(
    action: A,
    outcome: RecordedDecision['outcome'],
    code: ErrorCode,
    message: string,
    rule: RuleRef | null,
    hint: string | undefined,
    approval?: Approval,
  ): Decision<A> {
    this.#tunnel.parts.counts.denied += 1
    const event = this.#append(action, { outcome, rule, message, approval }, this.masks())
    return { kind: 'deny', code, message, rule, hint, event }
  }

  /** Asks a person. After a yes everything is resolved and decided again: what runs is what was shown, or it is shown again. */
  async #hold<A extends Action>(asked: A, first: Approve, asker: Asker<A>): Promise<Decision<A>> {
    const { gate, lease, recorder } = this.#tunnel.parts
    let action = asked
    let verdict = first
    for (;;) {
      const { rule, approvers, masks } = verdict
      const tried = asker.tried?.()
      const countsRows = asker.countsRows?.(action) ?? false
      const plain = this.#tunnel.protocol.ask(action)
      const ask = tried === undefined ? plain : { ...plain, effects: [tried, ...plain.effects] }
      const shape = tried === undefined ? gate.useShape(this.resource.name, rule, ask, countsRows) : undefined
      if (shape !== undefined) {
        const approval = { id: shape.id, by: shape.by, reason: undefined, edited: false, waitedMs: 0 }
        return underShape(shape, this.#allow(action, verdict, { outcome: 'approved', rule, approval }))
      }
      const refusal = gate.refusal({ resource: this.resource.name, ask, approvers })
      if (refusal !== undefined)
        return this.#refuse(action, 'denied', 'APPROVAL_REJECTED', `${rule.name}: ${refusal}`, rule, undefined)
      const generation = this.generation
      const current = action
      const hold = gate.hold({
        resource: this.resource.name,
        connection: this.connection,
        view: this.#view(action, masks),
        ask,
        rule,
        approvers,
        holdsLocks: asker.holdsLocks(),
        client: this.#client?.program ?? null,
        countsRows,
        check: async text => await this.#checkEdit(current, text, asker),
      })
      this.#append(action, { outcome: 'held', rule, request: hold.id }, masks)
      try {
        recorder.commit()
      } catch (error) {
        hold.withdraw()
        throw error
      }
      const withdrawn = asker.onHold({
        id: hold.id,
        rule,
        approvers: approvers.groups.length > 0 ? approvers.groups.join(' or ') : this.subject.principal.name,
        withinSeconds: hold.withinSeconds,
      })
      const withdraw = () => hold.withdraw()
      withdrawn.addEventListener('abort', withdraw, { once: true })
      if (withdrawn.aborted) withdraw()
      const outcome = await hold.outcome
      withdrawn.removeEventListener('abort', withdraw)
      if (outcome.kind !== 'approved') return this.#refuseHeld(action, rule, hold.id, hold.withinSeconds, outcome)

      const ended = lease.refusal()
      if (ended !== undefined) return this.#refuse(action, 'denied', ended.code, ended.message, null, ended.hint)
      // The gate gives back what #checkEdit made of this asker's action.
      const approved = outcome.edit === null ? action : (outcome.edit.action as A)
      const revised = await asker.revise(approved, undefined)
      const again = this.#verdict(revised)
      if (again.kind === 'deny') return this.#refuse(revised, 'denied', 'DENIED', again.message, again.rule, again.hint)
      if (again.kind === 'approve' && (revised !== approved || generation !== this.generation)) {
        action = revised
        verdict = again
        continue
      }
      const approval = {
        id: hold.id,
        by: outcome.by,
        reason: outcome.reason,
        edited: outcome.edit !== null,
        waitedMs: outcome.waitedMs,
      }
      const decision: RecordedDecision = {
        outcome: 'approved',
        rule,
        approval,
        asked: outcome.edit === null ? undefined : this.#view(asked, masks).text,
      }
      return underShape(outcome.shape, this.#allow(revised, again, decision))
    }
  }

  #refuseHeld<A extends Action>(
    action: A,
    rule: RuleRef,
    id: Approval['id'],
    withinSeconds: number,
    outcome: Exclude<HoldOutcome, { kind: 'approved' }>,
  ): Decision<A> {
    const { waitedMs } = outcome
    switch (outcome.kind) {
      case 'rejected': {
        const approval = { id, by: outcome.by, reason: outcome.reason, edited: false, waitedMs }
        return this.#refuse(
          action,
          'rejected',
          'APPROVAL_REJECTED',
          `rejected by ${outcome.by}: ${outcome.reason}`,
          rule,
          undefined,
          approval,
        )
      }
      case 'timed-out':
        return this.#refuse(
          action,
          'timed-out',
          'APPROVAL_TIMEOUT',
          `nobody answered in ${withinSeconds} s`,
          rule,
          'ask again, and tell an approver: agentgate approvals',
        )
      case 'withdrawn':
        return this.#refuse(
          action,
          'withdrawn',
          'APPROVAL_WITHDRAWN',
          'withdrawn while it waited for approval',
          rule,
          undefined,
        )
      case 'ended':
        return this.#refuse(action, 'denied', outcome.error.code, outcome.error.message, rule, outcome.error.hint)
      default:
        return outcome satisfies never
    }
  }

  async #checkEdit<A extends Action>(action: A, text: string, asker: Asker<A>): Promise<EditCheck> {
    try {
      const edited = await asker.revise(action, text)
      const verdict = this.#verdict(edited)
      const view = this.#view(edited, this.masks())
      return verdict.kind === 'deny'
        ? { kind: 'refused', message: verdict.message, view }
        : { kind: 'ok', action: edited, view, verdict: verdict.kind }
    } catch (error) {
      if (error instanceof AgentgateError) return { kind: 'refused', message: error.message }
      throw error
    }
  }

  #append(action: Action, decision: RecordedDecision, masks: readonly Mask[]): number {
    const view = this.#view(action, masks)
    const { recorder, hub, id } = this.#tunnel.parts
    const event = recorder.append({
      kind: 'action',
      connection: this.connection,
      resource: this.resource.name,
      view,
      decision,
    })
    if (hub.watched) {
      const at = this.#tunnel.parts.clock.wall()
      const client = this.#client?.program ?? null
      hub.emit(() => ({
        event: 'decision',
        at: timestamp(at),
        session: id,
        resource: this.resource.name,
        connection: this.connection,
        action: event,
        decision: decision.outcome,
        rule: decision.rule === null ? null : { ...decision.rule },
        ...(decision.message === undefined ? {} : { message: decision.message }),
        summary: view.summary,
        text: view.text,
        client,
      }))
    }
    return event
  }

  #view(action: Action, masks: readonly Mask[]): ActionView {
    return this.#tunnel.protocol.view(action, masks)
  }
}

function underShape<A extends Action>(shape: ShapeApproval | null, decision: Decision<A>): Decision<A> {
  if (shape === null || shape.takeRows === null || decision.kind === 'deny') return decision
  return { ...decision, withinRows: shape.takeRows }
}

/** What cannot be recorded is refused; anything else that went wrong is not ours to hide. */
function unrecorded(error: unknown): Extract<Decision, { kind: 'deny' }> {
  if (!(error instanceof AgentgateError)) throw error
  return { kind: 'deny', code: error.code, message: error.message, rule: null, hint: error.hint, event: -1 }
}
