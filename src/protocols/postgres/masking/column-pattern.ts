import type { ColumnRef } from '../analysis/analysed.ts'
import { partsOf } from '../analysis/catalogue.ts'

const matchers = new WeakMap<readonly string[], (column: ColumnRef) => boolean>()

/** `customers.email` is that column of that table in any schema, `*.ssn` one of any table; `*` runs within a part. */
export function columnMatcher(patterns: readonly string[]): (column: ColumnRef) => boolean {
  let matcher = matchers.get(patterns)
  if (matcher === undefined) {
    matcher = makeMatcher(patterns)
    matchers.set(patterns, matcher)
  }
  return matcher
}

function makeMatcher(patterns: readonly string[]): (column: ColumnRef) => boolean {
  const compiled = patterns.map(pattern => partsOf(pattern).map(globOf))
  const known = new Map<ColumnRef, boolean>()
  return column => {
    let matches = known.get(column)
    if (matches === undefined) {
      const parts = partsOf(column)
      matches = compiled.some(globs => fits(globs, parts))
      if (known.size > 10_000) known.clear()
      known.set(column, matches)
    }
    return matches
  }
}

function fits(globs: readonly ((text: string) => boolean)[], parts: readonly string[]): boolean {
  // Compared from the end: what a pattern does not say may be anything.
  const offset = parts.length - globs.length
  return offset >= 0 && globs.every((glob, index) => glob(parts[offset + index] ?? ''))
}

/** Linear for any pattern. Names are compared without regard to case: the server folds what is not quoted. */
function globOf(pattern: string): (text: string) => boolean {
  const [first = '', ...rest] = pattern.toLowerCase().split('*')
  const last = rest.pop()
  if (last === undefined) return text => text.toLowerCase() === first
  return name => {
    const text = name.toLowerCase()
    if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false
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
