/** What a suite has opened, closed in the reverse order also where its set-up failed half-way. */
export class Owned {
  readonly #opened: AsyncDisposable[] = []

  add<T extends AsyncDisposable>(opened: T): T {
    this.#opened.push(opened)
    return opened
  }

  async close(): Promise<void> {
    for (const each of this.#opened.splice(0).reverse()) await each[Symbol.asyncDispose]()
  }
}
