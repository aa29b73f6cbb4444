import fs from 'node:fs'
import path from 'node:path'
import { asSessionId, type SessionId } from '../../ids.ts'
import { wrappedKeyName } from '../encryption/content-key.ts'
import { erasureName } from '../encryption/erasure.ts'
import { parseFileName } from '../format.ts'
import { manifestName } from '../manifest.ts'
import { isTombstoneName } from '../tombstone.ts'
import { receiptPrefix, minuteOf } from '../witness/receipt-prefix.ts'
import type { Receipt } from '../witness/receipt.ts'
import { isReceiptsName, parseReceipts } from '../witness/receipts-file.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

/** An object that claims to be larger is not read into memory. */
const maxReceiptsBytes = 64 * 1024 * 1024
const atOnce = 8

/** Recordings where they have been copied to, and the receipts beside them. */
export class Copies {
  readonly #target: SyncTarget
  readonly #signal: AbortSignal
  #receiptObjects: Promise<readonly string[]> | null = null

  constructor(target: SyncTarget, signal: AbortSignal) {
    this.#target = target
    this.#signal = signal
  }

  /** @throws SyncFailed */
  async sessions(): Promise<readonly SessionId[]> {
    const found: SessionId[] = []
    for await (const name of this.#target.names('', this.#signal)) {
      const id = name.endsWith('/') ? asSessionId(name.slice(0, -1)) : undefined
      if (id !== undefined) found.push(id)
    }
    return found.sort()
  }

  /** Fetches a session's parts into `into`/ID, and returns that folder. @throws SyncFailed */
  async fetch(session: SessionId, into: string, what: 'manifest' | 'all'): Promise<string> {
    const folder = path.join(into, session)
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
    const names = what === 'manifest' ? [manifestName] : await this.#partsOf(session)
    await inParallel(names, async name => await this.#download(`${session}/${name}`, path.join(folder, name)))
    return folder
  }

  /** Removes what was fetched of a session. */
  forget(session: SessionId, into: string): void {
    fs.rmSync(path.join(into, session), { recursive: true, force: true })
  }

  /** Receipts of a session that were given between these times (milliseconds since 1970). @throws SyncFailed */
  async receipts(session: string | null, from: number, until: number): Promise<readonly Receipt[]> {
    const found: Receipt[] = []
    this.#receiptObjects ??= this.#listReceipts()
    const objects = (await this.#receiptObjects).filter(key => {
      const minute = minuteOf(key)
      return minute !== undefined && minute >= from - 60_000 && minute <= until
    })
    await inParallel(objects, async key => {
      for (const receipt of parseReceipts(await this.#whole(key)).receipts)
        if (session === null || receipt.session === session) found.push(receipt)
    })
    return found
  }

  async #listReceipts(): Promise<readonly string[]> {
    const found: string[] = []
    for await (const day of this.#target.names(receiptPrefix, this.#signal))
      if (day.endsWith('/'))
        for await (const name of this.#target.names(`${receiptPrefix}${day}`, this.#signal))
          found.push(`${receiptPrefix}${day}${name}`)
    return found
  }

  /** Nothing else that lies there: a name from elsewhere never becomes a path here. */
  async #partsOf(session: string): Promise<readonly string[]> {
    const names: string[] = []
    for await (const name of this.#target.names(`${session}/`, this.#signal)) if (isPart(name)) names.push(name)
    return names
  }

  async #download(key: string, file: string): Promise<void> {
    const content = await this.#target.read(key, this.#signal)
    if (content === null) return
    const handle = await fs.promises.open(file, 'wx', 0o600)
    try {
      for await (const chunk of content) await handle.writeFile(chunk)
    } finally {
      await handle.close()
    }
  }

  async #whole(key: string): Promise<Buffer> {
    const pieces: Buffer[] = []
    let size = 0
    for await (const chunk of (await this.#target.read(key, this.#signal)) ?? []) {
      pieces.push(chunk)
      size += chunk.length
      if (size > maxReceiptsBytes)
        throw new SyncFailed('refused', `${this.#target.name} has a ${key} that is too large`)
    }
    return Buffer.concat(pieces)
  }
}

function isPart(name: string): boolean {
  return (
    parseFileName(name) !== undefined ||
    name === manifestName ||
    name === wrappedKeyName ||
    name === erasureName ||
    isReceiptsName(name) ||
    isTombstoneName(name)
  )
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
}
