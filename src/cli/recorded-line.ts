import { counted } from './counted.ts'
import type { Paint } from './paint.ts'
import type { RecordedAction, RecordedStatement } from './recorded-statements.ts'
import { flatten } from './ui/escape.ts'
import { formatLogLine, tabbedLogLine } from './ui/format-log-line.ts'
import { truncate } from './ui/line.ts'
import type { LogLine, Tone } from './ui/statement-log.ts'

/** A recorded statement as `connect` shows a live one. */
export function recordedLine(statement: RecordedStatement, client: string | null): LogLine {
  const { action, outcome } = statement
  const { decision, view, resource } = action
  const line = (state: string, note: string, tone: Tone, milliseconds: number | null = null): LogLine => ({
    at: new Date(statement.at),
    resource,
    client: () => client,
    text: view.text,
    state,
    milliseconds,
    note,
    tone,
  })
  switch (decision.outcome) {
    case 'denied':
    case 'rejected':
      return line(decision.outcome, decision.rule?.name ?? decision.message ?? '', 'bad')
    case 'timed-out':
      return line('timed out', 'nobody answered', 'bad')
    case 'withdrawn':
      return line('withdrawn', '', 'waiting')
    case 'held':
      return line('waiting', 'no decision is recorded', 'waiting')
    case 'allowed':
    case 'approved':
      break
    default:
      return decision.outcome satisfies never
  }
  const approved = decision.outcome === 'approved' ? [decision.approval?.edited === true ? 'edited' : 'approved'] : []
  if (outcome === null) return line('no end', [...approved, 'no outcome is recorded'].join(', '), 'waiting')
  const { status, rows, milliseconds, masked, tag } = outcome.event
  const note = [...approved, ...(masked.length === 0 ? [] : [`${masked.join(', ')} masked`])]
  if (status === 'ok') {
    const state = rows === null ? 'ok' : counted(rows, 'row')
    return line(state, note.join(', '), approved.length > 0 ? 'good' : 'plain', milliseconds)
  }
  const state = status === 'error' ? 'failed' : status
  return line(state, [tag, ...note].filter(Boolean).join(', '), 'waiting', milliseconds)
}

export interface StatementPlace {
  readonly terminal: boolean
  readonly width: number
  /** The session has several resources, so each line names its own. */
  readonly several: boolean
}

/** A statement as `show` and `tail` have it: with details under it on a terminal, in columns for scripts elsewhere. */
export function statementText(line: LogLine, action: RecordedAction, place: StatementPlace, paint: Paint): string {
  if (!place.terminal) return `${tabbedLogLine(line)}\n`
  const { width, several } = place
  const details = decisionDetails(action).map(
    detail => `${' '.repeat(20)}${paint.dim(truncate(flatten(detail), width - 20))}\n`,
  )
  return `${formatLogLine(line, { width, resources: several }, paint)}\n${details.join('')}`
}

/** What stands under a statement: who let it run or not, why, after how long, what was asked for, with which values. */
export function decisionDetails(action: RecordedAction): string[] {
  const { rule, message, approval, asked, outcome } = action.decision
  const details: string[] = []
  if (approval !== undefined) {
    const how = outcome === 'rejected' ? 'rejected' : approval.edited ? 'edited and approved' : 'approved'
    const after = approval.waitedMs > 0 ? ` after ${seconds(approval.waitedMs)}` : ''
    details.push(`${how} by ${approval.by}${after}${approval.reason === undefined ? '' : `: ${approval.reason}`}`)
  }
  if (asked !== undefined) details.push(`asked for: ${asked}`)
  if (rule !== null) details.push(`rule "${rule.name}" (${rule.place})`)
  if (message !== undefined && approval === undefined) details.push(message)
  const { parameters } = action.view
  if (parameters !== undefined && parameters.length > 0)
    details.push(parameters.map((value, index) => `$${index + 1} = ${value ?? 'NULL'}`).join(', '))
  return details
}

function seconds(milliseconds: number): string {
  return milliseconds < 10_000 ? `${(milliseconds / 1000).toFixed(1)} s` : `${Math.round(milliseconds / 1000)} s`
}
