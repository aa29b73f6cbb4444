import { createHash, hash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { z } from 'zod'
import { keptPlaceSchema, type LocalCopies, type SyncPlace } from '../../policy/sync-place.ts'
import { sessionIds } from '../session-ids.ts'
import { wrappedKeyName } from '../encryption/content-key.ts'
import { erasureName, readErasure } from '../encryption/erasure.ts'
import { fileName, parseFileName } from '../format.ts'
import { manifestName, type Manifest } from '../manifest.ts'
import { ownerName } from '../owner.ts'
import { readSmallState, writeSmallState } from '../small-state.ts'
import { receiptsName } from '../witness/receipts-file.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

const stateName = 'sync.json'
/** In place of a digest: the place has confirmed that it has it no more. */
const gone = 'gone'

/** What a session's folder remembers of its copy elsewhere. */
export interface SyncState {
  readonly place: SyncPlace
  /** SHA-256 by file: the place has said that it has exactly this. */
  readonly verified: Readonly<Record<string, string>>
  /** How long, and how much, may stay here once it is there. */
  readonly local?: LocalCopies | undefined
  /** Why something could not be uploaded, when that was tried last. */
  readonly failed?: { readonly at: number; readonly why: string } | undefined
  /** Since when its parts are only there. */
  readonly removedAt?: number | undefined
}

const stateSchema = z.object({
  place: keptPlaceSchema,
  verified: z.record(z.string(), z.string()),
  local: z.object({ keepForSeconds: z.number().nullable(), keepAtMostBytes: z.number().nullable() }).optional(),
  failed: z.object({ at: z.number(), why: z.string() }).optional(),
  removedAt: z.number().optional(),
})

/** null: it is not synced. `unreadable` is not taken for that. */
export async function readSyncState(folder: string): Promise<SyncState | 'unreadable' | null> {
  return await readSmallState(path.join(folder, stateName), stateSchema)
}

export async function writeSyncState(folder: string, state: SyncState): Promise<void> {
  await writeSmallState(path.join(folder, stateName), state)
}

/** Files that have not been verified to be there, in order: the manifest last. */
export async function waitingFiles(folder: string, state: SyncState): Promise<readonly string[]> {
  const names = await fs.readdir(folder)
  const segments = names.filter(name => parseFileName(name)?.kind === 'segment').sort()
  const ended = names.includes(manifestName)
  const erased = names.includes(erasureName)
  const key = erased || !names.includes(wrappedKeyName) ? [] : [wrappedKeyName]
  // What a crash left and nobody here can seal, as its key is gone from this machine: it grows no more.
  const left = ended || names.includes(ownerName) || !(erased || key.length > 0) ? [] : names.filter(isUnsealed)
  const waiting = [
    ...key,
    ...(erased ? [erasureName] : []),
    ...segments,
    ...left,
    ...(ended ? [manifestName] : []),
  ].filter(name => state.verified[name] === undefined)
  // To be removed there, after the word that it was.
  if (erased && state.verified[wrappedKeyName] !== gone) waiting.push(wrappedKeyName)
  // Unlike all else it grows, until shortly after the end.
  if (!ended || !names.includes(receiptsName)) return waiting
  const now = hash('sha256', await fs.readFile(path.join(folder, receiptsName)))
  return state.verified[receiptsName] === now ? waiting : [...waiting, receiptsName]
}

function isUnsealed(name: string, _: number, names: readonly string[]): boolean {
  const file = parseFileName(name)
  return file?.kind === 'journal' && !names.includes(fileName('segment', file.number))
}

/** What a file is called there. */
export function storedName(name: string, sha256: string): string {
  // By its content, as a later one may have more: both are then there.
  return name === receiptsName ? `receipts-${sha256.slice(0, 16)}.jsonl` : name
}

/** For who looks later: why it is not there. */
export async function noteFailure(folder: string, why: string): Promise<void> {
  const state = await readSyncState(folder)
  if (state === null || state === 'unreadable') return
  await writeSyncState(folder, { ...state, failed: { at: Date.now(), why } })
}

/** How many sessions have something sealed that is not yet where it should be, and why, as far as that was tried last. */
export async function sessionsWaiting(
  recordings: string,
): Promise<{ readonly count: number; readonly why: string | null }> {
  let count = 0
  let last: SyncState['failed']
  for (const session of await sessionIds(recordings)) {
    const folder = path.join(recordings, session)
    const state = await readSyncState(folder)
    if (state === null) continue
    if (state !== 'unreadable' && (await waitingFiles(folder, state)).length === 0) continue
    count += 1
    if (state !== 'unreadable' && (state.failed?.at ?? 0) > (last?.at ?? 0)) last = state.failed
  }
  return { count, why: last?.why ?? null }
}

/** Whether everything that a manifest lists, and itself, is where it should be, as was verified when it was uploaded. */
export async function isSynced(folder: string, manifest: Manifest): Promise<boolean> {
  const state = await readSyncState(folder)
  if (state === null) return true
  if (state === 'unreadable') return false
  const own = hash('sha256', await fs.readFile(path.join(folder, manifestName)))
  return (
    state.verified[manifestName] === own &&
    manifest.segments.every(({ number, sha256 }) => state.verified[fileName('segment', number)] === sha256)
  )
}

/**
 * Uploads what is sealed and not yet there, one file after another, and remembers each once the place has confirmed its
 * hash. Stopping anywhere and doing it again, also by two at once, comes to the same end. Returns how many it uploaded.
 * @throws SyncFailed
 */
export async function syncSession(
  folder: string,
  target: SyncTarget,
  signal: AbortSignal,
  onUploaded: (bytes: number) => void = () => undefined,
): Promise<number> {
  const session = path.basename(folder)
  let count = 0
  for (;;) {
    const state = await readSyncState(folder)
    if (state === null) return count
    if (state === 'unreadable') throw new SyncFailed('refused', `${stateName} in ${folder} cannot be read`)
    const [name] = await waitingFiles(folder, state)
    if (name === undefined) return count
    if (name === wrappedKeyName && (await readErasure(folder)).kind !== 'none') {
      await target.remove(`${session}/${name}`, signal)
      await writeSyncState(folder, { ...state, verified: { ...state.verified, [name]: gone } })
      count += 1
      continue
    }
    const bytes = await fs.readFile(path.join(folder, name))
    const sha256 = await digestOf(bytes)
    const key = `${session}/${storedName(name, sha256)}`
    await target.put(key, bytes, sha256, signal)
    const there = await target.sha256Of(key, signal)
    if (there === null) throw new SyncFailed('unreachable', `${target.name} took ${key}, but does not have it`)
    if (there !== sha256)
      throw new SyncFailed('conflict', `${target.name} has another ${key}, which is not written over`)
    await writeSyncState(folder, { ...state, verified: { ...state.verified, [name]: sha256 }, failed: undefined })
    count += 1
    onUploaded(bytes.length)
  }
}

/** In pieces, as the same thread serves clients: 1 MiB takes about a millisecond. */
async function digestOf(bytes: Buffer): Promise<string> {
  const pieceBytes = 1024 * 1024
  const digest = createHash('sha256')
  for (let from = 0; from < bytes.length; from += pieceBytes) {
    digest.update(bytes.subarray(from, from + pieceBytes))
    await nextTurn()
  }
  return digest.digest('hex')
}
