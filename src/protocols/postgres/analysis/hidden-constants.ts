import type { Mask } from '../../../policy/action.ts'
import type { AnalysedText } from './analysed.ts'

export interface HiddenConstants {
  readonly text: string
  /** Numbers of parameters, from 1. */
  readonly hiddenParameters: ReadonlySet<number> | 'all'
}

const none: ReadonlySet<number> = new Set()

/**
 * The text as approvers and the record may see it. Where a statement touches a table with a masked column, every constant
 * and parameter may stand for a masked value, so all are hidden.
 */
export function hideConstants(analysed: AnalysedText, masks: readonly Mask[]): HiddenConstants {
  if (!masks.some(mask => mask.columns.length > 0 && touches(analysed, mask)))
    return { text: analysed.text, hiddenParameters: none }
  return { text: withoutConstants(analysed.text), hiddenParameters: 'all' }
}

function touches(analysed: AnalysedText, mask: Mask): boolean {
  const tables = mask.columns.map(column => column.split('.').slice(0, -1).at(-1) ?? '*')
  return analysed.statements.some(
    statement =>
      statement.effect === 'unknown' ||
      statement.effects.some(({ relation }) => {
        const name = relation?.slice(relation.indexOf('.') + 1)
        return name === undefined || tables.some(table => table.includes('*') || table === name)
      }),
  )
}

// Strings in all their forms, dollar quotes, numbers; comments and quoted names are stepped over, so that a quote inside
// them opens nothing (PG 16 docs §4.1). Each alternative is linear: none can match what another has begun.
const lexemes =
  /--[^\n]*|\/\*|"(?:[^"]|"")*"|\b[eE]'(?:[^'\\]|\\[\s\S]|'')*(?:'|$)|(?:\b(?:[bBxXnN]|[uU]&))?'(?:[^']|'')*(?:'|$)|\$([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|(?<![\w$])\d[\w.]*/g

function withoutConstants(text: string): string {
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
      shown += `${text.slice(from, match.index)}${lexeme.includes("'") || lexeme.startsWith('$') ? "'…'" : '…'}`
      from = end
      lexemes.lastIndex = end
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
