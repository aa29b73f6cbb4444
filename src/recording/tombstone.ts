import { hash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { parseJson } from './bounded-json.ts'
import { canonicalJson } from './canonical-json.ts'
import { atSchema } from './event-schema.ts'
import { wrappedKeyName } from './encryption/content-key.ts'
import { erasureName } from './encryption/erasure.ts'
import { parseFileName } from './format.ts'
import { manifestName, type Manifest } from './manifest.ts'
import { readRegular } from './regular-file.ts'
import { writeWhole } from './whole-file.ts'

const tombstoneName = 'tombstone.json'
const maxTombstoneBytes = 64 * 1024

/** What stays of a recording that was deleted. It says what was there; nothing proves it. */
export interface Tombstone {
  readonly format: 'agentgate-tombstone'
  readonly version: 1
  readonly session: string
  readonly deletedAt: number
  readonly by: string
  readonly reason: string
  readonly startedAt: number | null
  readonly endedAt: number | null
  readonly events: number
  readonly head: string
  /** SHA-256 of the manifest's file, in hexadecimal digits. */
  readonly manifest: string
}

const hex = z.string().regex(/^[0-9a-f]{64}$/)
const tombstoneSchema = z.object({
  format: z.literal('agentgate-tombstone'),
  version: z.literal(1),
  session: z.string(),
  deletedAt: atSchema,
  by: z.string(),
  reason: z.string(),
  startedAt: atSchema.nullable(),
  endedAt: atSchema.nullable(),
  events: z.number().int().min(0),
  head: hex,
  manifest: hex,
})

export type TombstoneRead =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'read'
      readonly tombstone: Tombstone
      /** Parts of the recording are still there. */ readonly leftovers: boolean
    }
  | { readonly kind: 'unreadable' }

export function isTombstoneName(name: string): boolean {
  return name === tombstoneName
}

export async function readTombstone(folder: string): Promise<TombstoneRead> {
  const content = await readRegular(path.join(folder, tombstoneName), maxTombstoneBytes)
  if (content.kind !== 'read') return content
  try {
    const parsed = tombstoneSchema.safeParse(parseJson(content.bytes))
    if (!parsed.success) return { kind: 'unreadable' }
    return { kind: 'read', tombstone: parsed.data, leftovers: (await partsOf(folder)).length > 0 }
  } catch {
    return { kind: 'unreadable' }
  }
}

/** Removes a recording and leaves a tombstone; done again after a crash it comes to the same end. */
export async function bury(
  folder: string,
  manifest: Manifest,
  deletion: { readonly at: number; readonly by: string; readonly reason: string },
): Promise<void> {
  const tombstone: Tombstone = {
    format: 'agentgate-tombstone',
    version: 1,
    session: manifest.session,
    deletedAt: deletion.at,
    by: deletion.by,
    reason: deletion.reason,
    startedAt: manifest.start?.at ?? null,
    endedAt: manifest.end?.at ?? null,
    events: manifest.events,
    head: manifest.head,
    manifest: hash('sha256', await fs.readFile(path.join(folder, manifestName))),
  }
  await writeWhole(path.join(folder, tombstoneName), [Buffer.from(`${canonicalJson(tombstone)}\n`)], true)
  await removeParts(folder)
}

/** Everything of a recording but its tombstone; the manifest last, as it says what belongs to it. */
export async function removeParts(folder: string): Promise<void> {
  const parts = await partsOf(folder)
  for (const name of parts.sort((a, b) => Number(a === manifestName) - Number(b === manifestName)))
    await fs.rm(path.join(folder, name), { force: true })
}

async function partsOf(folder: string): Promise<string[]> {
  const names = await fs.readdir(folder)
  return names.filter(
    name =>
      name === manifestName ||
      name === wrappedKeyName ||
      name === erasureName ||
      name.endsWith('.tmp') ||
      parseFileName(name) !== undefined,
  )
}
