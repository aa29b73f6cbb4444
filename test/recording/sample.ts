import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { connectionId, newSessionId, type PolicyDigest } from '../../src/ids.ts'
import type { RecordedEvent, SessionStart } from '../../src/recording/event.ts'
import type { Problem, ReadEnd } from '../../src/recording/read-item.ts'
import { readRecording } from '../../src/recording/reader.ts'
import type { PlacedEvent } from '../../src/recording/stored-event.ts'
import { openRecorder, type Recorder, type RecorderOptions } from '../../src/recording/recorder.ts'

/** A folder for one test, removed by `using`. */
export function temporaryFolder(): { readonly path: string } & Disposable {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'agentgate-recording-'))
  return {
    path: folder,
    [Symbol.dispose]: () => {
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}

export function sampleStart(session = newSessionId()): SessionStart {
  return {
    kind: 'session-start',
    session,
    subject: {
      principal: { name: 'maria', groups: ['eng'], source: 'os-user' },
      actor: { name: 'claude', proven: false },
      confined: true,
      purpose: 'refunds fail',
      ticket: 'INC-2201',
    },
    resources: [{ name: 'db-prod', kind: 'postgres', scope: 'read', address: 'db.internal:5432' }],
    policyDigest: `sha256:${'41'.repeat(32)}` as PolicyDigest,
    placement: 'local',
    command: ['agentgate', 'exec', '-r', 'db-prod', '--', 'claude'],
    host: 'laptop',
    version: '0.1.0',
  }
}

export const c1 = connectionId(1)

type Action = Extract<RecordedEvent, { kind: 'action' }>

export function sampleAction(text: string, decision: Action['decision'] = { outcome: 'allowed', rule: null }): Action {
  return {
    kind: 'action',
    connection: c1,
    resource: 'db-prod',
    view: {
      kind: 'postgres',
      summary: text.split(' ', 2).join(' '),
      text,
      effect: 'read',
      verbs: ['select'],
      reads: ['public.orders'],
      writes: [],
      attributes: { where: true },
    },
    decision,
  }
}

export function sampleOutcome(action: number, rows = 1): RecordedEvent {
  return {
    kind: 'outcome',
    connection: c1,
    action,
    status: 'ok',
    tag: `SELECT ${rows}`,
    rows,
    milliseconds: 3,
    masked: [],
  }
}

/** One statement with a result, as a tunnel records it. Returns its sequence number. */
export function recordStatement(recorder: Recorder, text: string, result: Buffer): number {
  const action = recorder.append(sampleAction(text))
  recorder.commit()
  void recorder.result({ kind: 'result', connection: c1, action, bytes: result })
  recorder.append(sampleOutcome(action))
  return action
}

export function sampleRecorder(folder: string, options: Partial<RecorderOptions> = {}): Recorder {
  return openRecorder({ folder, start: sampleStart(), onWarning: () => undefined, ...options })
}

export interface Everything {
  readonly events: readonly PlacedEvent[]
  readonly problems: readonly Problem[]
  readonly end: ReadEnd
}

export async function readAll(folder: string): Promise<Everything> {
  const events: PlacedEvent[] = []
  const problems: Problem[] = []
  for await (const item of readRecording(folder)) {
    if (item.kind === 'event') events.push(item.placed)
    if (item.kind === 'problem') problems.push(item.problem)
    if (item.kind === 'end') return { events, problems, end: item.end }
  }
  throw new Error('a recording that does not end')
}
