import fs from 'node:fs/promises'
import path from 'node:path'
import type { Environment } from '../../config/paths.ts'
import { parseFileName } from '../format.ts'
import { readHold } from '../hold.ts'
import { manifestName, readManifest } from '../manifest.ts'
import { ownerAlive } from '../owner.ts'
import { isHeldByPerson, personHolds } from '../person-hold.ts'
import { sessionIds } from '../session-ids.ts'
import { readTombstone } from '../tombstone.ts'
import { failureText } from './failure-text.ts'
import { openTarget } from './place.ts'
import { isSynced, readSyncState, storedName, writeSyncState, type SyncState } from './sync-session.ts'
import type { SyncTarget } from './target.ts'

export interface LocalCopyRemoved {
  readonly session: string
  readonly place: string
  /** `kept`: it was due, and its copy elsewhere is not as it was uploaded, or cannot be asked. */
  readonly state: 'removed' | 'kept'
  readonly bytes: number
  readonly error: string | null
}

interface Candidate {
  readonly session: string
  readonly folder: string
  readonly state: SyncState
  readonly lastAt: number
  readonly bytes: number
}

/**
 * Removes the parts of sessions whose time or room here is over, as the policy said when they were recorded, and whose
 * copies are elsewhere: their hashes are asked for once more right before. What tells of a session (its manifest, its
 * receipts, its keys) stays. What is open, held or not wholly uploaded is never touched.
 */
export async function* removeLocalCopies(
  recordings: string,
  env: Environment,
  now: number,
  dryRun = false,
): AsyncGenerator<LocalCopyRemoved, void, void> {
  const found = await candidates(recordings, now)
  const targets = new Map<string, SyncTarget>()
  for (const candidate of due(found, now)) {
    const { session, folder, state, bytes } = candidate
    const { place } = state
    const about = { session, place: place.to, bytes }
    try {
      const key = JSON.stringify(place)
      const target = targets.get(key) ?? (await openTarget(place, env))
      targets.set(key, target)
      const lost = await firstLost(candidate, target)
      if (lost !== null) {
        yield { ...about, state: 'kept', error: `${target.name} does not have ${lost} as it was uploaded` }
        continue
      }
      if (!dryRun) {
        // First said, then done: a crash in between is ended by the next one.
        await writeSyncState(folder, { ...state, removedAt: now })
        await removeSegments(folder)
      }
      yield { ...about, state: 'removed', error: null }
    } catch (error) {
      yield { ...about, state: 'kept', error: failureText(error) }
    }
  }
}

/** Whether what was recorded is not here any more, but where it was uploaded. */
export async function isElsewhere(folder: string): Promise<SyncState | null> {
  const state = await readSyncState(folder)
  return state !== null && state !== 'unreadable' && state.removedAt !== undefined ? state : null
}

async function candidates(recordings: string, now: number): Promise<readonly Candidate[]> {
  const found: Candidate[] = []
  for (const session of await sessionIds(recordings)) {
    const folder = path.join(recordings, session)
    const state = await readSyncState(folder)
    if (state === null || state === 'unreadable' || (await readTombstone(folder)).kind === 'read') continue
    const read = await readManifest(folder)
    if (read.kind !== 'read' || !read.intact || read.manifest.session !== session || ownerAlive(folder, now)) continue
    const { manifest } = read
    if ((await readHold(folder)) !== null || isHeldByPerson(await personHolds(recordings), manifest.start)) continue
    if (!(await isSynced(folder, manifest))) continue
    found.push({ session, folder, state, lastAt: manifest.lastAt, bytes: await bytesOf(folder) })
  }
  return found.sort((a, b) => a.lastAt - b.lastAt)
}

/** Oldest first; how much may stay is what the policy said last. */
function due(found: readonly Candidate[], now: number): readonly Candidate[] {
  const most = found.at(-1)?.state.local?.keepAtMostBytes ?? null
  let left = found.reduce((sum, { bytes }) => sum + bytes, 0)
  return found.filter(({ state, lastAt, bytes }) => {
    if (bytes === 0) return false
    const keepFor = state.local?.keepForSeconds ?? null
    const isOld = keepFor !== null && lastAt + keepFor * 1000 <= now
    const isTooMuch = most !== null && left > most
    if (!isOld && !isTooMuch && state.removedAt === undefined) return false
    left -= bytes
    return true
  })
}

async function firstLost({ session, state }: Candidate, target: SyncTarget): Promise<string | null> {
  const signal = new AbortController().signal
  for (const [name, sha256] of Object.entries(state.verified)) {
    if (name !== manifestName && parseFileName(name)?.kind !== 'segment') continue
    const key = `${session}/${storedName(name, sha256)}`
    if ((await target.sha256Of(key, signal)) !== sha256) return key
  }
  return null
}

async function removeSegments(folder: string): Promise<void> {
  for (const name of await segmentsOf(folder)) await fs.rm(path.join(folder, name), { force: true })
}

async function bytesOf(folder: string): Promise<number> {
  let bytes = 0
  for (const name of await segmentsOf(folder)) bytes += (await fs.stat(path.join(folder, name))).size
  return bytes
}

async function segmentsOf(folder: string): Promise<readonly string[]> {
  return (await fs.readdir(folder)).filter(name => parseFileName(name)?.kind === 'segment')
}
