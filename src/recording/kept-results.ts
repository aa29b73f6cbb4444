import { createHash, type Hash } from 'node:crypto'
import type { ConnectionId } from '../ids.ts'
import type { ResultDigest } from './stored-event.ts'

interface Running {
  readonly connection: ConnectionId
  readonly keepBytes: number
  kept: number
  cut: number
  hash: Hash | null
}

/** So much of a result is kept also where the session's share is used up: what an answer was is seen, a copy of a table is not. */
const alwaysKeptBytes = 64 * 1024

/**
 * Holds each action's recorded result to a size, and all of a session's to another; what is beyond either is counted and
 * digested in flat memory.
 */
export class KeptResults {
  readonly #keepBytes: number
  #sessionLeft: number
  readonly #running = new Map<number, Running>()
  // Results come in runs for one action: one comparison instead of a look-up.
  #lastAction = -1
  #last: Running | null = null

  constructor(keepBytes: number, keepSessionBytes: number) {
    this.#keepBytes = keepBytes
    this.#sessionLeft = keepSessionBytes
  }

  /** Of this action all is kept, or nothing, whatever the size is for others. */
  except(connection: ConnectionId, action: number, keep: 'full' | 'none'): void {
    this.#running.set(action, { connection, keepBytes: keep === 'full' ? Infinity : 0, kept: 0, cut: 0, hash: null })
  }

  /** How many of these bytes are to be kept; the rest has been taken into the digest. */
  admit(connection: ConnectionId, action: number, bytes: Buffer): { readonly keep: number; readonly cutNow: boolean } {
    const running = this.#find(connection, action)
    const keep = Math.min(bytes.length, this.#room(running))
    running.kept += keep
    if (running.keepBytes !== Infinity) this.#sessionLeft = Math.max(0, this.#sessionLeft - keep)
    if (keep === bytes.length) return { keep, cutNow: false }
    const cutNow = running.hash === null
    running.hash ??= createHash('sha256')
    running.hash.update(keep === 0 ? bytes : bytes.subarray(keep))
    running.cut += bytes.length - keep
    return { keep, cutNow }
  }

  /** Bytes that may still be kept. */
  #room({ keepBytes, kept, hash }: Running): number {
    if (hash !== null) return 0 // what is kept has no holes
    const own = Math.max(0, keepBytes - kept)
    return keepBytes === Infinity ? own : Math.min(own, Math.max(this.#sessionLeft, alwaysKeptBytes - kept))
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
      running = { connection, keepBytes: this.#keepBytes, kept: 0, cut: 0, hash: null }
      this.#running.set(action, running)
    }
    this.#lastAction = action
    this.#last = running
    return running
  }
}
