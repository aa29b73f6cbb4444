import type { Mask } from '../../../policy/action.ts'
import type { Statement } from '../analysis/analysed.ts'
import type { ColumnMask, MaskPlan } from '../masking/mask-plan.ts'
import type { Field } from '../wire/backend-messages.ts'
import { matchesColumn } from './redact.ts'

const clear: ColumnMask = { kind: 'clear' }

/** Shows a column only where its whole lineage is known and no mask matches any of it. */
export function planColumns(
  statement: Statement,
  masks: readonly Mask[],
  _catalogue: object,
  fields: readonly Field[] | null,
): MaskPlan {
  const { output } = statement
  const columns = output.kind === 'columns' || output.kind === 'copy-out' ? output.columns : undefined
  const count = fields?.length ?? columns?.length ?? 1
  const plan = Array.from({ length: count }, (_, index): ColumnMask => {
    if (output.kind === 'server') return clear
    const lineage =
      columns?.length === count ? columns[index] : output.kind === 'any-columns' ? output.lineage : undefined
    const mask = masks.find(each =>
      lineage === undefined || !lineage.certain
        ? each.columns.length > 0
        : each.columns.some(pattern => lineage.sources.some(source => matchesColumn(pattern, source))),
    )
    if (mask === undefined) return clear
    const whole = lineage?.direct !== true && (mask.with.kind === 'partial' || mask.with.kind === 'hash')
    return { kind: 'mask', mask: mask.name, with: whole ? { kind: 'redact' } : mask.with }
  })
  return plan.every(column => column.kind === 'clear') ? 'clear' : plan
}
