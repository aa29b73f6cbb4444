import { replay, type ReplayItem } from '../recording/replay.ts'
import { describeSession } from '../recording/catalogue.ts'
import type { Io } from './command.ts'
import { write } from './output.ts'
import { paintFor, wantsColour } from './paint.ts'
import { loadProtocols } from './protocols.ts'
import { keyFor } from './recorded-key.ts'
import { findRecorded, reportProblem } from './recorded.ts'
import { listedJson } from './sessions-list.ts'
import { ReplayText } from './ui/replay-text.ts'

export interface ReplayOptions {
  readonly json: boolean
  readonly text?: boolean
  readonly speed?: number
  readonly maxIdle?: number
  readonly rows?: number
}

const screenRows = 20

export async function replaySession(
  name: string,
  recordings: string | undefined,
  options: ReplayOptions,
  io: Io,
): Promise<void> {
  const { folder, name: session } = await findRecorded(name, recordings, io)
  const key = await keyFor(folder, io)
  const protocols = await loadProtocols()
  const items = replay(folder, kind => protocols.get(kind)?.decoder(), key)
  if (options.json) {
    await write(io.stdout, `${JSON.stringify(listedJson(await describeSession(folder, session, Date.now(), key)))}\n`)
    for await (const item of items) {
      if (item.kind === 'problem') reportProblem(item.problem, io)
      await write(io.stdout, `${JSON.stringify(replayJson(item))}\n`)
    }
    return
  }
  const screen = io.stdout.isTTY
  const rows = options.rows ?? (screen ? screenRows : 0)
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const text = new ReplayText({ width: screen ? io.stdout.columns : null, rows: rows === 0 ? null : rows }, paint)
  if (screen && options.text !== true) {
    const { replayOnScreen } = await import('./ui/replay-screen.ts')
    await replayOnScreen(items, text, { speed: options.speed ?? 1, maxIdleMs: options.maxIdle ?? 2000 }, paint, io)
    return
  }
  for await (const item of items) {
    if (item.kind === 'problem') reportProblem(item.problem, io)
    else for (const line of text.lines(item)) await write(io.stdout, `${line}\n`)
  }
}

/** Documented in docs/commands.md: it only grows. */
export function replayJson(item: ReplayItem): object {
  const iso = (at: number | null) => (at === null ? null : new Date(at).toISOString())
  switch (item.kind) {
    case 'event': {
      const { sequence, at, event } = item.placed
      const { kind, ...rest } = event
      const bytes = 'bytes' in rest && Buffer.isBuffer(rest.bytes) ? { bytes: rest.bytes.toString('base64') } : {}
      return { event: kind, sequence, at: iso(at), ...rest, ...bytes }
    }
    case 'result': {
      const { at, connection, action, shown } = item
      return { event: 'result', at: iso(at), connection, action, ...shown }
    }
    case 'opaque':
      return { event: 'result', at: iso(item.at), connection: item.connection, action: item.action, bytes: item.bytes }
    case 'problem':
      return { event: 'problem', ...item.problem, at: iso(item.problem.at) }
    default:
      return item satisfies never
  }
}
