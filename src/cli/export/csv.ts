import { csvRow } from '../csv-row.ts'
import { recordedStatements } from '../recorded-session.ts'
import type { RecordedStatement } from '../recorded-statements.ts'
import type { Exporting } from '../sessions-export.ts'

const columns = [
  'sequence',
  'at',
  'resource',
  'connection',
  'client',
  'decision',
  'rule',
  'message',
  'decidedBy',
  'reason',
  'asked',
  'kind',
  'effect',
  'text',
  'parameters',
  'status',
  'tag',
  'rows',
  'milliseconds',
  'masked',
  'endedAt',
  'resultBytes',
  'cutBytes',
] as const

/** One statement a row (RFC 4180). Documented in docs/sessions.md: columns are only added, at the end. */
export async function* csv({ folder, key, onProblem }: Exporting): AsyncGenerator<string, void, void> {
  yield csvRow(columns)
  for await (const item of recordedStatements(folder, key)) {
    if (item.kind === 'problem') onProblem(item.problem)
    if (item.kind === 'statement') yield csvLine(item.statement, item.client)
  }
}

function csvLine(statement: RecordedStatement, client: string | null): string {
  const { sequence, at, action, outcome, resultBytes, cutBytes } = statement
  const { decision, view, resource, connection } = action
  const event = outcome?.event
  return csvRow([
    sequence,
    new Date(at).toISOString(),
    resource,
    connection,
    client,
    decision.outcome,
    decision.rule?.name,
    decision.message,
    decision.approval?.by,
    decision.approval?.reason,
    decision.asked,
    view.kind,
    view.effect,
    view.text,
    view.parameters === undefined ? null : JSON.stringify(view.parameters),
    event?.status,
    event?.tag,
    event?.rows,
    event?.milliseconds,
    event?.masked.join(', '),
    outcome === null ? null : new Date(outcome.at).toISOString(),
    resultBytes,
    cutBytes,
  ])
}
