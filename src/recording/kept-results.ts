import { createHash, type Hash } from 'node:crypto'
import type { ConnectionId } from '../ids.ts'
import type { ResultDigest } from './stored-event.ts'

interface Running {
  readonly connection: ConnectionId
  kept: number
  cut: number
  hash: Hash | null
}

/** Holds each action's recorded result to a size; what is beyond it is counted and digested in flat memory. */
export class KeptResults {
  readonly #keepBytes: number
  readonly #running = new Map<number, Running>()
  // Results come in runs for one action: one comparison instead of a look-up.
  #lastAction = -1
  #last: Running | null = null

  constructor(keepBytes: number) {
    this.#keepBytes = keepBytes
  }

  /** How many of these bytes are to be kept; the rest has been taken into the digest. */
  admit(connection: ConnectionId, action: number, bytes: Buffer): { readonly keep: number; readonly cutNow: boolean } {
    const running = this.#find(connection, action)
    const keep = Math.max(0, Math.min(bytes.length, this.#keepBytes - running.kept))
    running.kept += keep
    if (keep === bytes.length) return { keep, cutNow: false }
    const cutNow = running.hash === null
    running.hash ??= createHash('sha256')
    running.hash.update(keep === 0 ? bytes : bytes.subarray(keep))
    running.cut += bytes.length - keep
    return { keep, cutNow }
  }

  kept(action: number): number {
    return this.#running.get(action)?.kept ?? 0
  }

  /** Forgets an action that ended; says what was not kept of it. */
  end(action: number): ResultDigest | null {
    const running = this.#running.get(action)
    if (running === undefined) return null
    this.#running.delete(action)
    if (this.#lastAction === action) this.#lastAction = -1
    if (running.hash === null) return null
    const { connection, kept, cut, hash } = running
    return { kind: 'result-digest', connection, action, kept, bytes: cut, sha256: hash.digest('hex') }
  }

  /** Actions of a connection (or all) that had results and have not ended. */
  unended(connection: ConnectionId | null): number[] {
    const actions: number[] = []
    for (const [action, running] of this.#running)
      if (connection === null || running.connection === connection) actions.push(action)
    return actions
  }

  #find(connection: ConnectionId, action: number): Running {
    if (action === this.#lastAction && this.#last !== null) return this.#last
    let running = this.#running.get(action)
    if (running === undefined) {
      running = { connection, kept: 0, cut: 0, hash: null }
      this.#running.set(action, running)
    }
    this.#lastAction = action
    this.#last = running
    return running
  }
}
