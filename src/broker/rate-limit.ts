/** So many at once, and so many a second after that, for each key: a token bucket. */
export class RateLimit {
  readonly #perSecond: number
  readonly #burst: number
  readonly #now: () => number
  readonly #buckets = new Map<string, { left: number; atMs: number }>()

  /** @param now milliseconds of a clock that only goes forward */
  constructor(perSecond: number, burst: number, now: () => number = () => performance.now()) {
    this.#perSecond = perSecond
    this.#burst = burst
    this.#now = now
  }

  /** Takes one. The seconds until there is another, where there is none; undefined: it was taken. */
  take(key: string): number | undefined {
    const bucket = this.#bucket(key)
    if (bucket.left < 1) return Math.max(1, Math.ceil((1 - bucket.left) / this.#perSecond))
    bucket.left -= 1
    return undefined
  }

  /** Whether one is left, without taking it. */
  has(key: string): boolean {
    return this.#bucket(key).left >= 1
  }

  #bucket(key: string): { left: number; atMs: number } {
    const now = this.#now()
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      this.#forgetFull(now)
      this.#buckets.set(key, (bucket = { left: this.#burst, atMs: now }))
      return bucket
    }
    bucket.left = Math.min(this.#burst, bucket.left + ((now - bucket.atMs) / 1000) * this.#perSecond)
    bucket.atMs = now
    return bucket
  }

  /** Whoever has not asked for so long that all is theirs again is as good as never seen. */
  #forgetFull(now: number): void {
    if (this.#buckets.size < 10_000) return
    for (const [key, { left, atMs }] of this.#buckets)
      if (left + ((now - atMs) / 1000) * this.#perSecond >= this.#burst) this.#buckets.delete(key)
  }
}
