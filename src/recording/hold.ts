import fs from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { hasErrno } from '../errors.ts'
import { atSchema } from './event-schema.ts'
import { writeWhole } from './whole-file.ts'

const holdName = 'hold.json'

/** A recording that is not to be deleted, whatever its retention says. */
export interface Hold {
  readonly at: number
  readonly by: string
  readonly reason: string | null
}

const holdSchema = z.object({ at: atSchema, by: z.string(), reason: z.string().nullable() })

/** `unreadable` counts as held: what cannot be told is kept. */
export async function readHold(folder: string): Promise<Hold | 'unreadable' | null> {
  try {
    const parsed = holdSchema.safeParse(JSON.parse(await fs.readFile(path.join(folder, holdName), 'utf8')))
    return parsed.success ? parsed.data : 'unreadable'
  } catch (error) {
    return hasErrno(error, 'ENOENT', 'ENOTDIR') ? null : 'unreadable'
  }
}

export async function placeHold(folder: string, hold: Hold): Promise<void> {
  await writeWhole(path.join(folder, holdName), [Buffer.from(`${JSON.stringify(hold)}\n`)], true)
}

export async function releaseHold(folder: string): Promise<void> {
  await fs.rm(path.join(folder, holdName), { force: true })
}
