/** Waits between the events of a replay, while someone pauses it, hurries it or skips. */
export class Pacer {
  #speed: number
  readonly #maxIdleMs: number
  #paused = false
  #stopped = false
  /** Of the wait that is under way: how much of it, at normal speed, is left. */
  #leftMs = 0
  #since = 0
  #timer: NodeJS.Timeout | undefined
  #wake: (() => void) | undefined

  constructor(speed: number, maxIdleMs: number) {
    this.#speed = speed
    this.#maxIdleMs = maxIdleMs
  }

  get speed(): number {
    return this.#speed
  }

  get paused(): boolean {
    return this.#paused
  }

  get stopped(): boolean {
    return this.#stopped
  }

  /** Resolves once so much recorded time has passed; at once where the clock went backwards. */
  async wait(milliseconds: number): Promise<void> {
    // Idle time is cut after it has been made shorter by the speed: nobody waits longer than they said.
    this.#leftMs = Math.min(milliseconds, this.#maxIdleMs * this.#speed)
    if (this.#stopped || (this.#leftMs <= 0 && !this.#paused)) return
    await new Promise<void>(resolve => {
      this.#wake = resolve
      this.#run()
    })
  }

  togglePause(): void {
    if (!this.#paused) this.#settle()
    this.#paused = !this.#paused
    this.#run()
  }

  changeSpeed(factor: number): void {
    this.#settle()
    this.#speed = Math.min(1000, Math.max(1 / 16, this.#speed * factor))
    this.#run()
  }

  /** On to the next event, also while it is paused. */
  skip(): void {
    this.#finish()
  }

  stop(): void {
    this.#stopped = true
    this.#finish()
  }

  #run(): void {
    clearTimeout(this.#timer)
    if (this.#wake === undefined || this.#paused) return
    this.#since = performance.now()
    this.#timer = setTimeout(() => this.#finish(), Math.max(0, this.#leftMs / this.#speed))
  }

  /** Takes what has passed off what is left. */
  #settle(): void {
    if (this.#wake === undefined || this.#paused) return
    const now = performance.now()
    this.#leftMs -= (now - this.#since) * this.#speed
    this.#since = now
  }

  #finish(): void {
    clearTimeout(this.#timer)
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}
