import fs from 'node:fs/promises'
import path from 'node:path'
import { hasErrno } from '../errors.ts'
import { asSessionId } from '../ids.ts'
import { Account } from './account.ts'
import { compressAside } from './compress.ts'
import { isEncrypted } from './encryption/find-key.ts'
import { readLiveKey, removeLiveKey, wrappedKeyName, type ContentKey } from './encryption/content-key.ts'
import { failure } from './failure.ts'
import { BadFileHead } from './file-head.ts'
import { fileName, formatVersion, parseFileName } from './format.ts'
import { hasManifest, readManifest, writeManifest, type Manifest } from './manifest.ts'
import { hasOwner, isNew, liveKeyFile, ownerAlive, release } from './owner.ts'
import { readRecording } from './reader.ts'
import { DamagedRecord } from './record-cutter.ts'
import { seal, type SegmentEntry } from './seal.ts'
import { readTombstone } from './tombstone.ts'

const leftoverMilliseconds = 60_000

export type Recovered =
  | { readonly kind: 'recovered'; readonly session: string; readonly events: number; readonly torn: number }
  /** Left as it is: `agentgate sessions verify` says what is wrong with it. */
  | { readonly kind: 'damaged'; readonly session: string }
  /** Encrypted, and the key was lost with the machine's memory: left as it is, for who has an identity. */
  | { readonly kind: 'locked'; readonly session: string }
  /** Nothing had been recorded yet; the folder is gone. */
  | { readonly kind: 'empty'; readonly session: string }
  | { readonly kind: 'failed'; readonly session: string; readonly error: Error }

/**
 * Seals what crashed sessions left and writes their manifests. Sessions whose process may still be there are not touched.
 * Running twice at once, or dying half-way, comes to the same end: each step leaves a recording that can be read.
 */
export async function recover(recordings: string, now = Date.now()): Promise<readonly Recovered[]> {
  const done: Recovered[] = []
  let names: string[]
  try {
    names = await fs.readdir(recordings)
  } catch {
    return done
  }
  for (const session of names) {
    if (asSessionId(session) === undefined) continue
    const folder = path.join(recordings, session)
    if ((await hasManifest(folder)) || ownerAlive(folder, now) || isNew(folder, now)) continue
    if ((await readTombstone(folder)).kind !== 'none') continue // deleted, perhaps not wholly yet
    const isNews = hasOwner(folder)
    try {
      const found = await recoverOne(folder, session)
      if (found.kind !== 'locked' || isNews) done.push(found)
    } catch (error) {
      done.push({ kind: 'failed', session, error: failure(`seal the recording of ${session}`, error) })
    }
  }
  return done
}

async function recoverOne(folder: string, session: string): Promise<Recovered> {
  const file = liveKeyFile(folder)
  const key = file === undefined ? undefined : readLiveKey(session, file)
  if (key === undefined && (await isEncrypted(folder))) {
    // Nobody writes there any more, so that what is left can be copied elsewhere as it is.
    release(folder)
    return { kind: 'locked', session }
  }
  const sealed = await sealJournals(folder, key?.secret)
  if (sealed.kind === 'damaged') return { kind: 'damaged', session }
  if (sealed.kind === 'empty') {
    if (file !== undefined && key !== undefined) removeLiveKey(file)
    await fs.rm(path.join(folder, wrappedKeyName), { force: true })
    release(folder)
    await fs.rmdir(folder)
    return { kind: 'empty', session }
  }
  await removeLeftovers(folder)
  const manifest = await manifestFrom(folder, session, sealed.torn, key ?? null)
  if (manifest === undefined) return { kind: 'damaged', session }
  // Another one that recovered at the same time knows as much, or more: it may have dropped the incomplete event.
  if ((await readManifest(folder)).kind === 'none') await writeManifest(folder, manifest, null, true)
  if (file !== undefined && key !== undefined) removeLiveKey(file)
  release(folder)
  return { kind: 'recovered', session, events: manifest.events, torn: manifest.torn }
}

type SealedJournals =
  { readonly kind: 'sealed'; readonly torn: number } | { readonly kind: 'empty' } | { readonly kind: 'damaged' }

async function sealJournals(folder: string, key: Uint8Array | undefined): Promise<SealedJournals> {
  const files = await numberedFiles(folder)
  const journals = files.filter(file => file.kind === 'journal').map(file => file.number)
  const last = Math.max(0, ...journals)
  let torn = 0
  for (const number of journals.sort((a, b) => a - b)) {
    const isLast = number === last
    try {
      torn += (await seal({ folder, number, key, fsync: true, torn: isLast ? 'dropped' : 'refused' }, compressAside))
        .torn
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) continue // another one that recovers has been faster
      if (error instanceof DamagedRecord) return { kind: 'damaged' }
      if (!(error instanceof BadFileHead)) throw error
      // Only the file that was being made when the process died can have half a header.
      if (!isLast || error.reason !== 'short') return { kind: 'damaged' }
      await fs.rm(path.join(folder, fileName('journal', number)), { force: true })
    }
  }
  return (await numberedFiles(folder)).length === 0 ? { kind: 'empty' } : { kind: 'sealed', torn }
}

/** What a crash left of a file that was being made; a young one may be another's who recovers too. */
async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await fs.readdir(folder)) {
    if (!name.endsWith('.tmp')) continue
    const file = path.join(folder, name)
    const stat = await fs.stat(file).catch(() => undefined)
    if (stat && Date.now() - stat.mtimeMs > leftoverMilliseconds) await fs.rm(file, { force: true })
  }
}

async function numberedFiles(folder: string): Promise<NonNullable<ReturnType<typeof parseFileName>>[]> {
  return (await fs.readdir(folder)).map(parseFileName).filter(file => file !== undefined)
}

/** What the events say, or undefined where they cannot all be read. */
async function manifestFrom(
  folder: string,
  session: string,
  torn: number,
  key: ContentKey | null,
): Promise<Manifest | undefined> {
  const account = new Account()
  const segments: SegmentEntry[] = []
  for await (const item of readRecording(folder, key)) {
    switch (item.kind) {
      case 'event':
        account.take(item.placed)
        break
      case 'problem':
      case 'locked':
        return undefined
      case 'file':
        if (item.segment !== null) segments.push(item.segment)
        break
      case 'end': {
        const { start, end, events, lastAt, summary } = account
        const { head } = item.end
        if (head === null || lastAt === null) return undefined
        const state = 'recovered' as const
        const format = 'agentgate-recording' as const
        return {
          format,
          version: formatVersion,
          session,
          state,
          start,
          end,
          events,
          lastAt,
          head,
          segments,
          summary,
          torn,
        }
      }
      default:
        return item satisfies never
    }
  }
  return undefined
}
