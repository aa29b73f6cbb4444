import fs from 'node:fs/promises'
import path from 'node:path'
import { asSessionId } from '../../ids.ts'
import { liveKeyFile } from '../owner.ts'
import { readRegular } from '../regular-file.ts'
import { parseFileHead } from '../file-head.ts'
import { maxFileHeadBytes, parseFileName } from '../format.ts'
import { openRegular, readAt } from '../regular-file.ts'
import { maxWrappedBytes, readLiveKey, unwrapContentKey, wrappedKeyName, type ContentKey } from './content-key.ts'
import { erasureName, readErasure, type Erasure } from './erasure.ts'

/** Whether it takes a key to read it: also where that is gone. */
export async function isEncrypted(folder: string): Promise<boolean> {
  let names: string[]
  try {
    names = await fs.readdir(folder)
  } catch {
    return false
  }
  if (names.includes(wrappedKeyName) || names.includes(erasureName)) return true
  const files = names.flatMap(name => parseFileName(name) ?? []).sort((a, b) => a.number - b.number)
  const [first] = files
  if (first === undefined) return false
  const name = names.find(each => parseFileName(each)?.number === first.number) ?? ''
  return await needsKey(path.join(folder, name), first.kind)
}

async function needsKey(file: string, kind: 'journal' | 'segment'): Promise<boolean> {
  try {
    const opened = await openRegular(file)
    if (opened === undefined) return false
    try {
      return parseFileHead(kind, await readAt(opened.handle, 0, maxFileHeadBytes * 2)).header.needs !== undefined
    } finally {
      await opened.handle.close()
    }
  } catch {
    return false // the reader says what is wrong with it
  }
}

/** Of a session that goes on here, or whose process died and that has not been sealed yet. */
export function liveKeyOf(folder: string, session: string): ContentKey | null {
  const file = liveKeyFile(folder)
  return file === undefined ? null : (readLiveKey(session, file) ?? null)
}

/** `erased`: its key is gone for good; null where nothing says by whom. `wrong`: none of the identities is one of its recipients'. */
export type FoundKey =
  | { readonly kind: 'key'; readonly key: ContentKey }
  | { readonly kind: 'erased'; readonly erasure: Erasure | null }
  | { readonly kind: 'wrong' }

export async function findKey(folder: string, identities: readonly string[]): Promise<FoundKey> {
  const session = path.basename(path.resolve(folder))
  const erased = await readErasure(folder)
  // Also where the key itself is still there, as its erasing was cut off.
  if (erased.kind === 'read') return { kind: 'erased', erasure: erased.erasure }
  const live = liveKeyOf(folder, session)
  if (live !== null) return { kind: 'key', key: live }
  const wrapped = await readRegular(path.join(folder, wrappedKeyName), maxWrappedBytes)
  if (wrapped.kind === 'none') return { kind: 'erased', erasure: null }
  if (wrapped.kind !== 'read') return { kind: 'wrong' }
  // The key is bound to the session's id, which a copy in a folder of another name still has in its files.
  const id = asSessionId(session) ?? session
  const key = await unwrapContentKey(id, wrapped.bytes, identities)
  return key === undefined ? { kind: 'wrong' } : { kind: 'key', key }
}
