import { hash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { canonicalJson } from '../canonical-json.ts'
import { parseJson } from '../bounded-json.ts'
import { atSchema } from '../event-schema.ts'
import { liveKeyFile } from '../owner.ts'
import { readRegular } from '../regular-file.ts'
import { syncFolder, writeWhole } from '../whole-file.ts'
import { maxWrappedBytes, removeLiveKey, wrappedKeyName } from './content-key.ts'

export const erasureName = 'erased.json'
const maxErasureBytes = 64 * 1024

/** What stays in the place of an erased key. It says what was done; nothing proves it. */
export interface Erasure {
  readonly format: 'agentgate-erasure'
  readonly version: 1
  readonly session: string
  readonly erasedAt: number
  readonly by: string
  readonly reason: string
  /** SHA-256 of `key.age`, in hexadecimal digits, so that a copy of it can be told; null: it was not there any more. */
  readonly key: string | null
}

const erasureSchema = z.object({
  format: z.literal('agentgate-erasure'),
  version: z.literal(1),
  session: z.string(),
  erasedAt: atSchema,
  by: z.string(),
  reason: z.string(),
  key: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
})

export type ErasureRead =
  | { readonly kind: 'none' }
  | { readonly kind: 'read'; readonly erasure: Erasure; /** Its key is still there. */ readonly leftovers: boolean }
  | { readonly kind: 'unreadable' }

export async function readErasure(folder: string): Promise<ErasureRead> {
  const content = await readRegular(path.join(folder, erasureName), maxErasureBytes)
  if (content.kind !== 'read') return content
  const parsed = erasureSchema.safeParse(parseJson(content.bytes))
  if (!parsed.success) return { kind: 'unreadable' }
  const leftovers = (await readRegular(path.join(folder, wrappedKeyName), maxWrappedBytes)).kind !== 'none'
  return { kind: 'read', erasure: parsed.data, leftovers }
}

/**
 * Removes a session's key, so that what is encrypted with it is gone for good, and leaves a word of it. Done again after a
 * crash it comes to the same end; the first word stays.
 */
export async function erase(
  folder: string,
  session: string,
  erasing: { readonly at: number; readonly by: string; readonly reason: string },
): Promise<Erasure> {
  const before = await readErasure(folder)
  const wrapped = path.join(folder, wrappedKeyName)
  let erasure: Erasure
  if (before.kind === 'read') erasure = before.erasure
  else {
    const key = await readRegular(wrapped, maxWrappedBytes)
    erasure = {
      format: 'agentgate-erasure',
      version: 1,
      session,
      erasedAt: erasing.at,
      by: erasing.by,
      reason: erasing.reason,
      key: key.kind === 'read' ? hash('sha256', key.bytes) : null,
    }
    await writeWhole(path.join(folder, erasureName), [Buffer.from(`${canonicalJson(erasure)}\n`)], true)
  }
  const live = liveKeyFile(folder)
  // No other file, whatever somebody's folder names.
  if (live !== undefined && path.basename(live) === `${session}.key`) removeLiveKey(live)
  await fs.rm(wrapped, { force: true })
  await syncFolder(folder)
  return erasure
}
