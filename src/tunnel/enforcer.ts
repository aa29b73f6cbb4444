import type { Action, Mask, Verdict } from '../policy/action.ts'

/** What a verdict may depend on besides the action. */
export interface Facts {
  readonly nowMs: number
  /** The client's program, where it is known. */
  readonly client: string | null
}

/** A policy prepared for one subject, resource and scope: asked for every action. */
export interface Enforcer {
  decide(action: Action, facts: Facts): Verdict
  /** The same array object for as long as this enforcer lives. */
  readonly masks: readonly Mask[]
  /** Whether a rule asks for the client's program, so that it must be known before the first action. */
  readonly needsClient: boolean
  /** Whether a rule has this key of those that only the resource's kind knows. */
  asks(condition: string): boolean
  readonly rules: { readonly deny: number; readonly approve: number; readonly masks: number }
}
