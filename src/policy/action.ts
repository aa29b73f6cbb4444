import type { ApprovalId } from '../ids.ts'

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue }

/**
 * One thing that a client asks of a target, parsed and immutable: what policy decides, what an approver sees, what is
 * recorded and what runs are this same object. A protocol extends it with what it needs.
 */
export interface Action {
  /** The protocol's kind, as `Protocol.kind`. */
  readonly kind: string
  /**
   * Actions with the same `shape` object are decided alike wherever no rule asks for more than the shape holds (bound
   * values, the time). Protocols keep one shape per statement text, so that a verdict is reached once.
   */
  readonly shape: object
}

/** What CEL, approvers, recordings and the SIEM see of an action: public API, so it only grows. Masked values are masked. */
export interface ActionView {
  readonly kind: string
  /** One line for a list, such as `UPDATE payments`. */
  readonly summary: string
  /** The whole command as it would run, with what masks hide hidden. */
  readonly text: string
  /** `change` is whatever may alter the target; `unknown` counts as the worst that the credential could do. */
  readonly effect: 'read' | 'change' | 'unknown'
  /** What is done, in the protocol's own words: `select`, `delete`; `GET`. More than one where a command does more. */
  readonly verbs: readonly string[]
  /** What is read and written: `public.orders`; a URL's path. */
  readonly reads: readonly string[]
  readonly writes: readonly string[]
  /** Bound values in order, masked where masks hide them; absent where the protocol has none. */
  readonly parameters?: readonly (string | null)[]
  /** Whatever else the protocol lets rules ask for. */
  readonly attributes: { readonly [key: string]: JsonValue }
}

/** A rule as people find it again. */
export interface RuleRef {
  readonly name: string
  /** `agentgate.yaml:41` */
  readonly place: string
}

export interface Approvers {
  /** Groups of which an approver must be in one; empty: anyone who may administer this session (solo: its owner). */
  readonly groups: readonly string[]
  readonly count: number
  readonly notSelf: boolean
  readonly withinSeconds: number
}

/** How a masked value is shown. */
export type MaskStrategy =
  | { readonly kind: 'redact' }
  | { readonly kind: 'partial' }
  | { readonly kind: 'hash' }
  | { readonly kind: 'null' }
  | { readonly kind: 'constant'; readonly value: string }

/**
 * A way to learn of a masked value without being shown it: compare it for equality, tell rows apart by it (GROUP BY, DISTINCT,
 * UNION), compare it by order, pattern or part, sort by it.
 */
export type MaskUse = (typeof maskUses)[number]
export const maskUses = ['equal', 'group', 'range', 'sort'] as const

/** Where a mask does not say: what lookups, joins and counts need. */
export const defaultMaskUses: readonly MaskUse[] = ['equal', 'group']

export interface Mask {
  readonly name: string
  readonly place: string
  /** `table.column` or `schema.table.column`; `*` within a part. Empty where the mask goes by detector. */
  readonly columns: readonly string[]
  /** JSON fields by path, for protocols with documents. */
  readonly fields: readonly string[]
  /** Names of detectors (src/masking/detectors). */
  readonly detect: readonly string[]
  readonly with: MaskStrategy
  /** What may be done with the columns in spite of it; absent: `defaultMaskUses`. */
  readonly compare?: readonly MaskUse[]
}

/** How much of a result may be given; what is more ends the statement with an error. */
export interface ResultLimit {
  readonly rule: RuleRef
  readonly rows: number | null
  readonly bytes: number | null
}

/** What a recording keeps of a result, where a rule says so: all of it, or none but its count and digest. */
export interface ResultKeep {
  readonly rule: RuleRef
  readonly keep: 'full' | 'none'
}

/** What policy says of an action. `masks` is the same array object as long as nothing changed, so it can be a cache key. */
export type Verdict =
  | {
      readonly kind: 'allow'
      readonly rule: RuleRef | null
      readonly masks: readonly Mask[]
      readonly stable: boolean
      /** Absent: none. */
      readonly limit?: ResultLimit
      /** Absent: up to `recording.results.keep`. */
      readonly record?: ResultKeep
    }
  | {
      readonly kind: 'deny'
      readonly rule: RuleRef | null
      readonly message: string
      readonly hint: string | undefined
      readonly stable: boolean
    }
  | {
      readonly kind: 'approve'
      readonly rule: RuleRef
      readonly approvers: Approvers
      readonly masks: readonly Mask[]
      readonly stable: boolean
      readonly limit?: ResultLimit
      readonly record?: ResultKeep
    }

/** How a held action ended well; it stands beside the action in the record. */
export interface Approval {
  readonly id: ApprovalId
  readonly by: string
  readonly reason: string | undefined
  readonly edited: boolean
  readonly waitedMs: number
}
