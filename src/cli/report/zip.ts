import fs from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { ZipFile } from 'yazl'
import { AgentgateError } from '../../errors.ts'
import { systemWord } from '../../recording/failure.ts'

/** All files of a folder as one, below `top` in it; in flat memory, whole or not at all, 0600. @throws AgentgateError USAGE */
export async function writeZip(file: string, folder: string, top: string): Promise<void> {
  const temporary = `${folder}.zip`
  const zip = new ZipFile()
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  for (const { parentPath, name } of names) {
    const from = path.join(parentPath, name)
    zip.addFile(from, `${top}/${path.relative(folder, from).split(path.sep).join('/')}`, { mode: 0o100600 })
  }
  zip.end()
  try {
    await pipeline(zip.outputStream, fs.createWriteStream(temporary, { flags: 'wx', mode: 0o600 }))
    // Unlike rename, it never writes over what has come there meanwhile.
    await fs.promises.link(temporary, file)
  } catch (cause) {
    throw new AgentgateError('USAGE', `cannot write ${file}: ${systemWord(cause)}`, { cause })
  } finally {
    await fs.promises.rm(temporary, { force: true })
  }
}
