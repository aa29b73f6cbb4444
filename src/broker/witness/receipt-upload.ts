import { hash } from 'node:crypto'
import type { Environment } from '../../config/paths.ts'
import type { SyncPlace } from '../../policy/sync-place.ts'
import { failureText } from '../../recording/sync/failure-text.ts'
import { openTarget } from '../../recording/sync/place.ts'
import { SyncFailed } from '../../recording/sync/target.ts'
import { receiptObject } from '../../recording/witness/receipt-prefix.ts'
import type { ReceiptStore } from './receipt-store.ts'

const everyMilliseconds = 60_000
const maxReceipts = 5_000

export interface ReceiptUploadOptions {
  readonly store: ReceiptStore
  readonly env: Environment
  /** Where recordings are copied to, as the policy says now; null: nowhere. */
  readonly place: () => SyncPlace | null
  readonly onTrouble: (text: string) => void
}

/** Puts receipts into a prefix of the bucket that recordings are in: one object for each minute, of all sessions. */
export class ReceiptUpload {
  readonly #options: ReceiptUploadOptions
  readonly #stop = new AbortController()
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | null = null
  #troubled: string | null = null

  constructor(options: ReceiptUploadOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#start(), everyMilliseconds)
    this.#timer.unref()
    this.#start() // what an earlier broker could not
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    const stop = setTimeout(() => this.#stop.abort(), 5_000)
    await this.#running
    // The last minute's too: nobody may be there when it is over.
    await this.#try(Date.now() + everyMilliseconds)
    clearTimeout(stop)
  }

  #start(): void {
    this.#running ??= this.#try(Date.now()).finally(() => (this.#running = null))
  }

  async #try(now: number): Promise<void> {
    try {
      await this.#upload(now)
      if (this.#troubled !== null) this.#options.onTrouble('receipts can be uploaded again')
      this.#troubled = null
    } catch (error) {
      const text = failureText(error)
      if (text !== this.#troubled) this.#options.onTrouble(`receipts are not uploaded, and stay in the store: ${text}`)
      this.#troubled = text
    }
  }

  async #upload(now: number): Promise<void> {
    const { store, env, place: placeNow } = this.#options
    const place = placeNow()
    if (place === null) return
    const target = await openTarget(place, env)
    for (;;) {
      const waiting = await store.waiting(now, maxReceipts)
      const [first] = waiting
      if (first === undefined) return
      const same = waiting.filter(each => each.slot === first.slot)
      const lines = same.map(({ slot: _, ...receipt }) => `${JSON.stringify(receipt)}\n`)
      const bytes = Buffer.from(lines.join(''))
      const sha256 = hash('sha256', bytes)
      const key = receiptObject(first.at, sha256)
      await target.put(key, bytes, sha256, this.#stop.signal)
      if ((await target.sha256Of(key, this.#stop.signal)) !== sha256)
        throw new SyncFailed('conflict', `${target.name} does not have ${key} as it was sent`)
      await store.markStored(first.slot, same)
    }
  }
}
