import fs from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { readState, writePrivateFile } from '../config/private-file.ts'
import { pendingBytes } from './outbox-reader.ts'
import { readCursor } from './cursor.ts'
import { lostSchema, readSettings, writersOf } from './outbox.ts'

const stateSchema = z.object({
  state: z.enum(['ok', 'unreachable', 'refused', 'unresolved']),
  text: z.string(),
  /** Milliseconds since 1970. */
  since: z.number(),
  /** Events that the receiver did not want; they stand in `set-aside-SINK.jsonl`. */
  setAside: z.number(),
})
export type SinkState = z.output<typeof stateSchema>

export function readSinkState(outbox: string, sink: string): SinkState | null {
  return readState(path.join(outbox, `state-${sink}.json`), stateSchema.nullable(), null)
}

export function writeSinkState(outbox: string, sink: string, state: SinkState): void {
  writePrivateFile(path.join(outbox, `state-${sink}.json`), JSON.stringify(state))
}

export interface SinkReport {
  readonly outbox: string
  readonly name: string
  readonly place: string
  readonly state: SinkState['state'] | 'new'
  readonly text: string
  readonly since: number | null
  readonly delivered: number
  readonly waitingBytes: number
  readonly outboxBytes: number
  readonly setAside: number
  /** Events for which the outbox had no room, not yet told to anybody. */
  readonly lost: number
}

/** Every sink of every outbox of this user, as its files tell. */
export function sinkReports(root: string): SinkReport[] {
  const reports: SinkReport[] = []
  for (const name of entries(root)) {
    const outbox = path.join(root, name)
    const settings = readSettings(outbox)
    if (settings === null) continue
    const lost = writersOf(outbox).reduce((sum, writer) => sum + lostOf(path.join(outbox, writer)), 0)
    for (const sink of settings.plan.sinks) {
      const state = readSinkState(outbox, sink.name)
      reports.push({
        outbox,
        name: sink.name,
        place:
          'file' in sink
            ? sink.file
            : 'syslog' in sink
              ? `syslog+tls://${sink.syslog}`
              : 'broker' in sink
                ? sink.broker
                : sink.webhook.replace(/\?.*/, ''),
        state: state?.state ?? 'new',
        text: state?.text ?? '',
        since: state?.since ?? null,
        delivered: readCursor(outbox, sink.name).content.delivered,
        waitingBytes: pendingBytes(outbox, sink.name),
        outboxBytes: settings.plan.outboxBytes,
        setAside: state?.setAside ?? 0,
        lost,
      })
    }
  }
  return reports
}

function lostOf(writer: string): number {
  return readState(path.join(writer, 'lost.json'), lostSchema.nullable(), null)?.count ?? 0
}

function entries(folder: string): string[] {
  try {
    return fs
      .readdirSync(folder)
      .filter(name => /^[0-9a-f]{16}$/.test(name))
      .sort()
  } catch {
    return []
  }
}
