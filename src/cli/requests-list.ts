import type { RequestRow } from '../control/broker-schema.ts'
import type { Io } from './command.ts'
import { showDuration, showUntil } from './duration.ts'
import { showRows } from './show-rows.ts'
import { escapeLine, flatten } from './ui/escape.ts'

export function listRequested(rows: readonly RequestRow[], all: boolean, json: boolean, io: Io): void {
  if (json) {
    for (const row of rows) io.stdout.write(`${JSON.stringify(row)}\n`)
    return
  }
  if (rows.length === 0) {
    io.stderr.write(`${all ? 'nobody has' : 'you have'} asked for anything: agentgate request\n`)
    return
  }
  const who = (row: RequestRow) => (row.actor === null ? row.principal : `${row.principal} + ${row.actor}`)
  showRows(
    ['REQUEST', ...(all ? ['WHO'] : []), 'WHAT', 'SCOPE', 'FOR', 'ASKED', 'STATE', 'WHY'],
    rows.map(row =>
      [
        row.request,
        ...(all ? [who(row)] : []),
        row.resource,
        row.scope,
        showDuration(row.seconds * 1000),
        io.stdout.isTTY ? showUntil(new Date(row.askedAt), new Date()) : row.askedAt,
        standing(row, io.stdout.isTTY),
        flatten(row.purpose ?? ''),
      ].map(escapeLine),
    ),
    io,
  )
}

function standing(row: RequestRow, isTTY: boolean): string {
  const time = (at: string | null) => (at === null ? '' : isTTY ? showUntil(new Date(at), new Date()) : at)
  const by = row.decidedBy === null ? '' : ` by ${row.decidedBy}`
  const why = row.reason === null ? '' : `: ${flatten(row.reason)}`
  switch (row.state) {
    case 'open':
      return `waits until ${time(row.expiresAt)}`
    case 'approved':
      return `given${by} until ${time(row.until)}${why}`
    case 'over':
      return `over since ${time(row.until)}`
    case 'timed-out':
      return 'nobody answered'
    case 'rejected':
    case 'withdrawn':
    case 'revoked':
      return `${row.state}${by}${why}`
    default:
      return row.state satisfies never
  }
}
