import { performance } from 'node:perf_hooks'

// Long enough that a key meant for something else has been typed before, short enough that nobody waits for it.
const armingMs = 500

/**
 * Decides whether a key can be an answer to what is on screen. None counts until the question has been drawn and then
 * `armingMs` have passed without a key, by the monotonic clock: what was typed before, or in a run of typing, is no
 * answer.
 */
export class Arming {
  readonly #now: () => number
  #quietSince: number | undefined
  #question = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Another question will be drawn. Returns what to call once it is on screen. */
  ask(): () => void {
    this.#quietSince = undefined
    const question = ++this.#question
    return () => {
      if (question === this.#question) this.#quietSince = this.#now()
    }
  }

  get armed(): boolean {
    return this.#quietSince !== undefined && this.#now() - this.#quietSince >= armingMs
  }

  /** A key was pressed: whether it counts. One that does not starts the wait anew. */
  accept(): boolean {
    if (this.#quietSince === undefined) return false
    if (this.armed) return true
    this.#quietSince = this.#now()
    return false
  }

  /** Something came that cannot be an answer: the wait starts anew. */
  disturb(): void {
    if (this.#quietSince !== undefined) this.#quietSince = this.#now()
  }
}
