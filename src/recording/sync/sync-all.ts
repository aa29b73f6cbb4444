import fs from 'node:fs/promises'
import path from 'node:path'
import type { Environment } from '../../config/paths.ts'
import { sessionIds } from '../session-ids.ts'
import { readManifest } from '../manifest.ts'
import { readTombstone } from '../tombstone.ts'
import { failureText } from './failure-text.ts'
import { openTarget } from './place.ts'
import { noteFailure, readSyncState, syncSession, waitingFiles } from './sync-session.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

export interface SyncResult {
  readonly session: string
  readonly place: string
  /** `part`: all that is sealed is there, and the session has not ended. */
  readonly state: 'synced' | 'part' | 'failed'
  readonly uploaded: number
  /** Files that still have to be uploaded. */
  readonly waiting: number
  readonly error: string | null
}

export interface SyncProgress {
  readonly session: string
  /** Bytes uploaded by now, of those that waited at the beginning. */
  readonly done: number
  readonly total: number
}

/** Uploads whatever sessions of this folder still have to, one after another; a place that fails is not asked again. */
export async function* syncAll(
  recordings: string,
  env: Environment,
  onProgress?: (progress: SyncProgress) => void,
): AsyncGenerator<SyncResult, void, void> {
  const total = onProgress === undefined ? 0 : await waitingBytes(recordings)
  let done = 0
  const targets = new Map<string, SyncTarget>()
  const failed = new Map<string, string>()
  for (const session of await sessionIds(recordings)) {
    const folder = path.join(recordings, session)
    const state = await readSyncState(folder)
    if (state === null || (await readTombstone(folder)).kind === 'read') continue
    if (state === 'unreadable') {
      yield { session, place: '', state: 'failed', uploaded: 0, waiting: 0, error: 'sync.json cannot be read' }
      continue
    }
    const key = JSON.stringify(state.place)
    let uploaded = 0
    let error = failed.get(key) ?? null
    if (error === null)
      try {
        const target = targets.get(key) ?? (await openTarget(state.place, env))
        targets.set(key, target)
        uploaded = await syncSession(folder, target, new AbortController().signal, bytes => {
          done += bytes
          onProgress?.({ session, done, total })
        })
      } catch (thrown) {
        error = failureText(thrown)
        await noteFailure(folder, error).catch(() => undefined) // it is said below
        if (!(thrown instanceof SyncFailed && thrown.kind === 'conflict')) failed.set(key, error)
      }
    const after = await readSyncState(folder)
    const waiting = after === null || after === 'unreadable' ? 0 : (await waitingFiles(folder, after)).length
    const ended = (await readManifest(folder)).kind !== 'none'
    yield {
      session,
      place: state.place.to,
      state: error !== null && waiting > 0 ? 'failed' : ended ? 'synced' : 'part',
      uploaded,
      waiting,
      error: waiting > 0 ? error : null,
    }
  }
}

async function waitingBytes(recordings: string): Promise<number> {
  let bytes = 0
  for (const session of await sessionIds(recordings)) {
    const folder = path.join(recordings, session)
    const state = await readSyncState(folder)
    if (state === null || state === 'unreadable') continue
    for (const name of await waitingFiles(folder, state)) {
      // An erased key waits to be removed there: of it nothing is here.
      const stat = await fs.stat(path.join(folder, name)).catch(() => undefined)
      bytes += stat?.size ?? 0
    }
  }
  return bytes
}
