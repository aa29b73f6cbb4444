import { StringDecoder } from 'node:string_decoder'
import { KeyReader, type Key } from './keys.ts'

/** A lone escape is the key if nothing follows it for so long; over a slow line its sequence comes in pieces. */
const escapeMs = 50
/** A paste whose end does not come, as a terminal may lose it. */
const pasteMs = 1000

const bracketedPaste = { on: '\u001b[?2004h', off: '\u001b[?2004l' }

/** The terminal's keyboard in raw mode. Whoever starts it stops it: the shell behind would be left without echo. */
export class Keyboard {
  readonly #stdin: NodeJS.ReadStream
  readonly #stdout: NodeJS.WriteStream
  readonly #onKey: (key: Key) => void
  readonly #onEnd: () => void
  #reader = new KeyReader()
  #decoder = new StringDecoder('utf8')
  #timer: NodeJS.Timeout | undefined
  #running = false

  constructor(
    streams: { readonly stdin: NodeJS.ReadStream; readonly stdout: NodeJS.WriteStream },
    onKey: (key: Key) => void,
    onEnd: () => void,
  ) {
    this.#stdin = streams.stdin
    this.#stdout = streams.stdout
    this.#onKey = onKey
    this.#onEnd = onEnd
  }

  start(): void {
    if (this.#running) return
    this.#running = true
    this.#reader = new KeyReader()
    this.#decoder = new StringDecoder('utf8')
    this.#stdin.setRawMode(true)
    this.#stdin.on('data', this.#read)
    this.#stdin.on('end', this.#onEnd)
    this.#stdin.on('error', this.#onEnd)
    this.#stdin.ref()
    this.#stdin.resume()
    this.#stdout.write(bracketedPaste.on)
  }

  /** Gives the terminal back, to a shell or an editor. */
  stop(): void {
    if (!this.#running) return
    this.#running = false
    clearTimeout(this.#timer)
    this.#stdin.off('data', this.#read)
    this.#stdin.off('end', this.#onEnd)
    this.#stdin.pause()
    this.#stdin.setRawMode(false)
    this.#stdin.unref()
    this.#stdout.write(bracketedPaste.off)
  }

  readonly #read = (chunk: Buffer | string): void => {
    clearTimeout(this.#timer)
    this.#emit(this.#reader.push(typeof chunk === 'string' ? chunk : this.#decoder.write(chunk)))
    const { pending } = this.#reader
    if (pending !== 'nothing')
      this.#timer = setTimeout(() => this.#emit(this.#reader.flush()), pending === 'paste' ? pasteMs : escapeMs)
  }

  #emit(keys: readonly Key[]): void {
    for (const key of keys) {
      if (!this.#running) return // an earlier key ended it: the rest was not meant for what comes now
      this.#onKey(key)
    }
  }
}
