/** Values by text, as many as fit: the one set longest ago goes first. */
export class Recent<Value> {
  readonly #most: number
  readonly #mostBytes: number
  readonly #values = new Map<string, Value>()
  #bytes = 0

  /** @param mostBytes of the texts themselves; one of a sixteenth of that is not kept. */
  constructor(most: number, mostBytes: number) {
    this.#most = most
    this.#mostBytes = mostBytes
  }

  get(text: string): Value | undefined {
    return this.#values.get(text)
  }

  set(text: string, value: Value): void {
    if (text.length >= this.#mostBytes / 16) return
    if (!this.#values.has(text)) this.#bytes += text.length
    this.#values.set(text, value)
    for (const [oldest] of this.#values) {
      if (this.#values.size <= this.#most && this.#bytes <= this.#mostBytes) break
      this.#values.delete(oldest)
      this.#bytes -= oldest.length
    }
  }
}
