import { setTimeout as delay } from 'node:timers/promises'
import { failureText } from './failure-text.ts'
import { noteFailure, syncSession } from './sync-session.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

const firstRetryMilliseconds = 1000
const lastRetryMilliseconds = 5 * 60_000

interface Waiter {
  /** The pass that was under way, or over, when it came. */
  readonly after: number
  settle: (failure: Error | null) => void
  /** What the last pass failed with. */
  failure: Error | null
}

/** Uploads one session's segments as they are sealed, beside the work; what fails is tried again for as long as it lives. */
export class BackgroundSync {
  readonly #folder: string
  readonly #target: Promise<SyncTarget>
  readonly #onWarning: (text: string) => void
  readonly #stop = new AbortController()
  #running: Promise<void> | null = null
  #again = false
  #finishing = false
  #gaveUp = false
  #warned: string | null = null
  #hurry = new AbortController()
  /** How many times it has begun to upload whatever is there. */
  #passes = 0
  #waiters: Waiter[] = []

  constructor(folder: string, target: Promise<SyncTarget>, onWarning: (text: string) => void) {
    this.#folder = folder
    this.#target = target
    this.#target.catch(() => undefined) // said by the first run
    this.#onWarning = onWarning
  }

  /** There is something new. */
  nudge(): void {
    this.#again = true
    this.#running ??= this.#run().finally(() => {
      this.#running = null
      // What came between its last look and now would else wait for whatever comes next.
      if (this.#again && !this.#stop.signal.aborted && !this.#gaveUp) this.nudge()
    })
  }

  /** Uploads what is left, but waits no longer than this; what then is missing, `sessions sync` uploads. */
  async finish(milliseconds: number): Promise<void> {
    this.#finishing = true
    this.#hurry.abort()
    this.nudge()
    const stop = setTimeout(() => this.#stop.abort(), milliseconds)
    try {
      await this.#running
    } finally {
      clearTimeout(stop)
    }
  }

  /**
   * Settles once all that is sealed by now is there. What waiting does not mend, or has not in this time, is an error.
   * @throws SyncFailed
   */
  async caughtUp(milliseconds: number): Promise<void> {
    const waiter: Waiter = { after: this.#passes, settle: () => undefined, failure: null }
    const settled = new Promise<Error | null>(resolve => (waiter.settle = resolve))
    this.#waiters.push(waiter)
    const timer = setTimeout(
      () => waiter.settle(waiter.failure ?? new SyncFailed('unreachable', 'it takes too long')),
      milliseconds,
    )
    this.#hurry.abort()
    this.nudge()
    const failed = await settled
    clearTimeout(timer)
    this.#waiters = this.#waiters.filter(each => each !== waiter)
    if (failed !== null) throw failed
  }

  #tellWaiters(pass: number, error: unknown): void {
    for (const waiter of this.#waiters) {
      if (waiter.after >= pass) continue // what it waits for may have come after this one began
      if (error === null) waiter.settle(null)
      else if (!(error instanceof SyncFailed)) waiter.settle(error instanceof Error ? error : new Error('unknown'))
      else if (error.kind === 'unreachable') waiter.failure = error
      else waiter.settle(error)
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    let wait = firstRetryMilliseconds
    while (this.#again && !signal.aborted) {
      this.#again = false
      this.#passes += 1
      const pass = this.#passes
      try {
        await syncSession(this.#folder, await this.#target, signal)
        this.#tellWaiters(pass, null)
        if (this.#warned !== null) this.#onWarning('recordings can be uploaded again')
        this.#warned = null
        wait = firstRetryMilliseconds
      } catch (error) {
        this.#again = true
        await this.#warn(error)
        this.#tellWaiters(pass, error)
        // What waiting does not mend is not waited for at the end.
        if (this.#finishing && !(error instanceof SyncFailed && error.kind === 'unreachable')) {
          this.#gaveUp = true
          return
        }
        // At random, so that many that were refused at once do not all come back at once.
        this.#hurry = new AbortController()
        const until = AbortSignal.any([signal, this.#hurry.signal])
        const pause = this.#waiters.length > 0 ? Math.min(wait, firstRetryMilliseconds) : wait
        await delay(pause * (0.5 + Math.random() / 2), undefined, { signal: until, ref: false }).catch(() => undefined)
        wait = Math.min(wait * 2, lastRetryMilliseconds)
      }
    }
  }

  async #warn(error: unknown): Promise<void> {
    if (this.#stop.signal.aborted && !(error instanceof SyncFailed)) return
    const text = failureText(error)
    if (text === this.#warned) return
    this.#warned = text
    await noteFailure(this.#folder, text).catch(() => undefined) // the warning is what counts
    this.#onWarning(`the recording is not uploaded: ${text}; it stays here and is tried again`)
  }
}
