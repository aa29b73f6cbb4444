/** Lines that come within so long of each other are written at once: a write for each would cost the tunnel's thread more. */
const gatherMs = 10
const gatherLength = 1 << 16

/** Writes lines to a stream in few writes, in order. */
export class LineWriter {
  readonly #stream: NodeJS.WritableStream
  #gathered = ''
  #timer: NodeJS.Timeout | undefined
  #drained: Promise<void> | undefined

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream
  }

  /** A promise where the reader is behind: wait for it before writing more. `now`: somebody waits for this line. */
  write(line: string, now: boolean): void | Promise<void> {
    this.#gathered += `${line}\n`
    if (now || this.#gathered.length >= gatherLength) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), gatherMs)
    return this.#drained
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#gathered === '') return
    const text = this.#gathered
    this.#gathered = ''
    if (this.#stream.write(text) || this.#drained !== undefined) return
    this.#drained = new Promise<void>(resolve => {
      const done = () => {
        for (const event of ['drain', 'close', 'error']) this.#stream.off(event, done)
        this.#drained = undefined
        resolve()
      }
      for (const event of ['drain', 'close', 'error']) this.#stream.on(event, done)
    })
  }
}
