import type { Mask } from '../../../policy/action.ts'
import type { AnalysedText, Constant, Statement } from './analysed.ts'
import { matcherOf } from './mask-matcher.ts'

export interface HiddenConstants {
  readonly text: string
  /** Numbers of parameters, from 1. */
  readonly hiddenParameters: ReadonlySet<number> | 'all'
}

const none: ReadonlySet<number> = new Set()

/**
 * The text as approvers and the record may see it. Where a statement touches a table with a masked column, a constant or
 * parameter is shown only if it is known to meet no masked column; the rest, and comments, may hold a masked value.
 */
export function hideConstants(analysed: AnalysedText, masks: readonly Mask[]): HiddenConstants {
  if (!touchesAny(analysed, masks)) return { text: analysed.text, hiddenParameters: none }
  const { text, constants } = analysed
  if (constants === undefined) return { text: withoutConstants(text, none), hiddenParameters: 'all' }
  const matcher = matcherOf(masks)
  const shown = { constant: new Set<number>(), parameter: new Set<number>() }
  const isHidden = ({ certain, near }: Constant) => !certain || matcher.maskOfAny(near) !== undefined
  for (const constant of constants) shown[constant.kind].add(constant.at)
  // One place may be read more than once, each time in another light.
  for (const constant of constants) if (isHidden(constant)) shown[constant.kind].delete(constant.at)
  const count = Math.max(0, ...analysed.statements.map(({ parameterCount }) => parameterCount))
  const hiddenParameters = new Set(Array.from({ length: count }, (_, index) => index + 1))
  for (const number of shown.parameter) hiddenParameters.delete(number)
  return { text: withoutConstants(text, lexemePlaces(text, shown.constant)), hiddenParameters }
}

/** From bytes to characters. The parser has a sign before a number, and what stands between, begin the number. */
function lexemePlaces(text: string, bytes: ReadonlySet<number>): ReadonlySet<number> {
  if (bytes.size === 0) return none
  const places = new Set<number>()
  const sorted = [...bytes].sort((a, b) => a - b)
  let atByte = 0
  let at = 0
  for (const byte of sorted) {
    for (; atByte < byte && at < text.length; at++) {
      const code = text.codePointAt(at) ?? 0
      atByte += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
      if (code >= 0x10000) at++
    }
    let place = at
    while (/[-\s(]/.test(text[place] ?? '')) place++
    if (atByte === byte) places.add(place)
  }
  return places
}

/** By shape: whether any text of it touches a table of these masks. */
const touching = new WeakMap<object, { readonly masks: readonly Mask[]; readonly touches: boolean }>()

function touchesAny(analysed: AnalysedText, masks: readonly Mask[]): boolean {
  let known = touching.get(analysed.shape)
  if (known?.masks !== masks) {
    known = { masks, touches: masks.some(mask => mask.columns.length > 0 && touches(analysed, mask)) }
    touching.set(analysed.shape, known)
  }
  return known.touches
}

function touches(analysed: AnalysedText, mask: Mask): boolean {
  // What cannot be parsed may still quote a value.
  if (analysed.statements.length === 0 && analysed.refusal !== null) return true
  const tables = mask.columns.map(column => column.split('.').slice(0, -1).at(-1) ?? '*')
  return analysed.statements.some(statement => touchesOneOf(statement, tables))
}

function touchesOneOf(statement: Statement, tables: readonly string[]): boolean {
  return (
    statement.effect === 'unknown' ||
    statement.effects.some(({ relation }) => {
      const name = relation?.slice(relation.indexOf('.') + 1)
      return name === undefined || tables.some(table => table.includes('*') || table === name)
    }) ||
    // what PREPARE and DECLARE only hold
    statement.changes.some(change => 'statement' in change && touchesOneOf(change.statement, tables))
  )
}

// Strings in all their forms, dollar quotes, numbers; comments and quoted names are stepped over, so that a quote inside
// them opens nothing (PG 16 docs §4.1). Each alternative is linear: none can match what another has begun.
const lexemes =
  /--[^\n]*|\/\*|"(?:[^"]|"")*"|\b[eE]'(?:[^'\\]|\\[\s\S]|'')*(?:'|$)|(?:\b(?:[bBxXnN]|[uU]&))?'(?:[^']|'')*(?:'|$)|\$([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|(?<![\w$])\d[\w.]*/g

function withoutConstants(text: string, shownAt: ReadonlySet<number>): string {
  let shown = ''
  let from = 0
  lexemes.lastIndex = 0
  for (let match = lexemes.exec(text); match !== null; match = lexemes.exec(text)) {
    const [lexeme] = match
    if (lexeme.startsWith('--') || lexeme === '/*') {
      // A comment may hold anything.
      const end = lexeme === '/*' ? commentEnd(text, match.index) : match.index + lexeme.length
      shown += text.slice(from, match.index)
      from = end
      lexemes.lastIndex = end
    } else if (lexeme.startsWith('"')) continue
    else {
      const end = lexeme.startsWith('$') ? dollarEnd(text, match.index, lexeme) : match.index + lexeme.length
      lexemes.lastIndex = end
      if (shownAt.has(match.index)) continue
      shown += `${text.slice(from, match.index)}${lexeme.includes("'") || lexeme.startsWith('$') ? "'…'" : '…'}`
      from = end
    }
  }
  return shown + text.slice(from)
}

function commentEnd(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; at++) {
    if (text.startsWith('/*', at)) depth += 1
    else if (text.startsWith('*/', at)) depth -= 1
    else continue
    at += 1
    if (depth === 0) return at + 1
  }
  return text.length
}

function dollarEnd(text: string, start: number, tag: string): number {
  const end = text.indexOf(tag, start + tag.length)
  return end < 0 ? text.length : end + tag.length
}
