import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  uncountableRows,
  type ApprovalAnswer,
  type ApprovalRequest,
  type ApprovalResult,
  type EditPreview,
  type ShapeLimits,
} from '../control/schema.ts'
import { proofText } from '../control/proof.ts'
import { AgentgateError } from '../errors.ts'
import { newApprovalId, type ApprovalId, type SessionId } from '../ids.ts'
import type { Action, ActionView, Approvers, RuleRef } from '../policy/action.ts'
import type { Subject } from '../policy/subject.ts'
import type { Ask } from '../protocols/protocol.ts'
import { Deadline, type Clock } from './clock.ts'
import type { EventHub } from './event-hub.ts'

/** More at once tire the approver into saying yes. */
const maxOpenRequests = 3
const maxRememberedRejections = 1000
const askAgainMs = 1000
/** Inside a transaction a wait keeps locks that others wait for. */
const maxLockedHoldSeconds = 30

/** What an edit comes to: the action that would run, or why it cannot. */
export type EditCheck =
  | { readonly kind: 'ok'; readonly action: Action; readonly view: ActionView; readonly verdict: 'allow' | 'approve' }
  | { readonly kind: 'refused'; readonly message: string; readonly view?: ActionView }

export interface HoldRequest {
  readonly resource: string
  readonly connection: string
  readonly view: ActionView
  readonly ask: Ask
  readonly rule: RuleRef
  readonly approvers: Approvers
  readonly holdsLocks: boolean
  readonly client: string | null
  /** Whether an approval of its shape may bound the rows that it changes. */
  readonly countsRows: boolean
  /** Decides on an edited text as if it had been asked. */
  readonly check: (text: string) => Promise<EditCheck>
}

export type HoldOutcome =
  | {
      readonly kind: 'approved'
      readonly by: string
      readonly reason: string | undefined
      readonly edit: { readonly action: Action } | null
      /** Its shape was approved with it: what runs now counts too. */
      readonly shape: ShapeApproval | null
      readonly waitedMs: number
    }
  | { readonly kind: 'rejected'; readonly by: string; readonly reason: string; readonly waitedMs: number }
  | { readonly kind: 'timed-out'; readonly waitedMs: number }
  | { readonly kind: 'withdrawn'; readonly waitedMs: number }
  | { readonly kind: 'ended'; readonly error: AgentgateError; readonly waitedMs: number }

export interface Hold {
  readonly id: ApprovalId
  readonly withinSeconds: number
  readonly outcome: Promise<HoldOutcome>
  withdraw(): void
}

/** Where an answer came from: a key in the session's own terminal, or a request on control.sock. */
export type Presence = 'terminal' | 'socket'

/** Others who may answer, through a broker. */
export interface RemoteApprovals {
  ask(request: ApprovalRequest): Promise<void>
  /** That it no longer waits; false: somebody has decided it there. @throws AgentgateError where nobody can say */
  end(id: string, outcome: 'approved' | 'edited' | 'rejected' | 'withdrawn'): Promise<boolean>
}

export interface ApprovalGateOptions {
  readonly remote?: RemoteApprovals | undefined
  readonly session: SessionId
  readonly subject: Subject
  readonly clock: Clock
  readonly hub: EventHub
  /** Checks an approver's signature; null where no passphrase has been set. */
  /** Asked at each answer; null where no passphrase has been set. */
  readonly verifyProof: () => ((text: Buffer, proof: string) => boolean) | null
}

interface Open {
  readonly id: ApprovalId
  readonly request: ApprovalRequest
  readonly hold: HoldRequest
  readonly askedAtMs: number
  readonly timer: NodeJS.Timeout
  readonly settle: (outcome: HoldOutcome) => void
  /** An answer is being worked on (an edit is decided anew): a second one is told so. */
  answering: boolean
}

/** A shape's approval as it stands beside each action that uses it. */
export interface ShapeApproval {
  readonly id: ApprovalId
  readonly by: string
  /** Takes rows off what is left; false: they are too many, and nothing is taken. null: rows are not bounded. */
  readonly takeRows: ((rows: number) => boolean) | null
}

