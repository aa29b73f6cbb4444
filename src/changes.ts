/** Something that changes now and then, and whoever waits for that. */
export class Changes {
  readonly #watchers = new Set<() => void>()

  /** Settles with the next change, or when `signal` aborts. */
  async next(signal: AbortSignal): Promise<void> {
    await new Promise<void>(resolve => {
      const done = () => {
        this.#watchers.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      this.#watchers.add(done)
      signal.addEventListener('abort', done, { once: true })
      if (signal.aborted) done()
    })
  }

  tell(): void {
    for (const watcher of [...this.#watchers]) watcher()
  }
}
