import type { Mask, MaskUse } from '../../../policy/action.ts'
import type { Statement } from './analysed.ts'
import { matcherOf } from './mask-matcher.ts'
import { launders } from './plan-masks.ts'

/** Why these statements may not run under these masks, whatever the rules say. */
export function refusalUnder(statements: readonly Statement[], masks: readonly Mask[]): string | undefined {
  for (const statement of statements) {
    const message = launders(statement, masks) ?? comparesMasked(statement, masks)
    if (message !== undefined) return message
  }
  return undefined
}

/** Why this statement would learn of masked values by a way that their mask does not leave open; undefined: it would not. */
function comparesMasked(statement: Statement, masks: readonly Mask[]): string | undefined {
  const matcher = matcherOf(masks)
  if (!matcher.byColumn) return undefined
  for (const { use, sources, certain } of statement.compares) {
    for (const ref of sources) {
      const mask = matcher.against(ref, use)
      if (mask) return `mask "${mask.name}" does not let ${ref} be ${words[use]}`
    }
    const mask = certain ? undefined : matcher.againstAny(use)
    if (mask) return `mask "${mask.name}" does not let what it hides be ${words[use]}, and this may be it`
  }
  return undefined
}

const words: Readonly<Record<MaskUse, string>> = {
  equal: 'compared',
  group: 'grouped by',
  range: 'compared by order, pattern or part',
  sort: 'sorted by',
}
