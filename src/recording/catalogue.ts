import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import type { SessionId } from '../ids.ts'
import { Account } from './account.ts'
import { readHold } from './hold.ts'
import type { ContentKey } from './encryption/content-key.ts'
import { readErasure } from './encryption/erasure.ts'
import { liveKeyOf } from './encryption/find-key.ts'
import { hasManifest, readManifest, type Manifest } from './manifest.ts'
import { ownerAlive } from './owner.ts'
import { readRecording } from './reader.ts'
import { Counter, type Summary } from './summary.ts'
import { sessionIds } from './session-ids.ts'
import { readSyncState, waitingFiles } from './sync/sync-session.ts'
import { readTombstone, type Tombstone } from './tombstone.ts'

export interface ListedSession {
  readonly session: string
  readonly folder: string
  /** `damaged`: parts of it cannot be read; `verify` says which. */
  readonly state: 'open' | 'unfinished' | 'closed' | 'damaged' | 'deleted'
  /** Not to be deleted. */
  readonly held: boolean
  /** Its content is gone for good; that it is whole can still be proven. */
  readonly erased: boolean
  /** Whether its copy elsewhere has all that is sealed; `elsewhere`: that is the only one by now. null: it has none. */
  readonly sync: 'synced' | 'waiting' | 'elsewhere' | null
  readonly start: Manifest['start']
  readonly end: Manifest['end']
  readonly lastAt: number | null
  readonly events: number
  readonly summary: Summary
}

/** Ids of the sessions that are being recorded at this moment. */
export async function openSessions(recordings: string, now: number): Promise<readonly SessionId[]> {
  const open: SessionId[] = []
  for (const id of await sessionIds(recordings)) {
    const folder = path.join(recordings, id)
    if (ownerAlive(folder, now) && !(await hasManifest(folder))) open.push(id)
  }
  return open
}

/** The session that `text` is the id of, or the only one whose id begins with it. @throws NO_SUCH_SESSION */
export function findSession(ids: readonly SessionId[], text: string): SessionId {
  const wanted = text.toUpperCase().replace(/^S_/, '')
  const found = ids.filter(id => id.slice(2) === wanted)
  if (found.length === 0) found.push(...ids.filter(id => id.slice(2).startsWith(wanted)))
  const [first, second] = found
  if (first === undefined)
    throw new AgentgateError('NO_SUCH_SESSION', `no recorded session "${text}"`, { hint: 'agentgate sessions list' })
  if (second !== undefined)
    throw new AgentgateError('NO_SUCH_SESSION', `${found.length} sessions begin with "${text}"`, {
      hint: `give more of the id: ${found.slice(0, 3).join(', ')}${found.length > 3 ? ', …' : ''}`,
    })
  return first
}

/** What a list shows of a session: from its manifest where it has one, else from what has been recorded so far. */
export async function describeSession(
  folder: string,
  session: string,
  now: number,
  key: ContentKey | null = null,
): Promise<ListedSession> {
  const buried = await readTombstone(folder)
  if (buried.kind === 'read' && !buried.leftovers) return describeBuried(folder, session, buried.tombstone)
  const held = (await readHold(folder)) !== null
  const sync = await syncOf(folder)
  const erased = (await readErasure(folder)).kind === 'read'
  const read = await readManifest(folder)
  if (read.kind === 'read' && read.intact && read.manifest.session === session) {
    const { start, end, lastAt, events, summary, state } = read.manifest
    const closed = state === 'closed' || end !== null
    const shown = closed ? 'closed' : 'unfinished'
    return { session, folder, state: shown, held, erased, sync, start, end, lastAt, events, summary }
  }
  const alive = ownerAlive(folder, now)
  const account = new Account()
  let damaged = read.kind !== 'none'
  for await (const item of readRecording(folder, key ?? liveKeyOf(folder, session))) {
    if (item.kind === 'problem') damaged = true
    if (item.kind === 'event') account.take(item.placed)
  }
  const { start, end, lastAt, events, summary } = account
  const state = damaged ? 'damaged' : alive ? 'open' : 'unfinished'
  return { session, folder, state, held, erased, sync, start, end, lastAt, events, summary }
}

async function syncOf(folder: string): Promise<ListedSession['sync']> {
  const state = await readSyncState(folder)
  if (state === null) return null
  if (state !== 'unreadable' && state.removedAt !== undefined) return 'elsewhere'
  return state === 'unreadable' || (await waitingFiles(folder, state)).length > 0 ? 'waiting' : 'synced'
}

function describeBuried(folder: string, session: string, tombstone: Tombstone): ListedSession {
  const { endedAt, events } = tombstone
  const summary = new Counter().summary
  return {
    session,
    folder,
    state: 'deleted',
    held: false,
    erased: false,
    sync: null,
    start: null,
    end: null,
    lastAt: endedAt,
    events,
    summary,
  }
}
