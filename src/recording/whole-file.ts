import { randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'

/** Writes a file that is either there whole or not at all, also after a crash. */
export async function writeWhole(file: string, pieces: readonly Uint8Array[], fsync: boolean): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const handle = await fs.open(temporary, 'wx', 0o600)
    try {
      for (const piece of pieces) await handle.writeFile(piece)
      if (fsync) await handle.sync()
    } finally {
      await handle.close()
    }
    await fs.rename(temporary, file)
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => undefined) // the first error says more
    throw error
  }
  if (fsync) await syncFolder(path.dirname(file))
}

/** Makes names that were added or removed stay so after a crash. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
