import type { Mask, MaskStrategy } from '../../../policy/action.ts'
import type { ColumnRef, Lineage, Statement } from '../analysis/analysed.ts'
import type { Catalogue, Relation } from '../analysis/catalogue.ts'
import { columnMatcher } from './column-pattern.ts'
import type { ColumnMask, MaskPlan } from './mask-plan.ts'
import { mayHoldText } from './type-class.ts'

/** What the server says of a result column (RowDescription, PG 16 docs §55.7). */
export interface DescribedColumn {
  /** 0 where it is not simply a table's column. */
  readonly tableOid: number
  readonly columnNumber: number
  readonly typeOid: number
}

const clear: ColumnMask = { kind: 'clear' }
const redact: MaskStrategy = { kind: 'redact' }

/**
 * What is to be done with each result column. It stays clear only where the statement's lineage and the origin that the
 * server reports are both known and neither is masked; what cannot be traced is redacted.
 * @param columns null for rows that are copied out, of which the server describes nothing
 */
export function planMasks(
  statement: Statement,
  masks: readonly Mask[],
  columns: readonly DescribedColumn[] | null,
  catalogue: Catalogue,
): MaskPlan {
  const rules = maskRules(masks)
  const lineages = lineagesOf(statement, columns)
  if (lineages === 'server') return 'clear'
  const plan = lineages.map((lineage, index) => planColumn(statement, rules, lineage, columns?.[index], catalogue))
  return plan.every(each => each.kind === 'clear') ? 'clear' : plan
}

/** A value that is masked where it is read, about to be written where it is not; undefined where there is none. */
export function laundered(
  statement: Statement,
  masks: readonly Mask[],
): { readonly place: string; readonly mask: string } | undefined {
  const { byColumn } = maskRules(masks)
  if (byColumn.length === 0) return undefined
  for (const carry of statement.carries) {
    // Where it is masked again by whatever hides it here, it does not get out.
    const stays = (rule: ColumnRule) => carry.into !== null && rule.matches(carry.into)
    const escaping = byColumn.find(rule => !stays(rule) && (!carry.certain || carry.sources.some(rule.matches)))
    if (escaping !== undefined) return { place: carry.into ?? carry.place, mask: escaping.mask.name }
  }
  return undefined
}

interface ColumnRule {
  readonly mask: Mask
  readonly matches: (column: ColumnRef) => boolean
}

interface MaskRules {
  readonly byColumn: readonly ColumnRule[]
  /** Masks that go by detector, with every detector that they name. */
  readonly detecting: ColumnMask
}

const rulesOf = new WeakMap<readonly Mask[], MaskRules>()

function maskRules(masks: readonly Mask[]): MaskRules {
  let rules = rulesOf.get(masks)
  if (rules === undefined) {
    rules = {
      byColumn: masks.flatMap(mask =>
        mask.columns.length === 0 ? [] : [{ mask, matches: columnMatcher(mask.columns) }],
      ),
      detecting: detectingOf(masks),
    }
    rulesOf.set(masks, rules)
  }
  return rules
}

function detectingOf(masks: readonly Mask[]): ColumnMask {
  const detecting = masks.filter(mask => mask.detect.length > 0)
  const [first] = detecting
  if (first === undefined) return clear
  const detectors = [...new Set(detecting.flatMap(mask => mask.detect))]
  return { kind: 'detect', detectors, mask: detecting.map(mask => mask.name).join(', '), with: common(detecting) }
}

/** One lineage a column; `server` for rows of the server's own. */
function lineagesOf(
  statement: Statement,
  columns: readonly DescribedColumn[] | null,
): readonly (Lineage | undefined)[] | 'server' {
  const { output } = statement
  const untraced = (): readonly undefined[] => columns?.map(() => undefined) ?? []
  switch (output.kind) {
    case 'server':
      return 'server'
    case 'none': // rows of which the statement says nothing: a rule's
    case 'unknown':
    case 'prepared':
    case 'cursor':
      return untraced()
    case 'copy-out':
      return output.columns
    case 'columns': {
      const { open } = output
      if (open === undefined)
        return columns === null || output.columns.length === columns.length ? output.columns : untraced()
      const all = [...output.columns, open]
      const any: Lineage = {
        name: '',
        sources: [...new Set(all.flatMap(each => each.sources))],
        certain: all.every(each => each.certain),
      }
      return (columns ?? output.columns).map(() => any)
    }
    default:
      return output satisfies never
  }
}

function planColumn(
  statement: Statement,
  { byColumn, detecting }: MaskRules,
  lineage: Lineage | undefined,
  described: DescribedColumn | undefined,
  catalogue: Catalogue,
): ColumnMask {
  const byDetector =
    detecting.kind === 'detect' && (described === undefined || mayHoldText(described.typeOid)) ? detecting : clear
  if (byColumn.length === 0) return byDetector
  const origin = originOf(described, catalogue)
  if (lineage?.certain !== true || origin === 'unknown') return { kind: 'mask', mask: 'cannot be traced', with: redact }
  const sources = origin === null ? lineage.sources : [...lineage.sources, origin.ref]
  const hit = byColumn.filter(rule => sources.some(rule.matches)).map(rule => rule.mask)
  const [mask] = hit
  if (mask === undefined) return byDetector
  // Part of a value computed from a masked one (its first letters, say) is not the part that the mask means to show.
  const untouched =
    statement.verb === 'select' &&
    origin !== null &&
    origin.relation.kind === 'table' &&
    sources.every(source => hit.every(each => columnMatcher(each.columns)(source)))
  return { kind: 'mask', mask: hit.map(each => each.name).join(', '), with: untouched ? common(hit) : safest(hit) }
}

/** The column that the server says this is; null where it says none. */
function originOf(
  described: DescribedColumn | undefined,
  catalogue: Catalogue,
): { readonly ref: ColumnRef; readonly relation: Relation } | null | 'unknown' {
  if (described === undefined || described.tableOid === 0) return null
  const relation = catalogue.relationByOid(described.tableOid)
  const column = relation?.columns.find(each => each.number === described.columnNumber)
  // Columns of the system (ctid, xmin, …) have numbers below 0 and hold no value of a row.
  if (relation !== undefined && described.columnNumber < 0) return null
  return relation === undefined || column === undefined ? 'unknown' : { ref: column.ref, relation }
}

/** Masks that agree say how; where they do not, nothing of the value is shown. */
function common(masks: readonly Mask[]): MaskStrategy {
  const [first, ...others] = masks.map(mask => mask.with)
  if (first === undefined) return redact
  return others.every(other => JSON.stringify(other) === JSON.stringify(first)) ? first : redact
}

function safest(masks: readonly Mask[]): MaskStrategy {
  const agreed = common(masks)
  return agreed.kind === 'partial' || agreed.kind === 'hash' ? redact : agreed
}
