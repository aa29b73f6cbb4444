import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TerminalSize } from './pseudo-terminal.ts'

export interface PersonStreams {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

const suspendMs = 100

/** The terminal that agentgate was started at, lent to a child: raw while it runs, as it was at every end. */
export class PersonTerminal {
  /** As `stty -g` prints them, to give the child's terminal the same; empty where stdin is none. */
  readonly settings: string
  #saved: string
  readonly #streams: PersonStreams
  readonly #screen: NodeJS.WriteStream
  #onInput: ((bytes: Buffer) => void) | undefined
  #onResize: (() => void) | undefined
  #raw = false
  readonly #restore = () => this.#setRaw(false)
  readonly #continued = () => {
    // Stopped from outside and continued: the shell has set its own modes meanwhile.
    if (this.#onInput === undefined) return
    this.#setRaw(false)
    this.#setRaw(true)
    this.#onResize?.()
  }

  constructor(streams: PersonStreams) {
    this.#streams = streams
    this.#screen = streams.stdout.isTTY ? streams.stdout : streams.stderr
    this.#saved = streams.stdin.isTTY ? stty('-g') : ''
    this.settings = this.#saved
  }

  get size(): TerminalSize {
    const { columns, rows } = this.#screen
    // 0 where nobody has said: a serial line, a pseudo-terminal without a window.
    return { columns: columns > 0 ? columns : 80, rows: rows > 0 ? rows : 24 }
  }

  enter(events: { readonly onInput: (bytes: Buffer) => void; readonly onResize: () => void }): void {
    const { stdin } = this.#streams
    this.#onInput = events.onInput
    this.#onResize = events.onResize
    this.#screen.on('resize', events.onResize)
    this.#screen.on('error', () => undefined) // the terminal went away; SIGHUP says so
    process.on('exit', this.#restore)
    process.on('SIGCONT', this.#continued)
    if (!stdin.isTTY) return
    this.#setRaw(true)
    stdin.on('data', events.onInput)
    stdin.on('error', () => undefined)
    stdin.resume()
  }

  show(bytes: Buffer): void | Promise<void> {
    if (!this.#screen.isTTY) return
    if (this.#screen.write(bytes)) return
    return new Promise(resolve => this.#screen.once('drain', () => resolve()))
  }

  pause(): void {
    this.#streams.stdin.pause()
  }

  resume(): void {
    if (this.#onInput !== undefined && this.#streams.stdin.isTTY) this.#streams.stdin.resume()
  }

  /** A bell, and a message that terminals show as their own (OSC 9); others ignore it. */
  notify(text: string): void {
    if (!this.#screen.isTTY) return
    // Nothing in the text may end or start a sequence.
    const plain = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ')
    this.#screen.write(`\u0007\u001b]9;${plain}\u0007`)
  }

  /** Stops this process and its job, as Ctrl-Z does, and settles when it goes on (at once where nobody can resume it). */
  async suspend(): Promise<void> {
    this.#setRaw(false)
    this.#streams.stdin.pause()
    process.off('SIGCONT', this.#continued)
    const continued = new Promise<void>(resolve => process.once('SIGCONT', () => resolve()))
    process.kill(0, 'SIGTSTP')
    // Timers stand still while stopped. In an orphaned process group the signal does nothing, and this goes on.
    await Promise.race([continued, sleep(suspendMs)])
    process.on('SIGCONT', this.#continued)
    if (this.#onInput === undefined || !this.#streams.stdin.isTTY) return
    this.#setRaw(true)
    this.#streams.stdin.resume()
  }

  /** `last` is written first: what undoes the modes that a killed child left. */
  leave(last: string): void {
    const { stdin } = this.#streams
    if (this.#onInput !== undefined) stdin.off('data', this.#onInput)
    if (this.#onResize !== undefined) this.#screen.off('resize', this.#onResize)
    this.#onInput = undefined
    this.#onResize = undefined
    process.off('SIGCONT', this.#continued)
    if (last !== '' && this.#screen.isTTY) this.#screen.write(last)
    this.#setRaw(false)
    process.off('exit', this.#restore)
    stdin.pause()
  }

  // By stty(1): node's raw mode keeps the translation of line ends, and the child's terminal has translated them already.
  #setRaw(raw: boolean): void {
    const { stdin } = this.#streams
    if (!stdin.isTTY || this.#raw === raw) return
    this.#raw = raw
    if (this.#saved === '') {
      stdin.setRawMode(raw)
      return
    }
    if (raw) this.#saved = stty('-g') || this.#saved
    stty(...(raw ? ['raw', '-echo'] : [this.#saved]))
  }
}

/** What stty prints for this process's terminal; empty where it fails (no such program, the terminal is gone). */
function stty(...args: readonly string[]): string {
  const asked = spawnSync('stty', args, { stdio: ['inherit', 'pipe', 'ignore'], encoding: 'utf8' })
  return asked.status === 0 ? asked.stdout.trim() : ''
}
