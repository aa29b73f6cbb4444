import type { Mask, MaskStrategy } from '../../../policy/action.ts'
import type { ColumnMask, MaskPlan } from '../masking/mask-plan.ts'
import type { Lineage, Statement } from './analysed.ts'
import type { Catalogue, Column } from './catalogue.ts'
import { matcherOf, strength } from './mask-matcher.ts'
import type { MaskMatcher } from './mask-matcher.ts'
import { changes } from './verbs.ts'

/** What the server says of a result column (RowDescription). */
export interface ResultField {
  readonly name?: string
  readonly tableOid: number
  readonly columnNumber: number
  readonly typeOid: number
}

const clear: ColumnMask = { kind: 'clear' }
const redact: MaskStrategy = { kind: 'redact' }

/**
 * What is to be hidden of each result column. It is shown in clear only where the statement's lineage and the origin that
 * the server confirms (`fields`) are both clean; in a statement that writes, a clean origin proves nothing, so lineage
 * decides. `fields` is null for rows copied out, of which the server says nothing.
 */
export function planMasks(
  statement: Statement,
  masks: readonly Mask[],
  fields: readonly ResultField[] | null | undefined,
  catalogue: Catalogue,
): MaskPlan {
  if (masks.length === 0) return 'clear'
  const matcher = matcherOf(masks)
  if (!matcher.byColumn && matcher.detectors.length === 0) return 'clear'
  const lineages = lineagesOf(statement, fields?.length)
  const count = fields?.length ?? lineages?.length
  if (count === undefined) return [unsure(matcher, undefined)] // fits no result, which is then refused
  const writes = statement.effects.some(effect => changes(effect.verb))
  const plan: ColumnMask[] = []
  for (let i = 0; i < count; i++) plan.push(planColumn(matcher, lineages?.[i], fields?.[i], catalogue, writes))
  return plan.every(mask => mask.kind === 'clear') ? 'clear' : plan
}

/** One for each column; undefined where they cannot be told apart. */
function lineagesOf(statement: Statement, count: number | undefined): readonly Lineage[] | undefined {
  const { output } = statement
  switch (output.kind) {
    case 'columns':
    case 'copy-out':
      return count === undefined || count === output.columns.length ? output.columns : undefined
    case 'any-columns':
      return count === undefined ? undefined : Array.from({ length: count }, () => output.lineage)
    case 'server':
      return Array.from({ length: count ?? 1 }, () => fromServer)
    case 'none':
      return count === undefined || count === 0 ? [] : undefined
    case 'prepared':
    case 'cursor':
    case 'unknown':
      return undefined
    default:
      return output satisfies never
  }
}

const fromServer: Lineage = { name: '', sources: [], certain: true, direct: false }

function planColumn(
  matcher: MaskMatcher,
  lineage: Lineage | undefined,
  field: ResultField | undefined,
  catalogue: Catalogue,
  writes: boolean,
): ColumnMask {
  if (matcher.byColumn) {
    if (!lineage) return unsure(matcher, field)
    const { sources, certain, direct } = lineage
    let mask = matcher.maskOfAny(sources)
    let isWhole = !direct
    if (field && field.tableOid !== 0 && field.columnNumber > 0) {
      const origin = originOf(catalogue, field)
      if (!origin) return unsure(matcher, field)
      const originMask = matcher.maskOfAny(kinOf(catalogue, origin))
      if (originMask && (!mask || strength(originMask.with) > strength(mask.with))) mask = originMask
      // The server has the column come from elsewhere than was read in the statement: then that was read wrongly.
      if (!mask && !writes && !sources.includes(origin.ref)) return unsure(matcher, field)
    } else if (field) isWhole = true
    if (mask) return { kind: 'mask', mask: mask.name, with: strategyFor(mask.with, isWhole) }
    if (!certain) return unsure(matcher, field)
  }
  return detecting(matcher, field)
}

/** Part of a computed value may be the whole of what it was computed from, and equal hashes of parts give those away. */
function strategyFor(strategy: MaskStrategy, isComputed: boolean): MaskStrategy {
  return isComputed && (strategy.kind === 'partial' || strategy.kind === 'hash') ? redact : strategy
}

function unsure(matcher: MaskMatcher, field: ResultField | undefined): ColumnMask {
  const mask = matcher.strictest
  return mask ? { kind: 'mask', mask: mask.name, with: strategyFor(mask.with, true) } : detecting(matcher, field)
}

function detecting(matcher: MaskMatcher, field: ResultField | undefined): ColumnMask {
  const [first, ...others] = matcher.detectors
  if (!first || (field && wordless.has(field.typeOid))) return clear
  const strictest = others.reduce((a, b) => (strength(b.with) > strength(a.with) ? b : a), first)
  return {
    kind: 'detect',
    detectors: [...new Set(matcher.detectors.flatMap(mask => mask.detect))],
    mask: strictest.name,
    with: strictest.with,
  }
}

// Types whose values hold no text (src/include/catalog/pg_type.dat): bool, int8, int2, int4, oid, tid, xid, cid, float4,
// float8, date, time, timestamp, timestamptz, interval, timetz, numeric, uuid, pg_lsn, void, and the geometric ones.
const wordless: ReadonlySet<number> = new Set([
  16, 20, 21, 23, 26, 27, 28, 29, 700, 701, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 3220, 2278, 600, 601, 602,
  603, 604, 628, 718,
])

function originOf(catalogue: Catalogue, field: ResultField): Column | undefined {
  return catalogue.relationByOid(field.tableOid)?.columns.find(column => column.number === field.columnNumber)
}

/** The column and the same one of parents and children. */
function kinOf(catalogue: Catalogue, column: Column): string[] {
  const { relation, name, ref } = column
  const kin = [...catalogue.ancestors(relation), ...catalogue.descendants(relation)]
  return [ref, ...kin.flatMap(other => catalogue.column(other, name)?.ref ?? [])]
}

/**
 * Why this statement would put masked values where no mask covers them; undefined where it does not. What a table's own
 * triggers copy is not the statement's doing: the columns they fill count as holding what they copy.
 */
export function launders(statement: Statement, masks: readonly Mask[]): string | undefined {
  const matcher = matcherOf(masks)
  if (!matcher.byColumn) return undefined
  // The worst that the role could do is to copy and to compare whatever there is.
  if (statement.unknown !== null) return `${statement.unknown}, so it may take masked values anywhere`
  for (const { into, place, holds, sources, certain } of statement.carries) {
    const mask = matcher.maskOfAny(sources)
    if (!mask && certain) continue
    if (matcher.maskOfAny(holds)) continue
    return mask
      ? `it would copy what mask "${mask.name}" hides into ${into ?? place}, which no mask covers`
      : `it may copy masked values into ${into ?? place}, which no mask covers`
  }
  return undefined
}
