import { defaultMaskUses } from '../../../policy/action.ts'
import type { Mask, MaskStrategy, MaskUse } from '../../../policy/action.ts'
import type { ColumnRef } from './analysed.ts'
import { partsOf } from './catalogue.ts'
import { isSample } from './context.ts'

/** The masks of one policy by what they cover, and what was found for a column before. */
export class MaskMatcher {
  /** Some mask goes by column, so what is not certain has to be hidden. */
  readonly byColumn: boolean
  /** What to do with a value that may be any column's. */
  readonly strictest: Mask | undefined
  /** Masks that go by detector, wherever a value comes from. */
  readonly detectors: readonly Mask[]
  readonly #patterns: readonly { readonly mask: Mask; readonly parts: readonly ((name: string) => boolean)[] }[]
  readonly #found = new Map<ColumnRef, Mask | null>()
  readonly #uses = new Map<string, Mask | null>()

  constructor(masks: readonly Mask[]) {
    const columnMasks = masks.filter(mask => mask.columns.length > 0)
    this.detectors = masks.filter(mask => mask.detect.length > 0)
    this.#patterns = columnMasks
      .toSorted((a, b) => strength(b.with) - strength(a.with))
      .flatMap(mask => mask.columns.map(pattern => ({ mask, parts: partsOf(pattern).map(globOf) })))
    this.byColumn = columnMasks.length > 0
    this.strictest = this.#patterns[0]?.mask
  }

  /** The strictest mask on this column; also for columns that hold samples of any other. */
  maskOf(ref: ColumnRef): Mask | undefined {
    let found = this.#found.get(ref)
    if (found === undefined) {
      found = this.#find(ref) ?? (this.byColumn && isSample(ref) ? (this.strictest ?? null) : null)
      if (this.#found.size > 50_000) this.#found.clear()
      this.#found.set(ref, found)
    }
    return found ?? undefined
  }

  /** The strictest mask on any of these. */
  maskOfAny(refs: readonly ColumnRef[]): Mask | undefined {
    let strictest: Mask | undefined
    for (const ref of refs) {
      const mask = this.maskOf(ref)
      if (mask && (!strictest || strength(mask.with) > strength(strictest.with))) strictest = mask
    }
    return strictest
  }

  /** The mask that does not let this column be used so; each that covers it has to. */
  against(ref: ColumnRef, use: MaskUse): Mask | undefined {
    const key = `${use} ${ref}`
    let found = this.#uses.get(key)
    if (found === undefined) {
      const allOf = this.byColumn && isSample(ref)
      found = null
      for (const { mask, parts } of this.#patterns)
        if (!(mask.compare ?? defaultMaskUses).includes(use) && (allOf || covers(parts, ref))) found ??= mask
      if (this.#uses.size > 50_000) this.#uses.clear()
      this.#uses.set(key, found)
    }
    return found ?? undefined
  }

  /** The same for what may be any column. */
  againstAny(use: MaskUse): Mask | undefined {
    return this.#patterns.find(({ mask }) => !(mask.compare ?? defaultMaskUses).includes(use))?.mask
  }

  #find(ref: ColumnRef): Mask | undefined {
    return this.#patterns.find(({ parts }) => covers(parts, ref))?.mask
  }
}

/** `column`, `table.column` and `schema.table.column`: from the right. */
function covers(parts: readonly ((name: string) => boolean)[], ref: ColumnRef): boolean {
  const names = partsOf(ref)
  const given = parts.slice(-names.length)
  const offset = names.length - given.length
  return given.every((matches, i) => matches(names[offset + i] ?? ''))
}

const matchers = new WeakMap<readonly Mask[], MaskMatcher>()

/** One matcher for one array of masks, which policy keeps as it is until something changes. */
export function matcherOf(masks: readonly Mask[]): MaskMatcher {
  let matcher = matchers.get(masks)
  if (!matcher) matchers.set(masks, (matcher = new MaskMatcher(masks)))
  return matcher
}

const strengths: Readonly<Record<MaskStrategy['kind'], number>> = {
  redact: 5,
  null: 4,
  constant: 3,
  hash: 2,
  partial: 1,
}

export function strength(strategy: MaskStrategy): number {
  return strengths[strategy.kind]
}

/** `*` within a part; letters' case does not matter, as a name too many is better than one too few. */
function globOf(pattern: string): (name: string) => boolean {
  const [first = '', ...rest] = pattern.toLowerCase().split('*')
  const last = rest.pop()
  if (last === undefined) return name => name.toLowerCase() === first
  return name => {
    const text = name.toLowerCase()
    if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last)) return false
    let at = first.length
    const end = text.length - last.length
    for (const part of rest) {
      const found = text.indexOf(part, at)
      if (found < 0 || found + part.length > end) return false
      at = found + part.length
    }
    return true
  }
}
