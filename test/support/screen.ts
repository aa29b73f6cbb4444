import { setTimeout as sleep } from 'node:timers/promises'
import xterm from '@xterm/headless'
import type { IPty } from '@lydell/node-pty'
import type { Need } from './needs.ts'

const pty = await import('@lydell/node-pty').catch(() => undefined)

export const pseudoTerminal: Need = {
  name: 'pseudo-terminals',
  missing: pty === undefined ? 'npm ci --include=optional' : undefined,
}

interface ScreenOptions {
  readonly columns?: number
  readonly rows?: number
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A program at a real pseudo-terminal, and what its screen shows. */
export class Screen {
  readonly #pty: IPty
  readonly #screen: xterm.Terminal
  #exit: { readonly code: number; readonly signal: number | undefined } | undefined
  /** Everything that was written, sequences included. */
  raw = ''

  constructor(command: string, args: readonly string[], options: ScreenOptions = {}) {
    if (pty === undefined) throw new Error('no pseudo-terminals here')
    const { columns = 110, rows = 30 } = options
    this.#screen = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true, scrollback: 5000 })
    this.#pty = pty.spawn(command, [...args], {
      name: 'xterm-256color',
      cols: columns,
      rows,
      cwd: options.cwd ?? process.cwd(),
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LANG: 'C.UTF-8', TERM: 'xterm-256color', ...options.env },
    })
    // What the terminal answers to queries goes back to the program, as it would.
    this.#screen.onData(data => this.#pty.write(data))
    this.#pty.onData(data => {
      this.raw += data
      this.#screen.write(data)
    })
    this.#pty.onExit(({ exitCode, signal }) => (this.#exit = { code: exitCode, signal }))
  }

  get pid(): number {
    return this.#pty.pid
  }

  /** The screen as it is now, without blank lines at the end. */
  lines(): string[] {
    const { active } = this.#screen.buffer
    const lines: string[] = []
    for (let row = 0; row < this.#screen.rows; row++)
      lines.push(active.getLine(active.viewportY + row)?.translateToString(true) ?? '')
    while (lines.at(-1) === '') lines.pop()
    return lines
  }

  /** What scrolled off included. */
  history(): string[] {
    const { active } = this.#screen.buffer
    const lines: string[] = []
    for (let row = 0; row < active.length; row++) lines.push(active.getLine(row)?.translateToString(true) ?? '')
    while (lines.at(-1) === '') lines.pop()
    return lines
  }

  text(): string {
    return this.lines().join('\n')
  }

  send(...keys: readonly string[]): void {
    for (const key of keys) this.#pty.write(key)
  }

  /** Keys one by one, as a person presses them. */
  async type(text: string, eachMs = 15): Promise<void> {
    for (const key of text) {
      this.#pty.write(key)
      await sleep(eachMs)
    }
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows)
    this.#screen.resize(columns, rows)
  }

  /** Waits until the screen shows it. */
  async shows(what: RegExp | ((text: string) => boolean), deadlineMs = 20_000): Promise<string> {
    const deadline = performance.now() + deadlineMs
    for (;;) {
      const text = this.text()
      if (typeof what === 'function' ? what(text) : what.test(text)) return text
      if (performance.now() > deadline || this.#exit !== undefined) {
        await sleep(100) // the last bytes may still be on their way
        const last = this.text()
        if (typeof what === 'function' ? what(last) : what.test(last)) return last
        throw new Error(`the screen never showed ${String(what)}; it shows:\n${last}`)
      }
      await sleep(10)
    }
  }

  /** Waits until the screen shows a text in bold: how a screen says that a key counts now. */
  async showsBold(text: string, deadlineMs = 20_000): Promise<void> {
    await this.shows(() => this.#isBold(text), deadlineMs)
  }

  #isBold(text: string): boolean {
    const { active } = this.#screen.buffer
    for (let row = 0; row < this.#screen.rows; row++) {
      const line = active.getLine(active.viewportY + row)
      const column = line?.translateToString(true).indexOf(text) ?? -1
      if (line !== undefined && column !== -1) return line.getCell(column)?.isBold() !== 0
    }
    return false
  }

  async exited(deadlineMs = 15_000): Promise<number> {
    const deadline = performance.now() + deadlineMs
    while (this.#exit === undefined) {
      if (performance.now() > deadline) throw new Error(`it does not end; the screen shows:\n${this.text()}`)
      await sleep(10)
    }
    await sleep(50) // what it wrote last
    return this.#exit.signal !== undefined && this.#exit.signal > 0 ? 128 + this.#exit.signal : this.#exit.code
  }

  [Symbol.dispose](): void {
    if (this.#exit === undefined)
      try {
        this.#pty.kill('SIGKILL')
      } catch {
        // it ended meanwhile
      }
    this.#screen.dispose()
  }
}

export const keys = {
  enter: '\r',
  escape: '\u001b',
  up: '\u001b[A',
  down: '\u001b[B',
  left: '\u001b[D',
  right: '\u001b[C',
  end: '\u001b[F',
  pageDown: '\u001b[6~',
  backspace: '\u007f',
  control: (letter: string) => String.fromCharCode(letter.charCodeAt(0) - 96),
  paste: (text: string) => `\u001b[200~${text}\u001b[201~`,
} as const