class ApprovedShape implements ShapeApproval {
  readonly id: ApprovalId
  readonly by: string
  readonly until: Deadline
  readonly takeRows: ShapeApproval['takeRows']
  left: number
  #rowsLeft: number

  constructor(id: ApprovalId, by: string, until: Deadline, limits: ShapeLimits) {
    this.id = id
    this.by = by
    this.until = until
    this.left = limits.times - 1
    this.#rowsLeft = limits.rows ?? Infinity
    this.takeRows = limits.rows === undefined ? null : rows => this.#take(rows)
  }

  get usedUp(): boolean {
    return this.until.passed || this.left < 1 || this.#rowsLeft < 1
  }

  #take(rows: number): boolean {
    if (rows > this.#rowsLeft) return false
    this.#rowsLeft -= rows
    return true
  }
}

/** Somebody's answer through the broker. */
export type BrokerAnswer =
  | { readonly outcome: 'approved'; readonly shape: ShapeLimits | undefined }
  | { readonly outcome: 'edited'; readonly text: string }
  | { readonly outcome: 'rejected' }

/** Holds risky actions until a person answers. Every request ends exactly once, whoever answers, leaves or dies first. */
export class ApprovalGate {
  readonly #options: ApprovalGateOptions
  readonly #open = new Map<string, Open>()
  readonly #shapes = new Map<string, ApprovedShape>()
  readonly #rejected = new Map<string, string>()

  constructor(options: ApprovalGateOptions) {
    this.#options = options
  }

  get waiting(): number {
    return this.#open.size
  }

