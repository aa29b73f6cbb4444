import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { hasErrno } from '../../errors.ts'
import { systemWord } from '../failure.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

/** A folder, such as a mounted share. */
export class FolderTarget implements SyncTarget {
  readonly name: string
  readonly #root: string

  constructor(root: string) {
    this.#root = root
    this.name = `file://${root}`
  }

  async put(key: string, bytes: Buffer, _sha256: string, signal: AbortSignal): Promise<'stored' | 'there'> {
    const file = path.join(this.#root, key)
    const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
    try {
      // Not the root itself: a share that is not mounted must not become a folder on the disk below it.
      await fs.promises.access(this.#root)
      await fs.promises.mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
      try {
        await fs.promises.writeFile(temporary, bytes, { flag: 'wx', mode: 0o600, flush: true, signal })
        // Unlike rename, it fails where something is there already.
        await fs.promises.link(temporary, file)
      } finally {
        await fs.promises.rm(temporary, { force: true })
      }
      return 'stored'
    } catch (error) {
      if (hasErrno(error, 'EEXIST')) return 'there'
      throw folderFailure(error)
    }
  }

  async remove(key: string, _signal: AbortSignal): Promise<void> {
    try {
      await fs.promises.access(this.#root)
      await fs.promises.rm(path.join(this.#root, key), { force: true })
    } catch (error) {
      throw folderFailure(error)
    }
  }

  async *names(prefix: string, _signal: AbortSignal): AsyncGenerator<string, void, void> {
    let entries: fs.Dirent[]
    try {
      entries = await fs.promises.readdir(path.join(this.#root, prefix), { withFileTypes: true })
    } catch (error) {
      if (prefix !== '' && hasErrno(error, 'ENOENT')) return
      throw folderFailure(error)
    }
    for (const entry of entries)
      if (!entry.name.endsWith('.tmp')) yield entry.isDirectory() ? `${entry.name}/` : entry.name
  }

  async read(key: string, signal: AbortSignal): Promise<AsyncIterable<Buffer> | null> {
    try {
      const handle = await fs.promises.open(path.join(this.#root, key))
      return handle.createReadStream({ signal }) as AsyncIterable<Buffer>
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return null
      throw folderFailure(error)
    }
  }

  async sha256Of(key: string, signal: AbortSignal): Promise<string | null> {
    const digest = createHash('sha256')
    try {
      await pipeline(fs.createReadStream(path.join(this.#root, key)), digest, { signal })
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return null
      throw folderFailure(error)
    }
    return digest.digest('hex')
  }
}

function folderFailure(error: unknown): unknown {
  if (!hasErrno(error, ...folderCodes)) return error
  return new SyncFailed(hasErrno(error, 'EACCES', 'EPERM', 'EROFS') ? 'refused' : 'unreachable', systemWord(error))
}

const folderCodes = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'EIO', 'ESTALE', 'EMFILE']
