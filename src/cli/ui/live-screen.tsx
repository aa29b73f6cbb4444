import { useEffect, useState, useSyncExternalStore } from 'react'
import chalk from 'chalk'
import { render, Text, useStdout, type Instance } from 'ink'
import type { Arming } from './arming.ts'
import type { Key } from './keys.ts'
import { Keyboard } from './terminal.ts'

/** What a live screen draws under the lines it has printed. */
export interface LiveView {
  subscribe(watcher: () => void): () => void
  /** Grows with every change. */
  snapshot(): number
  /** At most `height` lines of at most `width` columns. */
  frame(size: { readonly width: number; readonly height: number }, now: Date): readonly string[]
  /** The frame is on its way to the terminal. */
  drawn(): void
  press(key: Key): void
  /** The terminal is gone. */
  closed(): void
  /** Changes with what keys would answer. */
  readonly question: number
  readonly arming: Arming
}

interface Streams {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
}

// Ink draws at most this often, once at once and once at the end: after two such spans, what was rendered was written.
const frameMs = 34

/** Prints lines that stay, over a frame that is drawn anew. Owns the terminal from `start` to `stop`. */
export class LiveScreen {
  readonly #streams: Streams
  readonly #view: LiveView
  readonly #keyboard: Keyboard
  #instance: Instance | undefined
  #write: ((text: string) => void) | undefined
  #backlog: string[] = []

  constructor(streams: Streams, view: LiveView, colour: boolean) {
    this.#streams = streams
    this.#view = view
    if (!colour) chalk.level = 0
    this.#keyboard = new Keyboard(
      streams,
      key => view.press(key),
      () => view.closed(),
    )
  }

  start(): void {
    if (this.#instance !== undefined) return
    // What was printed before stands above the first frame.
    if (this.#backlog.length > 0) this.#streams.stdout.write(this.#backlog.splice(0).join(''))
    const attach = (write: (text: string) => void) => {
      this.#write = write
      this.#flush()
    }
    this.#instance = render(<Frame view={this.#view} stdout={this.#streams.stdout} attach={attach} />, {
      stdin: this.#streams.stdin,
      stdout: this.#streams.stdout,
      exitOnCtrlC: false,
      patchConsole: false,
    })
    this.#keyboard.start()
  }

  /** Lines that stay, each at most one row. They go straight to the terminal: nothing of them is kept. */
  print(lines: readonly string[]): void {
    if (lines.length === 0) return
    this.#backlog.push(`${lines.join('\n')}\n`)
    this.#flush()
  }

  /** Rings the terminal's bell: most make of it a mark on the window that wants attention. */
  ring(): void {
    this.#streams.stdout.write('\u0007')
  }

  /** Something to the terminal itself, such as what belongs on its clipboard. */
  send(sequence: string): void {
    this.#streams.stdout.write(sequence)
  }

  /** Gives the terminal to `work`, such as an editor, and takes it back. */
  async lend<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.stop()
    try {
      return await work()
    } finally {
      this.start()
    }
  }

  async stop(): Promise<void> {
    const instance = this.#instance
    if (instance === undefined) return
    this.#instance = undefined
    this.#write = undefined
    this.#keyboard.stop()
    const exited = instance.waitUntilExit()
    instance.clear()
    instance.unmount()
    await exited
    if (this.#backlog.length > 0) this.#streams.stdout.write(this.#backlog.splice(0).join(''))
  }

  #flush(): void {
    if (this.#write !== undefined && this.#backlog.length > 0) this.#write(this.#backlog.splice(0).join(''))
  }
}

/** The frame: a list of lines, drawn anew with every change and second. */
export function Frame({
  view,
  stdout,
  attach,
}: {
  readonly view: LiveView
  readonly stdout: Pick<NodeJS.WriteStream, 'columns' | 'rows' | 'on' | 'off' | 'write'>
  readonly attach: (write: (text: string) => void) => void
}) {
  useSyncExternalStore(
    watcher => view.subscribe(watcher),
    () => view.snapshot(),
  )
  const [, redraw] = useState(0)
  const { write } = useStdout()
  useEffect(() => attach(write), [attach, write])
  useEffect(() => {
    const again = () => redraw(count => count + 1)
    const second = setInterval(again, 1000)
    stdout.on('resize', again)
    return () => {
      clearInterval(second)
      stdout.off('resize', again)
    }
  }, [stdout])
  const { question, arming } = view
  useEffect(() => {
    const drawn = arming.ask()
    let lit: NodeJS.Timeout | undefined
    const timer = setTimeout(() => {
      // Its callback comes once the terminal has taken all that was written before.
      stdout.write('', () => {
        drawn()
        lit = setTimeout(() => redraw(count => count + 1), 520)
      })
    }, frameMs * 3)
    return () => {
      clearTimeout(timer)
      clearTimeout(lit)
    }
  }, [question, arming, stdout])
  useEffect(() => view.drawn())
  // Less than the whole screen: ink would clear it, and what was printed with it. The last column stays free, as some
  // terminals wrap when it is written.
  const size = { width: Math.max(20, stdout.columns - 1), height: Math.max(4, stdout.rows - 2) }
  return <Text wrap="truncate">{view.frame(size, new Date()).slice(-size.height).join('\n')}</Text>
}
