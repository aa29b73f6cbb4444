import type { MaskStrategy } from '../../../policy/action.ts'

/** What is to be done with one result column. */
export type ColumnMask =
  | { readonly kind: 'clear' }
  /** Every value is replaced; `mask` names the rule for the record. */
  | { readonly kind: 'mask'; readonly mask: string; readonly with: MaskStrategy }
  /** Only what the detectors find inside a value is replaced. */
  | {
      readonly kind: 'detect'
      readonly detectors: readonly string[]
      readonly mask: string
      readonly with: MaskStrategy
    }

/** `clear`: nothing of this result is touched, its bytes pass as they came. */
export type MaskPlan = 'clear' | readonly ColumnMask[]
