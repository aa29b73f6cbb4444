import type { SqlAction } from '../analysis/analysed.ts'
import { refusalError, type Refusal } from './refusal.ts'
import type { Run } from './run.ts'

/** Counts one message of rows or of a copy; false: it is more than may be given. */
export function countsWithin(run: Run, isRow: boolean, bytes: number): boolean {
  const { limit } = run
  if (limit === null) return true
  run.givenBytes += bytes
  // a copy's lines come one a message
  run.givenRows += 1
  if (isRow) run.rows += 1
  return (limit.rows === null || run.givenRows <= limit.rows) && (limit.bytes === null || run.givenBytes <= limit.bytes)
}

/** What the client gets in place of the end of a result that is too long. */
export function tooLong({ limit }: Run): Buffer {
  const parts = [
    ...(limit?.rows === null || limit === null ? [] : [`${limit.rows} rows`]),
    ...(limit?.bytes === null || limit === null ? [] : [`${limit.bytes} bytes`]),
  ]
  return refusalError({
    sqlstate: '54000', // program_limit_exceeded
    message: `refused by agentgate: the result is longer than ${parts.join(' or ')}`,
    detail: limit === null ? undefined : `rule "${limit.rule.name}" (${limit.rule.place})`,
    hint: 'ask for less: a WHERE, a LIMIT, or fewer columns',
  })
}

/**
 * Why a query string cannot run with a limit: it may have run to its end before it can be cancelled, and what else it does must
 * not stand then. Within a transaction, or by the extended protocol, it is rolled back.
 */
export function unlimitable(action: SqlAction, inTransaction: boolean): Refusal | undefined {
  const { statements } = action.analysed
  if (statements.length > 1)
    return {
      sqlstate: '42501',
      message: 'refused by agentgate: results are limited here, so each statement has to be sent by itself',
      hint: 'send them one by one',
    }
  const gives = statements.some(({ output }) => output.kind !== 'none' && output.kind !== 'server')
  if (gives && !inTransaction && statements.some(({ effect }) => effect !== 'read'))
    return {
      sqlstate: '42501',
      message:
        'refused by agentgate: results are limited here, and this changes something that could not be taken back',
      hint: 'run it between BEGIN and COMMIT',
    }
  return undefined
}
