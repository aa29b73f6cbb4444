import { constants } from 'node:fs'
import fs from 'node:fs/promises'
import { hasErrno } from '../errors.ts'

export interface RegularFile {
  readonly handle: fs.FileHandle
  readonly size: number
}

/** Opens a file for reading; undefined where there is none, or something else (a pipe would hang whoever reads it). */
export async function openRegular(file: string): Promise<RegularFile | undefined> {
  let handle: fs.FileHandle
  try {
    handle = await fs.open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return undefined
    throw error
  }
  try {
    const stat = await handle.stat()
    if (stat.isFile()) return { handle, size: stat.size }
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  return undefined
}

/** Up to `length` bytes from `position` on; fewer only at the end of the file. */
export async function readAt(handle: fs.FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return buffer.subarray(0, filled)
}

export type Content =
  { readonly kind: 'none' } | { readonly kind: 'unreadable' } | { readonly kind: 'read'; readonly bytes: Buffer }

/** All of a regular file of at most `maxBytes`. Never throws: what cannot be read, or is larger, is `unreadable`. */
export async function readRegular(file: string, maxBytes: number): Promise<Content> {
  try {
    const opened = await openRegular(file)
    if (opened === undefined) return { kind: 'none' }
    try {
      if (opened.size > maxBytes) return { kind: 'unreadable' }
      return { kind: 'read', bytes: await readAt(opened.handle, 0, opened.size) }
    } finally {
      await opened.handle.close()
    }
  } catch {
    return { kind: 'unreadable' }
  }
}
