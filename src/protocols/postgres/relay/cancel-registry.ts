import { randomBytes, timingSafeEqual } from 'node:crypto'

/** Who to tell that a client pressed Ctrl-C. */
interface Cancellable {
  readonly key: Buffer
  readonly session: string
  readonly cancel: () => void
}

/** Keys of ours by which clients cancel what runs on their other connection (PG 18 docs §54.2.8). */
export class CancelRegistry {
  readonly #byProcess = new Map<number, Cancellable[]>()

  /** A key for a connection to the server's process; `keyBytes` as the client's protocol version allows. */
  add(processId: number, keyBytes: number, session: string, cancel: () => void): { key: Buffer; remove: () => void } {
    const entry = { key: randomBytes(keyBytes), session, cancel }
    const list = this.#byProcess.get(processId)
    if (list === undefined) this.#byProcess.set(processId, [entry])
    else list.push(entry)
    return {
      key: entry.key,
      remove: () => {
        const left = (this.#byProcess.get(processId) ?? []).filter(other => other !== entry)
        if (left.length === 0) this.#byProcess.delete(processId)
        else this.#byProcess.set(processId, left)
      },
    }
  }

  /** As the server does, says nothing of whether anybody was meant. */
  cancel(processId: number, key: Buffer, session: string): void {
    for (const entry of this.#byProcess.get(processId) ?? [])
      if (entry.session === session && entry.key.length === key.length && timingSafeEqual(entry.key, key))
        entry.cancel()
  }
}
