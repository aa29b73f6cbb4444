import type { BoundParameter, SqlAction, SqlFacts, Statement } from '../analysis/analysed.ts'
import { seenKey, touchesNothing } from '../analysis/ask.ts'
import { changes } from '../analysis/verbs.ts'
import type { Conversation } from './conversation.ts'

/** What rules may ask for and a text does not say. Found out only where a rule asks. */
export function findFacts(action: SqlAction, conversation: Conversation): SqlAction | Promise<SqlAction> {
  const { context } = conversation
  const asksRows = context.asks('estimated-rows')
  if (!asksRows && !context.asks('first-seen')) return action
  const key = seenKey(action)
  const facts = { firstSeen: !touchesNothing(action) && (key === null || !context.shapes.has(key)) }
  if (!asksRows) return new ActionWithFacts(action, facts)
  return estimates(action, conversation).then(estimatedRows => new ActionWithFacts(action, { ...facts, estimatedRows }))
}

/** As if nothing could be found that a rule asks for: what is denied then is denied whatever the values are. */
export function withoutFacts(action: SqlAction, { context }: Conversation): SqlAction {
  if (!context.asks('estimated-rows') && !context.asks('first-seen')) return action
  return new ActionWithFacts(action, {
    firstSeen: false,
    estimatedRows: action.analysed.statements.map(() => 0),
  })
}

/** It may run: from now on its shape has been seen. */
export function noteSeen(action: SqlAction, conversation: Conversation): void {
  const { context } = conversation
  if (!context.asks('first-seen')) return
  const key = seenKey(action)
  if (key !== null) context.shapes.add(key)
}

class ActionWithFacts implements SqlAction {
  readonly kind = 'postgres'
  readonly shape: SqlAction['shape']
  readonly analysed: SqlAction['analysed']
  readonly facts: SqlFacts
  readonly #of: SqlAction

  constructor(action: SqlAction, facts: SqlFacts) {
    this.#of = action
    this.shape = action.shape
    this.analysed = action.analysed
    this.facts = facts
  }

  get parameters(): readonly BoundParameter[] {
    return this.#of.parameters
  }
}

/** What EXPLAIN takes and what has rows of its own to estimate. */
const estimated: ReadonlySet<string> = new Set(['select', 'insert', 'update', 'delete', 'merge', 'declare', 'create'])
/** These give or change rows, and nothing tells how many. */
const unforeseen: ReadonlySet<string> = new Set(['copy', 'execute', 'call', 'do', 'explain', 'truncate', 'refresh'])

async function estimates(action: SqlAction, conversation: Conversation): Promise<readonly (number | null)[]> {
  const rows: (number | null)[] = []
  for (const statement of action.analysed.statements) {
    if (unforeseen.has(statement.verb)) rows.push(null)
    else if (!estimated.has(statement.verb)) rows.push(0)
    else rows.push(mayBePlanned(statement) ? await estimate(statement, action, conversation) : null)
  }
  return rows
}

/**
 * Planning works out functions that are declared immutable or stable, so each function that is called must have been read, and found
 * to do nothing but read.
 */
function mayBePlanned({ unknown, effects }: Statement): boolean {
  return (
    unknown === null &&
    effects.every(
      ({ verb, through }) =>
        !through.some(step => step.startsWith('function ')) || (verb === 'select' && !changes(verb)),
    )
  )
}

const isAscii = (text: string) => Buffer.byteLength(text) === text.length

async function estimate(statement: Statement, action: SqlAction, conversation: Conversation): Promise<number | null> {
  const { target, resolution, parameters: reported } = conversation
  if (statement.verb === 'create' && !/\bas\b/i.test(statement.text)) return 0
  const isUtf8 = resolution.clientEncoding.toUpperCase() === 'UTF8'
  if (
    !isUtf8 &&
    !(
      isAscii(statement.text) &&
      action.parameters.every(({ value }) => value === null || isAscii(value.toString('latin1')))
    )
  )
    return null
  const connection = await target.connection()
  return await connection.estimate(statement.text, action.parameters, {
    ...resolution,
    settings: ['DateStyle', 'IntervalStyle', 'TimeZone'].flatMap(name => {
      const value = reported.get(name)
      return value === undefined ? [] : [[name, value] as const]
    }),
  })
}
