import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { AgentgateError } from '../errors.ts'
import { systemWord } from '../recording/failure.ts'

/** The file is there whole or not at all, for its owner's eyes only. @throws AgentgateError USAGE */
export async function writeWhole(file: string, pieces: AsyncIterable<string> | Iterable<string>): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await pipeline(pieces, fs.createWriteStream(temporary, { flags: 'wx', mode: 0o600 }))
    await fs.promises.rename(temporary, file)
  } catch (error) {
    await fs.promises.rm(temporary, { force: true }).catch(() => undefined) // the first error says more
    if (error instanceof AgentgateError) throw error
    throw new AgentgateError('USAGE', `cannot write ${file}: ${systemWord(error)}`, { cause: error })
  }
}
