import type { Mask } from '../../../policy/action.ts'
import type { Statement } from '../analysis/analysed.ts'
import { changes } from '../analysis/verbs.ts'
import type { ErrorFields } from '../wire/backend-messages.ts'
import type { BodyReader } from '../wire/body-reader.ts'
import { frame, int32 } from '../wire/frontend-messages.ts'
import { backend } from '../wire/message-type.ts'
import type { Conversation } from './conversation.ts'
import type { Run } from './run.ts'

const hidden = '[masked by agentgate]'

/**
 * Classes of SQLSTATE whose message the server makes of names and states alone (PG 18 docs Appendix A). Not so 22 (what a
 * cast could not read), 23 (what a constraint refused), 38, 39 and P0 (what a function says) and what is not listed.
 */
const wordyClasses = new Set(['00', '08', '25', '26', '28', '2D', '40', '53', '54', '55', '57'])

/**
 * Classes whose message names something that is not there, or not possible. As the text is read that is the text's own
 * word, and its position is told; a name that a value was taken for (`email::regclass`) has none.
 */
const namingClasses = new Set(['0A', '34', '3D', '3F', '42'])

function isWordy(fields: ErrorFields, sqlstate: string): boolean {
  const kind = sqlstate.slice(0, 2)
  if (namingClasses.has(kind)) return fields.has('P') || sqlstate === '42501' // insufficient_privilege names what there is
  return wordyClasses.has(kind)
}

/** Server-made codes; what RAISE may choose freely could spell out a value. */
const sqlstatePattern = /^(0[0-9A-Z]|2[0-9A-Z]|3[0-9A-Z]|4[0-9A-Z]|5[0-9A-Z]|72|F0|HV|P0|XX)[0-9A-Z]{3}$/

/**
 * Error and notice texts can carry values: a failed cast, a unique violation's detail, RAISE. What may come from a masked
 * column is left out; the same object where nothing has to be.
 */
export function redactFields(conversation: Conversation, fields: ErrorFields, run: Run | null): ErrorFields {
  const masks = run?.masks ?? conversation.context.masks()
  if (masks.length === 0) return fields
  const statements = run?.known.statements
  const touched = statements === undefined || statements.some(statement => touches(statement, masks))
  if (!touched) return fields
  const sqlstate = fields.get('C') ?? 'XX000'
  const severity = fields.get('S') ?? 'ERROR'
  const freeText = statements === undefined || statements.some(runsOthersCode)
  const redacted = new Map([
    ['S', severity],
    ['V', fields.get('V') ?? severity],
    ['C', freeText && !sqlstatePattern.test(sqlstate) ? 'P0001' : sqlstate],
  ])
  const keeps = !freeText && isWordy(fields, sqlstate)
  redacted.set('M', keeps ? (fields.get('M') ?? '') : hidden)
  for (const code of keeps ? ['H', 'P', 's', 't', 'c', 'd', 'n', 'F', 'L', 'R'] : ['P', 'F', 'L', 'R']) {
    const value = fields.get(code)
    if (value !== undefined) redacted.set(code, value)
  }
  if (!keeps) redacted.set('D', 'a mask hides what this message may quote')
  return redacted
}

/** Code that may raise what it likes: functions that are not the server's own, DO, CALL, and whatever could not be read. */
function runsOthersCode(statement: Statement): boolean {
  if (statement.unknown !== null || statement.verb === 'do' || statement.verb === 'call') return true
  return (
    statement.functions.some(name => !name.startsWith('pg_catalog.')) ||
    statement.effects.some(effect => effect.through.length > 0)
  )
}

/** Whether what this does may show or take in a value that a mask hides. */
export function touches(statement: Statement, masks: readonly Mask[]): boolean {
  if (statement.unknown !== null || statement.output.kind === 'unknown') return true
  return masks.some(
    mask =>
      mask.detect.length > 0 ||
      mask.columns.some(pattern =>
        statement.effects.some(effect => {
          if (effect.relation === null) return effect.columns === 'unknown'
          // Keys, constraints and triggers quote whole rows, so a write counts for every column of its table.
          return (
            matchesRelation(pattern, effect.relation) && (changes(effect.verb) || hasColumn(pattern, effect.columns))
          )
        }),
      ),
  )
}

/** `table.column` or `schema.table.column`, `*` within a part. */
function matchesRelation(pattern: string, relation: string): boolean {
  const parts = pattern.split('.').slice(0, -1)
  const names = relation.split('.')
  return parts.every((part, index) => {
    const name = names[names.length - parts.length + index]
    return name === undefined || wildcard(part, name)
  })
}

function hasColumn(pattern: string, columns: readonly string[] | 'all' | 'unknown'): boolean {
  if (columns === 'all' || columns === 'unknown') return true
  const column = pattern.slice(pattern.lastIndexOf('.') + 1)
  return columns.length === 0 || columns.some(name => wildcard(column, name))
}

function wildcard(pattern: string, text: string): boolean {
  const parts = pattern.toLowerCase().split('*')
  const subject = text.toLowerCase()
  const [first = '', ...rest] = parts
  if (rest.length === 0) return subject === first
  if (!subject.startsWith(first)) return false
  let at = first.length
  const last = rest.pop() ?? ''
  for (const part of rest) {
    const found = subject.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return subject.length - at >= last.length && subject.endsWith(last)
}

/** Another session's words: nothing says where they come from. */
export function redactNotification(body: BodyReader): Buffer {
  const processId = body.int32()
  const channel = body.utf8String()
  const payload = body.utf8String()
  return frame(backend.NotificationResponse, int32(processId), channel, payload === '' ? '' : hidden)
}
