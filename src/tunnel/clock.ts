import { performance } from 'node:perf_hooks'

/** Both clocks of this machine, in milliseconds: the wall's may jump, the monotonic one stands still in sleep. */
export interface Clock {
  wall(): number
  monotonic(): number
}

export const systemClock: Clock = { wall: () => Date.now(), monotonic: () => performance.now() }

/** A point in time that has passed as soon as either clock says so: setting the wall clock back gains nothing. */
export class Deadline {
  readonly wallMs: number
  readonly #clock: Clock
  readonly #monotonicMs: number

  constructor(clock: Clock, seconds: number) {
    this.#clock = clock
    this.wallMs = clock.wall() + seconds * 1000
    this.#monotonicMs = clock.monotonic() + seconds * 1000
  }

  get passed(): boolean {
    return this.#clock.wall() >= this.wallMs || this.#clock.monotonic() >= this.#monotonicMs
  }

  /** By the monotonic clock alone. */
  get passedSteadily(): boolean {
    return this.#clock.monotonic() >= this.#monotonicMs
  }

  /** Milliseconds left by whichever clock is ahead; never negative. */
  get leftMs(): number {
    return Math.max(0, Math.min(this.wallMs - this.#clock.wall(), this.#monotonicMs - this.#clock.monotonic()))
  }

  get date(): Date {
    return new Date(this.wallMs)
  }
}

let shownAt = Number.NaN
let shown = ''

/** Unix milliseconds as RFC 3339 in UTC, made once for all that happens in one of them. */
export function timestamp(at: number): string {
  if (at !== shownAt) {
    shown = new Date(at).toISOString()
    shownAt = at
  }
  return shown
}
