import type { ActionView, Approval, ResultKeep, RuleRef } from '../policy/action.ts'
import type { ApprovalId, ConnectionId, PolicyDigest, SessionId } from '../ids.ts'
import type { Subject } from '../policy/subject.ts'

/** Who is at the other end of a client's socket, as far as /proc tells. */
export interface ClientProcess {
  readonly pid: number
  readonly program: string
  /** Programs from the parent upwards. */
  readonly ancestry: readonly string[]
}

export interface SessionStart {
  readonly kind: 'session-start'
  readonly session: SessionId
  readonly subject: Subject
  readonly resources: readonly {
    readonly name: string
    readonly kind: string
    readonly scope: string
    readonly address: string
  }[]
  readonly policyDigest: PolicyDigest
  readonly placement: 'local' | 'gateway'
  readonly command: readonly string[]
  readonly host: string
  readonly version: string
  /** How long after its end the policy wants the recording kept; null: for ever. Absent in older recordings. */
  readonly retainSeconds?: number | null | undefined
}

/** How an action was decided, and by whom. */
export interface RecordedDecision {
  readonly outcome: 'allowed' | 'denied' | 'held' | 'approved' | 'rejected' | 'withdrawn' | 'timed-out'
  readonly rule: RuleRef | null
  readonly message?: string | undefined
  readonly approval?: Approval | undefined
  /** The request that a held action waits under. */
  readonly request?: ApprovalId | undefined
  /** The text that was asked for, where an approver's edit runs instead. */
  readonly asked?: string | undefined
  /** What is kept of its result, where a rule says so. */
  readonly results?: ResultKeep | undefined
}

/**
 * One thing worth remembering. An action's event is on disk before the action is forwarded; `action` numbers in later
 * events point back to its sequence number.
 */
export type RecordedEvent =
  | SessionStart
  | { readonly kind: 'policy'; readonly digest: PolicyDigest }
  | { readonly kind: 'connection'; readonly connection: ConnectionId; readonly resource: string; readonly peer: string }
  | { readonly kind: 'client'; readonly connection: ConnectionId; readonly process: ClientProcess | null }
  | {
      readonly kind: 'action'
      readonly connection: ConnectionId
      readonly resource: string
      readonly view: ActionView
      readonly decision: RecordedDecision
    }
  /** Bytes of the protocol as sent to the client, after masking, in order; and the data that a client streams in (COPY). */
  | { readonly kind: 'result'; readonly connection: ConnectionId; readonly action: number; readonly bytes: Buffer }
  | {
      readonly kind: 'outcome'
      readonly connection: ConnectionId
      readonly action: number
      readonly status: 'ok' | 'error' | 'cancelled' | 'lost'
      /** The protocol's word: a command tag, an HTTP status. */
      readonly tag: string
      readonly rows: number | null
      readonly milliseconds: number
      readonly masked: readonly string[]
    }
  | { readonly kind: 'terminal'; readonly direction: 'output' | 'input' | 'resize'; readonly bytes: Buffer }
  | { readonly kind: 'note'; readonly connection: ConnectionId | null; readonly text: string }
  | { readonly kind: 'connection-end'; readonly connection: ConnectionId; readonly reason: string }
  | { readonly kind: 'session-end'; readonly reason: string; readonly exitCode: number | null }
