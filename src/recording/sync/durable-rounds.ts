/**
 * Brings what has been appended to where it is durable, for all who wait at once: who comes while a round is under way is
 * served by the next one, which begins when that is over.
 */
export class DurableRounds {
  readonly #round: () => Promise<void>
  #running: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null

  constructor(round: () => Promise<void>) {
    this.#round = round
  }

  /** @throws what the round failed with */
  async reached(): Promise<void> {
    this.#next ??= this.#running.then(async () => {
      this.#next = null
      const round = this.#round()
      this.#running = round.catch(() => undefined) // whoever waits for it is told
      await round
    })
    await this.#next
  }
}
