import path from 'node:path'
import { sessionIds } from './session-ids.ts'
import { readHold } from './hold.ts'
import { isHeldByPerson, personHolds } from './person-hold.ts'
import { readManifest, type Manifest } from './manifest.ts'
import { ownerAlive } from './owner.ts'
import { bury, readTombstone, removeParts } from './tombstone.ts'

export type Prunable =
  | { readonly kind: 'due'; readonly session: string; readonly manifest: Manifest; readonly since: number }
  /** An earlier deletion was cut off. */
  | { readonly kind: 'leftovers'; readonly session: string }
  | { readonly kind: 'held'; readonly session: string }
  /** Past its retention, but its upload has not been verified. */
  | { readonly kind: 'not-synced'; readonly session: string }
  /** There is a manifest, but nothing can be believed of it: a person has to look. */
  | { readonly kind: 'damaged'; readonly session: string }

export interface PruneOptions {
  readonly now: number
  readonly by: string
  /** Whether all of a session is safely elsewhere; where nothing is synced: always. */
  readonly isSynced: (folder: string, manifest: Manifest) => Promise<boolean>
}

/**
 * Sessions past what the policy said, when they were recorded, about how long to keep them; and those that would be but for
 * something. What is open, not sealed, or to be kept for ever is not among them.
 */
export async function* prunable(recordings: string, options: PruneOptions): AsyncGenerator<Prunable, void, void> {
  const { now, isSynced } = options
  for (const session of await sessionIds(recordings)) {
    const folder = path.join(recordings, session)
    const buried = await readTombstone(folder)
    if (buried.kind === 'read') {
      if (buried.leftovers) yield { kind: 'leftovers', session }
      continue
    }
    const read = await readManifest(folder)
    if (read.kind === 'none' || ownerAlive(folder, now)) continue
    if (read.kind !== 'read' || !read.intact || read.manifest.session !== session) {
      yield { kind: 'damaged', session }
      continue
    }
    const { manifest } = read
    const retainSeconds = manifest.start?.retainSeconds ?? null
    if (retainSeconds === null) continue
    const since = manifest.lastAt + retainSeconds * 1000
    if (since > now) continue
    if ((await readHold(folder)) !== null || isHeldByPerson(await personHolds(recordings), manifest.start))
      yield { kind: 'held', session }
    else if (!(await isSynced(folder, manifest))) yield { kind: 'not-synced', session }
    else yield { kind: 'due', session, manifest, since }
  }
}

/** Deletes one; asks again whether it is held, as time has passed since it was listed. */
export async function prune(recordings: string, what: Prunable, options: PruneOptions): Promise<Prunable> {
  const folder = path.join(recordings, what.session)
  if (what.kind === 'leftovers') await removeParts(folder)
  if (what.kind !== 'due') return what
  if ((await readHold(folder)) !== null || isHeldByPerson(await personHolds(recordings), what.manifest.start))
    return { kind: 'held', session: what.session }
  await bury(folder, what.manifest, { at: options.now, by: options.by, reason: 'retention' })
  return what
}
