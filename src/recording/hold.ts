import fs from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { atSchema } from './event-schema.ts'
import { readSmallState, writeSmallState } from './small-state.ts'

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
  return await readSmallState(path.join(folder, holdName), holdSchema)
}

export async function placeHold(folder: string, hold: Hold): Promise<void> {
  await writeSmallState(path.join(folder, holdName), hold)
}

export async function releaseHold(folder: string): Promise<void> {
  await fs.rm(path.join(folder, holdName), { force: true })
}
