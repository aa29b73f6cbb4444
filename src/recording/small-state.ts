import type { z } from 'zod'
import { parseJson } from './bounded-json.ts'
import { readRegular } from './regular-file.ts'
import { writeWhole } from './whole-file.ts'

/** Beside a recording, not of it: where its copies are, that it is held. */
const maxStateBytes = 16 * 1024 * 1024

/** null: there is none. `unreadable` is not taken for that. */
export async function readSmallState<Schema extends z.ZodType>(
  file: string,
  schema: Schema,
): Promise<z.output<Schema> | 'unreadable' | null> {
  const content = await readRegular(file, maxStateBytes)
  if (content.kind !== 'read') return content.kind === 'none' ? null : 'unreadable'
  const parsed = schema.safeParse(parseJson(content.bytes))
  return parsed.success ? parsed.data : 'unreadable'
}

export async function writeSmallState(file: string, state: object): Promise<void> {
  await writeWhole(file, [Buffer.from(`${JSON.stringify(state)}\n`)], true)
}
