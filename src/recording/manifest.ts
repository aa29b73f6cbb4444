import { hash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { hasErrno } from '../errors.ts'
import { parseJson } from './bounded-json.ts'
import { canonicalJson } from './canonical-json.ts'
import { atSchema, startSchema } from './event-schema.ts'
import { formatVersion } from './format.ts'
import { readRegular } from './regular-file.ts'
import type { SegmentEntry } from './seal.ts'
import { signatureHolds, type SessionKey } from './session-key.ts'
import type { StoredStart } from './stored-event.ts'
import type { Summary } from './summary.ts'
import { writeWhole } from './whole-file.ts'

export const manifestName = 'manifest.json'
export const maxManifestBytes = 32 * 1024 * 1024

/** Written when a session has ended or been recovered; each word of it can be had from the events again. */
export interface Manifest {
  readonly format: 'agentgate-recording'
  readonly version: number
  readonly session: string
  /** `recovered`: the process died, and the next start sealed what it found, without the session's key. */
  readonly state: 'closed' | 'recovered'
  /** The first event without its kind, and when; null where nothing of it could be read. */
  readonly start: ({ readonly at: number } & Omit<StoredStart, 'kind'>) | null
  readonly end: { readonly at: number; readonly reason: string; readonly exitCode: number | null } | null
  readonly events: number
  /** When the last event was. */
  readonly lastAt: number
  readonly head: string
  readonly segments: readonly SegmentEntry[]
  readonly summary: Summary
  /** Bytes of an incomplete event that a recovered session ended in. */
  readonly torn: number
}

export type ManifestSeal =
  /** No key: shows accidents, not intent. */
  | { readonly algorithm: 'sha256'; readonly value: string }
  | { readonly algorithm: 'ed25519'; readonly key: string; readonly value: string }

const whole = z.number().int()
const hex = z.string().regex(/^[0-9a-f]{64}$/)
const manifestSchema = z.object({
  format: z.literal('agentgate-recording'),
  version: z.literal(formatVersion),
  session: z.string(),
  state: z.enum(['closed', 'recovered']),
  start: startSchema.extend({ at: atSchema }).nullable(),
  end: z.object({ at: atSchema, reason: z.string(), exitCode: whole.nullable() }).nullable(),
  events: whole.min(0),
  lastAt: atSchema,
  head: hex,
  segments: z.array(
    z.object({ number: whole, first: whole, count: whole, head: hex, raw: whole, bytes: whole, sha256: hex }),
  ),
  summary: z.object({ connections: whole, statements: whole, denied: whole, asked: whole, masked: whole }),
  torn: whole.min(0),
})
const sealSchema = z.discriminatedUnion('algorithm', [
  z.object({ algorithm: z.literal('sha256'), value: hex }),
  z.object({ algorithm: z.literal('ed25519'), key: z.string(), value: z.string() }),
])

export async function writeManifest(
  folder: string,
  manifest: Manifest,
  key: SessionKey | null,
  fsync: boolean,
): Promise<void> {
  const bytes = Buffer.from(canonicalJson(manifest))
  const seal: ManifestSeal =
    key === null
      ? { algorithm: 'sha256', value: hash('sha256', bytes) }
      : { algorithm: 'ed25519', key: key.publicKey, value: key.sign(bytes) }
  await writeWhole(path.join(folder, manifestName), [Buffer.from(`${canonicalJson({ ...manifest, seal })}\n`)], fsync)
}

export type ManifestRead =
  | { readonly kind: 'none' }
  /** `intact`: byte for byte what was sealed. `signed` by the key that it names, which says nothing of whose key that is. */
  | { readonly kind: 'read'; readonly manifest: Manifest; readonly intact: boolean; readonly key: string | null }
  | { readonly kind: 'unreadable'; readonly reason: 'damaged' | 'newer' | 'foreign' }

export async function readManifest(folder: string): Promise<ManifestRead> {
  const content = await readRegular(path.join(folder, manifestName), maxManifestBytes)
  if (content.kind === 'none') return content
  return content.kind === 'read' ? parseManifest(content.bytes) : { kind: 'unreadable', reason: 'damaged' }
}

/** Whether there is one, without reading it: each start looks at every recording that there is. */
export async function hasManifest(folder: string): Promise<boolean> {
  try {
    return (await fs.lstat(path.join(folder, manifestName))).isFile()
  } catch (error) {
    return !hasErrno(error, 'ENOENT', 'ENOTDIR')
  }
}

export function parseManifest(content: Buffer): Exclude<ManifestRead, { kind: 'none' }> {
  try {
    const json = parseJson(content)
    if (json === undefined) return { kind: 'unreadable', reason: 'damaged' }
    if (typeof json !== 'object' || json === null || !('format' in json) || json.format !== 'agentgate-recording')
      return { kind: 'unreadable', reason: 'foreign' }
    if ('needs' in json || ('version' in json && typeof json.version === 'number' && json.version > formatVersion))
      return { kind: 'unreadable', reason: 'newer' }
    if (!('seal' in json)) return { kind: 'unreadable', reason: 'damaged' }
    const { seal: sealJson, ...sealed } = json
    const parsed = manifestSchema.safeParse(sealed)
    const seal = sealSchema.safeParse(sealJson)
    if (!parsed.success || !seal.success) return { kind: 'unreadable', reason: 'damaged' }
    const bytes = Buffer.from(canonicalJson(sealed))
    const canonical = content.equals(Buffer.from(`${canonicalJson(json)}\n`))
    const holds =
      seal.data.algorithm === 'sha256'
        ? hash('sha256', bytes) === seal.data.value
        : signatureHolds(seal.data.key, bytes, seal.data.value)
    return {
      kind: 'read',
      // The brands of ids are made here, as in event-schema.ts.
      manifest: parsed.data as unknown as Manifest,
      intact: canonical && holds,
      key: seal.data.algorithm === 'ed25519' ? seal.data.key : null,
    }
  } catch {
    return { kind: 'unreadable', reason: 'damaged' }
  }
}
