import { randomBytes } from 'node:crypto'
import type { RecordedDecision, SessionStart } from '../recording/event.ts'
import type { ActionView } from '../policy/action.ts'
import type { Subject } from '../policy/subject.ts'

/** Who did it, and in which session. */
export interface AuditSubject {
  readonly subject: Subject
  readonly session: string | null
  /** When that session began, in milliseconds since 1970. */
  readonly since: number | null
}

/** What was asked of a target. */
export interface AuditedAction {
  readonly by: AuditSubject
  readonly resource: { readonly name: string; readonly address: string }
  readonly connection: string
  readonly view: ActionView
  readonly decision: RecordedDecision
  readonly policyDigest: string | null
}

/** Who administers: a person by name, or whoever owns this machine's account. */
export type Administrator = string

export type AccessOutcome = 'asked' | 'approved' | 'rejected' | 'withdrawn' | 'timed-out' | 'revoked'

/** One thing that an auditor wants to know of; docs/siem.md says what each becomes. */
export type AuditEvent =
  | {
      readonly kind: 'login' | 'logout'
      /** Null where it is not known whose: a token that was refused. */
      readonly user: { readonly name: string; readonly groups: readonly string[] } | null
      readonly issuer: string
      readonly refused: string | null
    }
  | { readonly kind: 'session-start'; readonly start: SessionStart }
  | {
      readonly kind: 'session-end'
      readonly start: SessionStart
      readonly since: number
      readonly reason: string
      readonly exitCode: number | null
    }
  /** An action that was let through or not. */
  | ({ readonly kind: 'decision' } & AuditedAction)
  /** An action waits for a person. */
  | ({ readonly kind: 'request' } & AuditedAction)
  /** What became of one that waited. */
  | ({ readonly kind: 'approval' } & AuditedAction)
  /** Somebody asks for access that the policy does not give by itself. */
  | {
      readonly kind: 'access-request'
      readonly id: string
      readonly subject: Subject
      readonly resource: string
      readonly scope: string
      readonly outcome: AccessOutcome
      readonly by: Administrator | null
      readonly reason: string | null
    }
  | {
      readonly kind: 'grant' | 'revocation'
      readonly id: string
      readonly subject: Subject
      readonly session: string | null
      readonly resource: string
      readonly scope: string
      readonly expiresAt: number | null
      readonly by: Administrator | null
      readonly reason: string | null
    }
  | {
      readonly kind: 'suspension' | 'resumption'
      readonly principal: string
      readonly by: Administrator
      readonly reason: string | null
    }
  | {
      readonly kind: 'policy'
      readonly change: 'trusted' | 'trust-removed' | 'in-effect'
      readonly name: string
      readonly digest: string
      readonly by: Administrator | null
      readonly session: string | null
    }
  /** A recording lacks something, was altered, or could not be written. */
  | {
      readonly kind: 'recording-gap'
      readonly session: string
      readonly what: 'not-written' | 'unfinished' | 'altered' | 'missing' | 'not-uploaded'
      readonly detail: string
    }
  /** What was said and returned in a session is gone for good, or all of its recording. */
  | {
      readonly kind: 'erasure'
      readonly session: string
      readonly what: 'content' | 'recording'
      readonly by: Administrator
      readonly reason: string
    }
  /** Events that were not kept, as nobody took those before them. */
  | {
      readonly kind: 'audit-lost'
      readonly count: number
      readonly from: number
      readonly to: number
      readonly detail: string
    }
  | { readonly kind: 'test'; readonly text: string }

/** The same however often it is sent: receivers tell by it what they have already. */
export function newEventUid(): string {
  return `e_${randomBytes(12).toString('hex')}`
}
