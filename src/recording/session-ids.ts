import fs from 'node:fs/promises'
import { asSessionId, type SessionId } from '../ids.ts'

/** Ids of the sessions in a recordings folder, in no order. */
export async function sessionIds(recordings: string): Promise<readonly SessionId[]> {
  let names: readonly string[]
  try {
    names = await fs.readdir(recordings)
  } catch {
    return []
  }
  return names.map(asSessionId).filter(id => id !== undefined)
}
