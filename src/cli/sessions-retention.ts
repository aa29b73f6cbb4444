import os from 'node:os'
import { placeHold, releaseHold } from '../recording/hold.ts'
import { isSynced } from '../recording/sync/sync-session.ts'
import { prunable, prune, type Prunable, type PruneOptions } from '../recording/retention.ts'
import type { Io } from './command.ts'
import { write } from './output.ts'
import { findRecorded, recordingsFolder } from './recorded.ts'
import { escapeLine } from './ui/escape.ts'

export async function holdSession(
  name: string,
  flags: { readonly reason?: string; readonly recordings?: string },
  json: boolean,
  io: Io,
): Promise<void> {
  const { folder, name: session } = await findRecorded(name, flags.recordings, io)
  const hold = { at: Date.now(), by: os.userInfo().username, reason: flags.reason ?? null }
  await placeHold(folder, hold)
  say(session, 'held', 'until: agentgate sessions release', json, io)
}

export async function releaseSession(
  name: string,
  recordings: string | undefined,
  json: boolean,
  io: Io,
): Promise<void> {
  const { folder, name: session } = await findRecorded(name, recordings, io)
  await releaseHold(folder)
  say(session, 'released', 'its retention counts again', json, io)
}

export async function pruneSessions(
  flags: { readonly dryRun?: boolean; readonly recordings?: string },
  json: boolean,
  io: Io,
): Promise<void> {
  const recordings = recordingsFolder(flags.recordings, io)
  const options: PruneOptions = {
    now: Date.now(),
    by: os.userInfo().username,
    isSynced,
  }
  for await (const found of prunable(recordings, options)) {
    const done = flags.dryRun === true ? found : await prune(recordings, found, options)
    if (done.kind === 'damaged') io.exitCode = 7
    const [state, text] = words(done, flags.dryRun === true)
    await write(io.stdout, line(done.session, state, text, json, io))
  }
}

function words(done: Prunable, dryRun: boolean): readonly [state: string, text: string] {
  switch (done.kind) {
    case 'due':
      return [dryRun ? 'would be deleted' : 'deleted', `was to be kept until ${new Date(done.since).toISOString()}`]
    case 'leftovers':
      return [dryRun ? 'would be deleted' : 'deleted', 'what an interrupted deletion had left']
    case 'held':
      return ['kept', 'held']
    case 'not-synced':
      return ['kept', 'not in the bucket yet']
    case 'damaged':
      return ['kept', 'its manifest cannot be believed: agentgate sessions verify says why']
    default:
      return done satisfies never
  }
}

function say(session: string, state: string, text: string, json: boolean, io: Io): void {
  io.stdout.write(line(session, state, text, json, io))
}

/** Documented in docs/sessions.md: it only grows. */
function line(session: string, state: string, text: string, json: boolean, io: Io): string {
  if (json) return `${JSON.stringify({ event: 'retention', session, state, text })}\n`
  return `${escapeLine(session)}${io.stdout.isTTY ? '  ' : '\t'}${state}${io.stdout.isTTY ? '  ' : '\t'}${text}\n`
}
