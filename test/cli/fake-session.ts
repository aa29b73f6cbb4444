import type {
  ApprovalAnswer,
  ApprovalRequest,
  ApprovalResult,
  ControlEvent,
  EditPreview,
  SessionStatus,
} from '../../src/control/schema.ts'
import type { OpenSession } from '../../src/cli/open-session.ts'
import type { SessionId } from '../../src/ids.ts'

export const at = () => new Date().toISOString()

/** A session that does what a test tells it: for screens, without a tunnel behind. */
export class FakeSession implements OpenSession {
  readonly id = 's_7Q2M4XJ9KD' as SessionId
  readonly endpoints = []
  readonly answers: { id: string; answer: ApprovalAnswer; presence: string }[] = []
  readonly finished: OpenSession['finished']
  readonly waiting = new Map<string, ApprovalRequest>()
  now: SessionStatus
  nextResult: ApprovalResult | undefined
  previewOf: (text: string) => EditPreview = text => ({
    kind: 'ok',
    view: view({ text, summary: 'UPDATE payments' }),
    verdict: 'allow',
  })
  readonly #watchers = new Set<(event: ControlEvent | undefined) => void>()
  #finish: (finished: Awaited<OpenSession['finished']>) => void = () => undefined

  constructor(status: Partial<SessionStatus> = {}) {
    this.finished = new Promise(resolve => (this.#finish = resolve))
    this.now = {
      session: this.id,
      pid: process.pid,
      command: 'connect',
      principal: 'maria@example.com',
      actor: null,
      confined: false,
      startedAt: at(),
      expiresAt: new Date(Date.now() + 59 * 60_000).toISOString(),
      policy: { path: '/work/agentgate.yaml', digest: `sha256:${'0'.repeat(64)}` },
      tunnels: [
        {
          resource: 'db-prod',
          kind: 'postgres',
          scope: 'read',
          label: 'shop at db.internal',
          address: '127.0.0.1:15432',
          shown: 'postgresql://maria@127.0.0.1:15432/shop',
          use: 'psql service=db-prod',
          rules: { deny: 3, approve: 1, masks: 2 },
        },
      ],
      connections: 0,
      statements: 0,
      denied: 0,
      waiting: 0,
      recording: '/recordings/s_7Q2M4XJ9KD',
      ...status,
    }
  }

  get ready(): OpenSession['ready'] {
    return {
      event: 'ready',
      at: at(),
      session: this.id,
      expiresAt: this.now.expiresAt,
      tunnels: this.now.tunnels.map(({ resource, kind, address }) => ({
        resource,
        kind,
        address,
        url: `postgresql://maria:ag_secret@${address}/shop`,
        env: { PGHOST: '127.0.0.1', PGPASSWORD: 'ag_secret' },
      })),
    }
  }

  emit(event: ControlEvent): void {
    if (event.event === 'approval') this.waiting.set(event.request.id, event.request)
    if (event.event === 'approval-ended') this.waiting.delete(event.id)
    for (const watcher of this.#watchers) watcher(event)
  }

  #action = 0

  /** A statement that was let through and ended. */
  statement(text: string, rows = 20, masked: string[] = []): void {
    const action = this.decide('allowed', text)
    this.emit({
      event: 'outcome',
      at: at(),
      session: this.id,
      connection: 'c1',
      action,
      status: 'ok',
      tag: `SELECT ${rows}`,
      rows,
      milliseconds: 3,
      masked,
    })
  }

  decide(
    decision: Extract<ControlEvent, { event: 'decision' }>['decision'],
    text: string,
    rule: string | null = null,
  ): number {
    const action = ++this.#action
    this.now = {
      ...this.now,
      statements: this.now.statements + 1,
      denied: this.now.denied + (decision === 'denied' ? 1 : 0),
    }
    this.emit({
      event: 'decision',
      at: at(),
      session: this.id,
      resource: 'db-prod',
      connection: 'c1',
      action,
      decision,
      rule: rule === null ? null : { name: rule, place: 'agentgate.yaml:41' },
      summary: text.split(' ', 2).join(' '),
      text,
      client: 'psql',
    })
    return action
  }

  hold(request: Partial<ApprovalRequest> = {}): ApprovalRequest {
    const whole = approvalRequest(request)
    this.emit({ event: 'approval', at: at(), request: whole })
    return whole
  }

  end(reason: 'closed' | 'expired' = 'closed'): void {
    for (const watcher of this.#watchers) watcher(undefined)
    this.#finish({ reason, error: undefined })
  }

  cleared(): readonly string[] {
    return []
  }

  environment(): Record<string, string> {
    return { PGHOST: '127.0.0.1' }
  }

  async renew(): Promise<Date> {
    const end = new Date(Date.now() + 60 * 60_000)
    this.now = { ...this.now, expiresAt: end.toISOString() }
    return end
  }

  close(): Promise<void> {
    this.end()
    return Promise.resolve()
  }

  status(): Promise<SessionStatus> {
    return Promise.resolve(this.now)
  }

  approvals(): Promise<readonly ApprovalRequest[]> {
    return Promise.resolve([...this.waiting.values()])
  }

  preview(_id: string, text: string): Promise<EditPreview> {
    return Promise.resolve(this.previewOf(text))
  }

  answer(id: string, answer: ApprovalAnswer, presence = 'terminal'): Promise<ApprovalResult> {
    this.answers.push({ id, answer, presence })
    if (this.nextResult?.kind === 'refused') return Promise.resolve(this.nextResult)
    const outcome = answer.outcome === 'approve' ? 'approved' : answer.outcome === 'reject' ? 'rejected' : 'edited'
    this.emit({ event: 'approval-ended', at: at(), id, outcome, by: 'maria@example.com' })
    return Promise.resolve({ kind: 'decided', outcome })
  }

  stop(): Promise<void> {
    return this.close()
  }

  async *events(signal: AbortSignal): AsyncGenerator<ControlEvent> {
    const queue: (ControlEvent | undefined)[] = [
      ...[...this.waiting.values()].map(request => ({ event: 'approval' as const, at: request.askedAt, request })),
    ]
    let wake: () => void = () => undefined
    const push = (event: ControlEvent | undefined) => {
      queue.push(event)
      wake()
    }
    this.#watchers.add(push)
    signal.addEventListener('abort', () => push(undefined))
    try {
      for (;;) {
        if (queue.length === 0) await new Promise<void>(resolve => (wake = resolve))
        const event = queue.shift()
        if (event === undefined) return
        yield event
      }
    } finally {
      this.#watchers.delete(push)
    }
  }
}

export function view(change: Partial<ApprovalRequest['view']> = {}): ApprovalRequest['view'] {
  return {
    kind: 'postgres',
    summary: 'UPDATE payments',
    text: "update payments set status = 'refunded'\nwhere id = $1",
    effect: 'change',
    verbs: ['update'],
    reads: ['public.payments'],
    writes: ['public.payments'],
    parameters: ['1841'],
    attributes: {},
    ...change,
  }
}

export function approvalRequest(change: Partial<ApprovalRequest> = {}): ApprovalRequest {
  return {
    id: 'a_7K2M9Q',
    session: 's_7Q2M4XJ9KD',
    resource: 'db-prod',
    connection: 'c1',
    view: view(),
    rule: { name: 'payments need a second pair of eyes', place: 'agentgate.yaml:52' },
    effects: ['payments, about 1 row of 48,211 (primary key)'],
    holdsLocks: false,
    principal: 'maria@example.com',
    actor: 'claude',
    purpose: null,
    ticket: 'INC-2201',
    client: 'psql',
    askedAt: new Date(Date.now() - 12_000).toISOString(),
    expiresAt: new Date(Date.now() + 588_000).toISOString(),
    approvers: { groups: [], count: 1, notSelf: false },
    editable: true,
    challenge: null,
    ...change,
  }
}
