import { describeSession, type ListedSession } from '../recording/catalogue.ts'
import type { ReadEnd } from '../recording/read-item.ts'
import { shortHead } from '../recording/verification-text.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import { showDuration } from './duration.ts'
import { write } from './output.ts'
import { paintFor, wantsColour, type Paint } from './paint.ts'
import { recordedLine, statementText } from './recorded-line.ts'
import { recordedStatements } from './recorded-session.ts'
import type { RecordedStatement } from './recorded-statements.ts'
import { keyFor, keyIfAny } from './recorded-key.ts'
import { findRecorded, reportProblem } from './recorded.ts'
import { length, listedJson, when, who } from './sessions-list.ts'
import { flatten } from './ui/escape.ts'
import { padEnd, truncate } from './ui/line.ts'

export async function showSession(name: string, recordings: string | undefined, json: boolean, io: Io): Promise<void> {
  const { folder, name: session } = await findRecorded(name, recordings, io)
  const { key, why, erased } = await keyIfAny(folder, io)
  if (why !== undefined && !erased) await keyFor(folder, io)
  const listed = await describeSession(folder, session, Date.now(), key)
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const screen = !json && io.stdout.isTTY
  const several = (listed.start?.resources.length ?? 0) > 1
  const place = { terminal: screen, width: io.stdout.columns, several }
  const show = async (statement: RecordedStatement, client: string | null) => {
    const text = json
      ? `${JSON.stringify(statementJson(statement, client))}\n`
      : statementText(recordedLine(statement, client), statement.action, place, paint)
    await write(io.stdout, text)
  }

  if (json) await write(io.stdout, `${JSON.stringify(listedJson(listed))}\n`)
  if (screen) await write(io.stdout, `${header(listed, io.stdout.columns, paint).join('\n')}\n\n`)
  // What the manifest says is left.
  if (erased) await keyFor(folder, io)
  for await (const item of recordedStatements(folder, key)) {
    switch (item.kind) {
      case 'problem':
        reportProblem(item.problem, io)
        break
      case 'statement':
        await show(item.statement, item.client)
        break
      case 'end':
        if (screen) await write(io.stdout, footer(listed, item.end, paint))
        break
      default:
        item satisfies never
    }
  }
}

function header(listed: ListedSession, width: number, paint: Paint): string[] {
  const now = new Date()
  const { start, end } = listed
  const row = (label: string, text: string) => `${padEnd(label, 14)}${truncate(flatten(text), width - 14)}`
  const lines = [
    paint.bold(
      row(
        listed.session,
        [
          listed.state,
          ...(start === null ? [] : [when(new Date(start.at), now), showDuration(length(listed, now.getTime()))]),
        ].join(' · '),
      ),
    ),
  ]
  if (start === null) return lines
  const { subject } = start
  const { actor } = subject
  const traits = [
    ...(actor === null ? [] : [actor.proven ? 'actor proven' : 'actor asserted']),
    ...(subject.confined ? ['confined'] : []),
  ]
  lines.push(row('who', [who(listed), ...traits].join(' · ')))
  const why = [subject.ticket, subject.purpose].filter(text => text !== null)
  if (why.length > 0) lines.push(row('why', why.join(': ')))
  for (const { name, kind, scope, address } of start.resources)
    lines.push(row('what', `${name} · ${kind} at ${address} · scope ${scope}`))
  lines.push(
    row('command', start.command.join(' ')),
    row('on', `${start.host} · agentgate ${start.version} · policy ${start.policyDigest.slice(0, 15)}…`),
  )
  if (end !== null)
    lines.push(row('ended', `${end.reason}${end.exitCode === null ? '' : ` · exit code ${end.exitCode}`}`))
  return lines
}

function footer(listed: ListedSession, end: ReadEnd, paint: Paint): string {
  const { statements, denied, asked, masked } = listed.summary
  const counts = [
    counted(statements, 'statement'),
    `${denied} denied`,
    `${asked} asked about`,
    `${masked} with masked values`,
    `${counted(end.events, 'event')}${end.head === null ? '' : `, head ${shortHead(end.head)}`}`,
  ]
  return paint.dim(
    `\n${counts.join(' · ')}\nagentgate sessions replay ${listed.session} · agentgate sessions verify ${listed.session}\n`,
  )
}

/** Documented in docs/commands.md: it only grows. */
export function statementJson(statement: RecordedStatement, client: string | null): object {
  const { sequence, at, action, outcome, resultBytes, cutBytes } = statement
  const { decision, view, connection, resource } = action
  return {
    event: 'statement',
    sequence,
    at: new Date(at).toISOString(),
    resource,
    connection,
    client,
    decision: decision.outcome,
    rule: decision.rule,
    message: decision.message ?? null,
    approval: decision.approval ?? null,
    asked: decision.asked ?? null,
    view,
    status: outcome?.event.status ?? null,
    tag: outcome?.event.tag ?? null,
    rows: outcome?.event.rows ?? null,
    milliseconds: outcome?.event.milliseconds ?? null,
    masked: outcome?.event.masked ?? [],
    endedAt: outcome === null ? null : new Date(outcome.at).toISOString(),
    resultBytes,
    cutBytes,
  }
}
