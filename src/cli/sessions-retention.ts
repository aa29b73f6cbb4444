import os from 'node:os'
import type { AuditEvent } from '../audit/audit-event.ts'
import { AgentgateError, errorCodes } from '../errors.ts'
import { placeHold, releaseHold } from '../recording/hold.ts'
import { holdPerson, releasePerson } from '../recording/person-hold.ts'
import { removeLocalCopies } from '../recording/sync/local-copies.ts'
import { isSynced } from '../recording/sync/sync-session.ts'
import { prunable, prune, type Prunable, type PruneOptions } from '../recording/retention.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { write } from './output.ts'
import { findRecorded, recordingsFolder } from './recorded.ts'
import { tellOfRecordings } from './tell-audit.ts'
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

/** All that this person, or an agent of this name, recorded here and will. */
export async function holdWho(
  who: string,
  flags: { readonly reason?: string; readonly recordings?: string },
  json: boolean,
  io: Io,
): Promise<void> {
  const hold = { who, at: Date.now(), by: os.userInfo().username, reason: flags.reason ?? null }
  if (!(await holdPerson(recordingsFolder(flags.recordings, io), hold))) throw unreadableHolds()
  say(who, 'held', 'all of theirs, also to come, until: agentgate sessions release --who', json, io)
}

export async function releaseWho(who: string, recordings: string | undefined, json: boolean, io: Io): Promise<void> {
  if (!(await releasePerson(recordingsFolder(recordings, io), who)))
    throw new AgentgateError('USAGE', `${who} is not held`, { hint: 'agentgate sessions prune --dry-run' })
  say(who, 'released', 'their retention counts again', json, io)
}

function unreadableHolds(): AgentgateError {
  return new AgentgateError('STATE_UNSAFE', 'held-persons.json in the recordings folder cannot be read', {
    hint: 'nothing is deleted while it is so: look at it, or move it away',
  })
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
  globals: Globals,
  io: Io,
): Promise<void> {
  const recordings = recordingsFolder(flags.recordings, io)
  const options: PruneOptions = {
    now: Date.now(),
    by: os.userInfo().username,
    isSynced,
  }
  const { json } = globals
  const gone: AuditEvent[] = []
  for await (const found of prunable(recordings, options)) {
    const done = flags.dryRun === true ? found : await prune(recordings, found, options)
    if (done.kind === 'damaged') io.exitCode = 7
    if (done.kind === 'due' && flags.dryRun !== true)
      gone.push({ kind: 'erasure', session: done.session, what: 'recording', by: options.by, reason: 'retention' })
    const [state, text] = words(done, flags.dryRun === true)
    await write(io.stdout, line(done.session, state, text, json, io))
  }
  await tellOfRecordings(gone, globals, io)
  await removeHere(recordings, flags.dryRun === true, options.now, json, io)
}

/** What is elsewhere, too, and need not stay here. */
async function removeHere(recordings: string, dryRun: boolean, now: number, json: boolean, io: Io): Promise<void> {
  for await (const { session, place, state, error } of removeLocalCopies(recordings, io.env, now, dryRun)) {
    if (state === 'kept') {
      io.exitCode = errorCodes.TARGET_UNREACHABLE
      await write(io.stdout, line(session, 'kept here', error ?? '', json, io))
    } else
      await write(
        io.stdout,
        line(session, dryRun ? 'would be removed here' : 'removed here', `is in ${place}`, json, io),
      )
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
