import type { Action, Verdict } from './action.ts'
import type { PolicyKind } from './kind.ts'

/** The verdict as a client meets it: what the rules let run may still be refused for what masks hide. */
export function underMasks(verdict: Verdict, kind: PolicyKind, action: Action): Verdict {
  if (verdict.kind === 'deny') return verdict
  const message = kind.refuses?.(action, verdict.masks)
  if (message === undefined) return verdict
  return {
    kind: 'deny',
    rule: null,
    message,
    hint: 'see what masks leave open: docs/masking.md',
    stable: verdict.stable,
  }
}