  list(): readonly ApprovalRequest[] {
    return [...this.#open.values()].map(open => open.request)
  }

  /** Why this may not even be asked; undefined where it may. */
  refusal(request: Pick<HoldRequest, 'resource' | 'ask' | 'approvers'>): string | undefined {
    const alone = this.#options.remote === undefined
    if (alone && request.approvers.notSelf)
      return 'it needs somebody else’s approval, and nobody else can reach this session without a broker'
    if (alone && request.approvers.count > 1)
      return `it needs ${request.approvers.count} approvers, and a session without a broker has one`
    const { groups } = request.approvers
    if (alone && groups.length > 0 && !groups.some(group => this.#options.subject.principal.groups.includes(group)))
      return `it needs approval by ${groups.join(' or ')}, and nobody of that group can reach this session without a broker`
    const reason = this.#rejected.get(`${request.resource}\0${request.ask.askKey}`)
    if (reason !== undefined) return `the same was rejected before: ${reason}`
    if (this.#open.size >= maxOpenRequests) return `${maxOpenRequests} requests of this session are waiting already`
    return undefined
  }

  /**
   * Takes one run off an approved shape; its approval, or undefined where none covers this.
   * @param countsRows whether the rows it changes can be counted before that is final.
   */
  useShape(resource: string, rule: RuleRef, ask: Ask, countsRows: boolean): ShapeApproval | undefined {
    if (ask.shapeKey === null) return undefined
    const key = shapeKeyOf(resource, rule, ask.shapeKey)
    const shape = this.#shapes.get(key)
    if (shape === undefined) return undefined
    if (shape.usedUp) {
      this.#shapes.delete(key)
      return undefined
    }
    if (shape.takeRows !== null && !countsRows) return undefined
    shape.left -= 1
    return shape
  }

  #approveShape(open: Open, limits: ShapeLimits | undefined, by: string): ShapeApproval | null {
    const { shapeKey } = open.hold.ask
    if (limits === undefined || shapeKey === null) return null
    // Where rows cannot be counted, a yes that bounds them is a yes to this one.
    if (limits.rows !== undefined && !open.hold.countsRows) return null
    const shape = new ApprovedShape(open.id, by, new Deadline(this.#options.clock, limits.seconds), limits)
    this.#shapes.set(shapeKeyOf(open.hold.resource, open.hold.rule, shapeKey), shape)
    return shape
  }

  /** What was approved under another policy or grant no longer counts. */
  forgetShapes(): void {
    this.#shapes.clear()
  }

  hold(hold: HoldRequest): Hold {
    const { clock, session, subject, hub } = this.#options
    const id = newApprovalId()
    const withinSeconds = hold.holdsLocks
      ? Math.min(maxLockedHoldSeconds, hold.approvers.withinSeconds)
      : hold.approvers.withinSeconds
    const askedAtMs = clock.wall()
    const request: ApprovalRequest = {
      id,
      session,
      resource: hold.resource,
      connection: hold.connection,
      view: mutableView(hold.view),
      rule: { ...hold.rule },
      effects: [...hold.ask.effects],
      holdsLocks: hold.holdsLocks,
      principal: subject.principal.name,
      actor: subject.actor?.name ?? null,
      purpose: subject.purpose,
      ticket: subject.ticket,
      client: hold.client,
      askedAt: new Date(askedAtMs).toISOString(),
      expiresAt: new Date(askedAtMs + withinSeconds * 1000).toISOString(),
      approvers: { groups: [...hold.approvers.groups], count: hold.approvers.count, notSelf: hold.approvers.notSelf },
      editable: hold.ask.editable,
      shapeable: hold.ask.shapeKey !== null,
      countsRows: hold.countsRows && hold.ask.shapeKey !== null,
      // An unconfined asker may be the one who types: the answer needs a proof that it cannot make.
      challenge: subject.confined ? null : `${id}.${randomBytes(16).toString('hex')}`,
    }
    const outcome = new Promise<HoldOutcome>(resolve => {
      const settle = (result: HoldOutcome) => {
        const open = this.#open.get(id)
        if (open === undefined) return
        this.#open.delete(id)
        clearTimeout(open.timer)
        if (result.kind !== 'approved' && result.kind !== 'rejected')
          void this.#options.remote?.end(id, 'withdrawn').catch(() => undefined) // it expires there
        hub.emit({ event: 'approval-ended', at: new Date(clock.wall()).toISOString(), id, ...ending(result) })
        resolve(result)
      }
      const timer = setTimeout(
        () => settle({ kind: 'timed-out', waitedMs: clock.wall() - askedAtMs }),
        withinSeconds * 1000,
      )
      this.#open.set(id, { id, request, hold, askedAtMs, timer, settle, answering: false })
    })
    hub.emit({ event: 'approval', at: request.askedAt, request })
    void this.#askOthers(request)
    return {
      id,
      withinSeconds,
      outcome,
      withdraw: () => this.#open.get(id)?.settle({ kind: 'withdrawn', waitedMs: clock.wall() - askedAtMs }),
    }
  }

  async preview(id: string, text: string): Promise<EditPreview> {
    const open = this.#open.get(id)
    if (open === undefined) return { kind: 'refused', message: `no request ${id} is waiting` }
    if (!open.hold.ask.editable)
      return { kind: 'refused', message: 'this cannot be edited; reject it with a reason instead' }
    const check = await open.hold.check(text)
    if (check.kind === 'ok') return { kind: 'ok', view: mutableView(check.view), verdict: check.verdict }
    return check.view === undefined
      ? { kind: 'refused', message: check.message }
      : { kind: 'ok', view: mutableView(check.view), verdict: 'deny', message: check.message }
  }

  async answer(id: string, answer: ApprovalAnswer, presence: Presence): Promise<ApprovalResult> {
    const open = this.#open.get(id)
    if (open === undefined)
      return {
        kind: 'refused',
        code: 'NO_SUCH_APPROVAL',
        message: `no request ${id} is waiting: it was answered, withdrawn or timed out`,
      }
    if (open.answering)
      return { kind: 'refused', code: 'NO_SUCH_APPROVAL', message: `request ${id} is being answered elsewhere` }
    // A no is always safe; a yes needs a person.
    const missing = answer.outcome === 'reject' ? undefined : this.#missingProof(open, answer, presence)
    if (missing !== undefined) return missing
    const by = this.#options.subject.principal.name
    open.answering = true
    try {
      switch (answer.outcome) {
        case 'reject': {
          const elsewhere = await this.#claim(open, answer)
          if (elsewhere !== undefined) return elsewhere
          this.#remember(open.hold, answer.reason)
          open.settle({ kind: 'rejected', by, reason: answer.reason, waitedMs: this.#waited(open) })
          return { kind: 'decided', outcome: 'rejected' }
        }
        case 'approve': {
          const { shapeKey } = open.hold.ask
          if (answer.shape !== undefined && shapeKey === null)
            return {
              kind: 'refused',
              code: 'USAGE',
              message: 'only this one can be approved: what its shape does is not known',
              hint: 'approve it once',
            }
          if (answer.shape?.rows !== undefined && open.request.countsRows !== true)
            return { kind: 'refused', code: 'USAGE', ...uncountableRows }
          const elsewhere = await this.#claim(open, answer)
          if (elsewhere !== undefined) return elsewhere
          const shape = this.#approveShape(open, answer.shape, by)
          open.settle({ kind: 'approved', by, reason: answer.reason, edit: null, shape, waitedMs: this.#waited(open) })
          return { kind: 'decided', outcome: 'approved' }
        }
        case 'edit': {
          if (!open.hold.ask.editable)
            return {
              kind: 'refused',
              code: 'USAGE',
              message: 'this cannot be edited',
              hint: 'reject it with a reason instead',
            }
          const check = await open.hold.check(answer.text)
          if (check.kind === 'refused')
            return {
              kind: 'refused',
              code: 'DENIED',
              message: check.message,
              hint: 'edit it again, or reject it with a reason',
            }
          if (!this.#open.has(id))
            return { kind: 'refused', code: 'NO_SUCH_APPROVAL', message: `request ${id} ended meanwhile` }
          const elsewhere = await this.#claim(open, answer)
          if (elsewhere !== undefined) return elsewhere
          open.settle({
            kind: 'approved',
            by,
            reason: answer.reason,
            edit: { action: check.action },
            shape: null,
            waitedMs: this.#waited(open),
          })
          return { kind: 'decided', outcome: 'edited' }
        }
        default:
          return answer satisfies never
      }
    } finally {
      open.answering = false
    }
  }

  /** Somebody's answer through the broker, who has seen to it that they may and that it is the only one. */
  async answerFromBroker(id: string, answer: BrokerAnswer, by: string, reason: string | undefined): Promise<void> {
    const open = this.#open.get(id)
    if (open === undefined) return // withdrawn meanwhile, or heard before
    const waitedMs = this.#waited(open)
    switch (answer.outcome) {
      case 'approved': {
        const shape = this.#approveShape(open, answer.shape, by)
        open.settle({ kind: 'approved', by, reason, edit: null, shape, waitedMs })
        return
      }
      case 'edited': {
        // Decided anew here, where it runs; once more, as what it was decided on when it was shown may have changed.
        const check = await open.hold.check(answer.text)
        if (check.kind === 'ok')
          open.settle({ kind: 'approved', by, reason, edit: { action: check.action }, shape: null, waitedMs })
        else {
          const error = new AgentgateError('DENIED', `what ${by} made of it may not run: ${check.message}`)
          open.settle({ kind: 'ended', error, waitedMs })
        }
        return
      }
      case 'rejected':
        this.#remember(open.hold, reason ?? 'no reason given')
        open.settle({ kind: 'rejected', by, reason: reason ?? 'no reason given', waitedMs })
        return
      default:
        answer satisfies never
    }
  }

  /** Again until somebody has it: a broker that restarts must not lose what waits. */
  async #askOthers(request: ApprovalRequest): Promise<void> {
    const { remote } = this.#options
    if (remote === undefined) return
    while (this.#open.has(request.id)) {
      try {
        await remote.ask(request)
        return
      } catch {
        await sleep(askAgainMs)
      }
    }
  }

  /** Where others may answer too, an answer given here must be one that counts, and the first. */
  async #claim(open: Open, answer: ApprovalAnswer): Promise<ApprovalResult | undefined> {
    const { remote, subject } = this.#options
    if (remote === undefined) return undefined
    const { groups, count, notSelf } = open.hold.approvers
    const mine =
      !notSelf && count <= 1 && (groups.length === 0 || groups.some(one => subject.principal.groups.includes(one)))
    if (!mine && answer.outcome !== 'reject')
      return {
        kind: 'refused',
        code: 'DENIED',
        message: 'this is not yours alone to approve',
        hint: `${groups.length > 0 ? groups.join(' or ') : 'an administrator'} answers it with: agentgate approvals`,
      }
    const outcome = answer.outcome === 'approve' ? 'approved' : answer.outcome === 'edit' ? 'edited' : 'rejected'
    try {
      if (await remote.end(open.id, outcome)) return undefined
      return { kind: 'refused', code: 'NO_SUCH_APPROVAL', message: `request ${open.id} was answered elsewhere` }
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      return {
        kind: 'refused',
        code: error.code,
        message: error.message,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      }
    }
  }

  /** Ends every wait, as the session ends. */
  end(error: AgentgateError): void {
    for (const open of [...this.#open.values()]) open.settle({ kind: 'ended', error, waitedMs: this.#waited(open) })
  }

  #missingProof(open: Open, answer: ApprovalAnswer, presence: Presence): ApprovalResult | undefined {
    const { challenge } = open.request
    if (presence === 'terminal' || challenge === null) return undefined
    const verifyProof = this.#options.verifyProof()
    if (verifyProof === null)
      return {
        kind: 'refused',
        code: 'PASSPHRASE',
        message:
          'whoever asks here could also answer: an approval from outside its terminal needs your passphrase, and none is set',
        hint: 'set one with: agentgate passphrase; or answer in the terminal of agentgate connect',
      }
    if (answer.proof === undefined || !verifyProof(proofText(challenge, answer), answer.proof))
      return {
        kind: 'refused',
        code: 'PASSPHRASE',
        message: 'the answer is not signed with your passphrase',
        hint: 'answer with: agentgate approvals',
      }
    return undefined
  }

  #remember(hold: HoldRequest, reason: string): void {
    this.#rejected.set(`${hold.resource}\0${hold.ask.askKey}`, reason)
    if (this.#rejected.size > maxRememberedRejections) {
      const oldest = this.#rejected.keys().next()
      if (oldest.done !== true) this.#rejected.delete(oldest.value)
    }
  }

  #waited(open: Open): number {
    return this.#options.clock.wall() - open.askedAtMs
  }
}

function shapeKeyOf(resource: string, rule: RuleRef, shape: string): string {
  return `${resource}\0${rule.name}\0${shape}`
}

function ending(outcome: HoldOutcome) {
  switch (outcome.kind) {
    case 'approved':
      return {
        outcome: outcome.edit === null ? ('approved' as const) : ('edited' as const),
        by: outcome.by,
        ...(outcome.reason === undefined ? {} : { reason: outcome.reason }),
      }
    case 'rejected':
      return { outcome: 'rejected' as const, by: outcome.by, reason: outcome.reason }
    case 'timed-out':
      return { outcome: 'timed-out' as const, by: null }
    case 'withdrawn':
    case 'ended':
      return { outcome: 'withdrawn' as const, by: null }
    default:
      return outcome satisfies never
  }
}

/** The schema's types are mutable arrays; the view's are not. */
function mutableView(view: ActionView): ApprovalRequest['view'] {
  const { parameters, ...rest } = view
  return {
    ...rest,
    verbs: [...view.verbs],
    reads: [...view.reads],
    writes: [...view.writes],
    attributes: { ...view.attributes },
    ...(parameters === undefined ? {} : { parameters: [...parameters] }),
  }
}
