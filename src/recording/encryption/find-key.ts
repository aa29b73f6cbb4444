import fs from 'node:fs/promises'
import path from 'node:path'
import { asSessionId } from '../../ids.ts'
import { liveKeyFile } from '../owner.ts'
import { readRegular } from '../regular-file.ts'
import { readLiveKey, unwrapContentKey, wrappedKeyName, type ContentKey } from './content-key.ts'

const maxWrappedBytes = 64 * 1024

export async function isEncrypted(folder: string): Promise<boolean> {
  try {
    return (await fs.lstat(path.join(folder, wrappedKeyName))).isFile()
  } catch {
    return false
  }
}

/** Of a session that goes on here, or whose process died and that has not been sealed yet. */
export function liveKeyOf(folder: string, session: string): ContentKey | null {
  const file = liveKeyFile(folder)
  return file === undefined ? null : (readLiveKey(session, file) ?? null)
}

/** `erased`: its key is gone for good. `wrong`: none of the identities is one of its recipients'. */
export type FoundKey = { readonly kind: 'key'; readonly key: ContentKey } | { readonly kind: 'erased' | 'wrong' }

export async function findKey(folder: string, identities: readonly string[]): Promise<FoundKey> {
  const session = path.basename(path.resolve(folder))
  const live = liveKeyOf(folder, session)
  if (live !== null) return { kind: 'key', key: live }
  const wrapped = await readRegular(path.join(folder, wrappedKeyName), maxWrappedBytes)
  if (wrapped.kind !== 'read') return { kind: 'erased' }
  // The key is bound to the session's id, which a copy in a folder of another name still has in its files.
  const id = asSessionId(session) ?? session
  const key = await unwrapContentKey(id, wrapped.bytes, identities)
  return key === undefined ? { kind: 'wrong' } : { kind: 'key', key }
}
