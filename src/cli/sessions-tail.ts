import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import { describeSession, openSessions } from '../recording/catalogue.ts'
import type { CaughtUp, ReadItem } from '../recording/read-item.ts'
import { followRecording } from '../recording/reader.ts'
import { decoded } from '../recording/replay.ts'
import type { Io } from './command.ts'
import { showTime } from './duration.ts'
import { write } from './output.ts'
import { paintFor, wantsColour, type Paint } from './paint.ts'
import { loadProtocols } from './protocols.ts'
import { keyFor } from './recorded-key.ts'
import { RecordedClients } from './recorded-clients.ts'
import { recordedLine, statementText } from './recorded-line.ts'
import { RecordedStatements, type RecordedStatement } from './recorded-statements.ts'
import { findRecorded, recordingsFolder, reportProblem, type Recorded } from './recorded.ts'
import { listedJson } from './sessions-list.ts'
import { replayJson } from './sessions-replay.ts'
import { escapeLine } from './ui/escape.ts'

/** Statements shown of what was before, where nothing else is asked for. */
const defaultLast = 10

export interface TailOptions {
  readonly json: boolean
  /** Statements (with JSON events) shown of what was before. */
  readonly last?: number
}

/** Shows what a session does as it does it, until it ends. */
export async function tailSession(
  name: string | undefined,
  recordings: string | undefined,
  options: TailOptions,
  io: Io,
): Promise<void> {
  const { folder, name: session } =
    name === undefined ? await onlyOpen(recordings, io) : await findRecorded(name, recordings, io)
  const key = await keyFor(folder, io)
  const items = followRecording(folder, new AbortController().signal, key)
  const listed = await describeSession(folder, session, Date.now(), key)
  const lines = options.json ? jsonLines(items, io) : textLines(items, (listed.start?.resources.length ?? 0) > 1, io)
  if (options.json) await write(io.stdout, `${JSON.stringify(listedJson(listed))}\n`)
  const last = options.last ?? (options.json ? Infinity : defaultLast)
  // The last of what was before, until all of that has been read.
  let before: string[] | null = last === Infinity ? null : []
  for await (const line of lines) {
    if (typeof line === 'string') {
      if (before === null) await write(io.stdout, line)
      else if (before.push(line) > last) before.shift()
      continue
    }
    for (const each of before ?? []) await write(io.stdout, each)
    before = null
  }
  for (const each of before ?? []) await write(io.stdout, each)
}

async function onlyOpen(recordings: string | undefined, io: Io): Promise<Recorded> {
  const root = recordingsFolder(recordings, io)
  const [first, ...others] = await openSessions(root, Date.now())
  if (first === undefined)
    throw new AgentgateError('NO_SUCH_SESSION', 'no session is being recorded', { hint: 'agentgate sessions list' })
  if (others.length > 0)
    throw new AgentgateError('NO_SUCH_SESSION', `${others.length + 1} sessions are being recorded`, {
      hint: `one of ${[first, ...others].join(', ')}`,
    })
  return { name: first, folder: path.join(root, first) }
}

async function* jsonLines(
  items: AsyncIterable<ReadItem | CaughtUp>,
  io: Io,
): AsyncGenerator<string | CaughtUp, void, void> {
  const protocols = await loadProtocols()
  for await (const item of decoded(items, kind => protocols.get(kind)?.decoder())) {
    if (item.kind === 'problem') reportProblem(item.problem, io)
    yield item.kind === 'caught-up' ? item : `${JSON.stringify(replayJson(item))}\n`
  }
}

async function* textLines(
  items: AsyncIterable<ReadItem | CaughtUp>,
  several: boolean,
  io: Io,
): AsyncGenerator<string | CaughtUp, void, void> {
  const clients = new RecordedClients()
  const statements = new RecordedStatements()
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const place = { terminal: io.stdout.isTTY, width: io.stdout.columns, several }
  const show = (statement: RecordedStatement, note?: string) => {
    const line = recordedLine(statement, clients.of(statement.action.connection))
    return statementText(note === undefined ? line : { ...line, note }, statement.action, place, paint)
  }
  for await (const item of items) {
    if (item.kind === 'problem') reportProblem(item.problem, io)
    if (item.kind === 'caught-up') yield item
    if (item.kind === 'end') for (const statement of statements.end()) yield show(statement)
    if (item.kind !== 'event') continue
    const { event, at, sequence } = item.placed
    clients.take(item.placed)
    // Who looks on wants to know of what waits while it waits.
    if (event.kind === 'action' && event.decision.outcome === 'held')
      yield show({ sequence, at, action: event, outcome: null, resultBytes: 0, cutBytes: 0 }, 'for approval')
    for (const statement of statements.take(item.placed)) yield show(statement)
    if (event.kind === 'note') yield talk(at, event.text, paint, io)
    if (event.kind === 'session-end') yield talk(at, `session ended: ${event.reason}`, paint, io)
  }
}

/** What is no statement; in a pipe there are only statements, each with the same columns. */
function talk(at: number, text: string, paint: Paint, io: Io): string {
  return io.stdout.isTTY ? `${paint.dim(`${showTime(new Date(at))}  ${escapeLine(text)}`)}\n` : ''
}
