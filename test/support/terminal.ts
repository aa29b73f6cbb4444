import { setTimeout as sleep } from 'node:timers/promises'
import pty from '@lydell/node-pty'

export interface TerminalOptions {
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly columns?: number
  readonly rows?: number
}

/** A program at a real pseudo-terminal, as a person would sit in front of it. */
export class Terminal {
  readonly #pty: pty.IPty
  #shown = ''
  #code: number | undefined

  constructor(file: string, args: readonly string[], options: TerminalOptions) {
    this.#pty = pty.spawn(file, [...args], {
      name: 'xterm-256color',
      cols: options.columns ?? 100,
      rows: options.rows ?? 30,
      cwd: options.cwd,
      env: { ...options.env },
    })
    this.#pty.onData(text => (this.#shown += text))
    this.#pty.onExit(
      ({ exitCode, signal }) => (this.#code = signal === undefined || signal === 0 ? exitCode : 128 + signal),
    )
  }

  get pid(): number {
    return this.#pty.pid
  }

  /** All that was written so far, escape sequences and all. */
  get shown(): string {
    return this.#shown
  }

  type(text: string): void {
    this.#pty.write(text)
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows)
  }

  /** Waits until something matches in what was shown after `from` (a position in `shown`). */
  async shows(pattern: RegExp | string, from = 0, deadlineMs = 20_000): Promise<void> {
    const matches = () =>
      typeof pattern === 'string' ? this.#shown.includes(pattern, from) : pattern.test(this.#shown.slice(from))
    const failed = (why: string) =>
      new Error(
        `${why} before the terminal showed ${String(pattern)}: ${JSON.stringify(this.#shown.slice(from).slice(-1500))}`,
      )
    const deadline = performance.now() + deadlineMs
    while (!matches()) {
      if (this.#code !== undefined && !matches()) throw failed(`the program ended with ${this.#code}`)
      if (performance.now() > deadline) throw failed(`${deadlineMs} ms went by`)
      await sleep(5)
    }
  }

  async ends(deadlineMs = 20_000): Promise<number> {
    const deadline = performance.now() + deadlineMs
    while (this.#code === undefined) {
      if (performance.now() > deadline) throw new Error(`still running: ${JSON.stringify(this.#shown.slice(-1500))}`)
      await sleep(5)
    }
    return this.#code
  }

  close(): void {
    if (this.#code === undefined) this.#pty.kill('SIGKILL')
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
