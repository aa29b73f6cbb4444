import type { ZodObject, ZodType } from 'zod'
import type { TlsSettings } from '../config/tls.ts'
import type { Action, ActionView, Mask } from './action.ts'

/** The part of a protocol that policy needs: its words in agentgate.yaml, and whether a condition holds for an action. */
export interface PolicyKind {
  readonly kind: string
  /** Keys of a resource of this kind besides the general ones (address, tls, credential, scopes, placement, port, default). */
  readonly resourceSchema: ZodObject
  readonly scopeSchema: ZodType
  /** Keys of `when` and `unless` that only this kind knows, such as `statement`, `table`, `where`; all optional. */
  readonly whenSchema: ZodObject
  /**
   * Whether every condition in `when` (parsed by whenSchema, only keys that were written) holds. What cannot be known of
   * the action counts as holding for `deny` and `approve` rules (`doubt: 'holds'`) and as failing for `unless` and
   * `allow` (`doubt: 'fails'`). Where an action does several things, one of them is enough for `holds`, and all of them
   * must be covered for `fails`: what lifts a rule may not carry something else along.
   *
   * Leaving a key out of `when` may only make more match: policy asks with the keys that do not vary first.
   */
  matches(when: unknown, action: Action, doubt: 'holds' | 'fails'): boolean
  /** Whether a condition asks for what `action.shape` does not hold (bound values), so a verdict must not be kept. */
  varies(when: unknown): boolean
  /** What a client could do so that a rule with this condition no longer refuses, such as `add a WHERE`. */
  hint?(when: unknown): string | undefined
  /** The port of an address that names none; where a kind has none, an address must name one. */
  targetPort?(tls: TlsSettings['mode']): number
  /**
   * Of a kind without an address of its own: where a resource leads instead, one a line. Such a resource has no address,
   * tls or credential.
   */
  reach?(settings: unknown): readonly string[]
  /** What agents may do where nothing else is said; `read` where this is not set. */
  readonly agentsDefault?: 'allow' | 'read' | 'deny'
  /** Results of this kind can be limited (`then: limit`); where not, such a rule denies. */
  readonly limitsResults?: boolean
  /** Why an action may not run under these masks, whatever the rules say: it would take or tell what they hide. */
  refuses?(action: Action, masks: readonly Mask[]): string | undefined
  /** What may be shown and recorded; constants that stand for a masked column's value are hidden as the masks say. */
  view(action: Action, masks: readonly Mask[]): ActionView
  /**
   * Makes an action from the text of a policy test or `policy explain`, without a target: `catalogue` where the case
   * gives one (for Postgres: DDL that describes the tables).
   */
  parse(text: string, options: { readonly resource: unknown; readonly fixtures: string | undefined }): Promise<Action>
}
