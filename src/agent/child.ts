import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { constants } from 'node:os'
import { z } from 'zod'
import { AgentgateError } from '../errors.ts'
import { parseJson } from '../json-body.ts'
import { firstProcess } from './first-process.ts'
import { endAll, descendants, foregroundGroup, sendSignal, strays } from './process-tree.ts'
import { PersonTerminal } from './person-terminal.ts'
import { PseudoTerminal, type TerminalSize } from './pseudo-terminal.ts'
import { ScreenState } from './screen-state.ts'

/** Something to start a child in; src/agent/confinement/ makes one. */
export interface Enclosure {
  readonly file: string
  /** Everything before the first process's own words. `stays`: the first process outlives the start and reaps. */
  wrapping(stays: boolean): { readonly args: readonly string[]; readonly feed: ReadonlyMap<4 | 5, Buffer> }
}

/** A program that runs inside before the child does, with node's IPC channel to here: the first of these that can. */
export interface Helper {
  /** Run as `FILE -e SOURCE`; one that ends with 111 has done nothing, and the next is asked. */
  readonly programs: readonly { readonly file: string; readonly source: string }[]
  attach(process: ChildProcess): void
}

export interface ChildOptions {
  /** An absolute path. */
  readonly file: string
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  readonly workingFolder: string
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  readonly enclosure: Enclosure | null
  readonly helper: Helper | null
  /** What the child's terminal shows, and its size as `80x24`; for the record. */
  readonly onTerminal: (direction: 'output' | 'resize', bytes: Buffer) => void
}

export interface ChildEnd {
  /** The child's own code; 128 and the signal's number where one ended it. */
  readonly code: number
  /** Where no child ever ran: why. */
  readonly failure: AgentgateError | undefined
}

const confinedStatus = z.object({ 'child-pid': z.number().int().positive() })
const maxComplaintBytes = 4096
const quietMs = 200

/**
 * A command with its terminal, its signals and its end. Started, it waits; `release` lets it go. Whoever started it calls
 * `end` or awaits `finished`; both leave the person's terminal as it was.
 */
export class Child {
  readonly finished: Promise<ChildEnd>
  /** Settles when the first process waits for `release`; it or `finished`, whichever comes first. */
  readonly waiting: Promise<void>
  readonly #options: ChildOptions
  readonly #process: ChildProcess
  readonly #control: Duplex
  readonly #pty: PseudoTerminal | undefined
  readonly #person: PersonTerminal | undefined
  readonly #screen = new ScreenState()
  #first: number | undefined
  #started = false
  #missing = false
  #ended = false
  #forced = false
  #complaint = ''
  #nowWaiting: () => void = () => undefined
  readonly #known: Promise<void>
  #nowKnown: () => void = () => undefined
  #mark = ''
  #ending: Promise<ChildEnd> | undefined
  #chunks = 0
  #showing = false

  /** @throws AgentgateError NOT_STARTED */
  static start(options: ChildOptions): Child {
    return new Child(options)
  }

  private constructor(options: ChildOptions) {
    this.#options = options
    const { stdin, stdout, stderr, enclosure, helper } = options
    const atTerminal = [stdin, stdout, stderr].map(stream => stream.isTTY)
    // What is a terminal is replaced by one of the child's own: it could read what is typed to others, or type itself.
    if (atTerminal.includes(true)) {
      this.#person = new PersonTerminal({ stdin, stdout, stderr })
      this.#pty = PseudoTerminal.open(this.#person.size)
    }
    this.waiting = new Promise(resolve => (this.#nowWaiting = resolve))
    this.#known = new Promise(resolve => (this.#nowKnown = resolve))
    const stays = this.#pty !== undefined
    const wrapped = enclosure?.wrapping(stays)
    const shell = [
      '/bin/sh',
      ['-c', firstProcess, 'sh'],
      this.#terminalPath(atTerminal),
      this.#person?.settings ?? '',
      stays ? 'stay' : '',
      String(helper?.programs.length ?? 0),
      ...(helper?.programs ?? []).flatMap(({ file, source }) => [file, source]),
      options.file,
      ...options.args,
    ].flat()
    const [file = '', ...args] = wrapped === undefined ? shell : [enclosure?.file ?? '', ...wrapped.args, ...shell]
    this.#process = this.#spawn(file, args, atTerminal, wrapped?.feed ?? new Map<4 | 5, Buffer>())
    this.#pty?.releaseSlave()
    if (enclosure === null) {
      this.#first = this.#process.pid
      this.#nowKnown()
    }
    this.#control = pipeAt(this.#process, 7)
    helper?.attach(this.#process)
    this.finished = this.#run()
  }

  /** Of the first process, as seen from here: the root of everything that the child starts. */
  get firstPid(): number | undefined {
    return this.#first
  }

  /**
   * Lets the child run, with these lines `NAME=value` added to its environment, and gives it the person's terminal. `mark`
   * is one of them, found in every process of an unconfined child.
   */
  release(environment: readonly string[], mark: string): void {
    this.#mark = mark
    this.#lendTerminal()
    for (const line of environment) this.#control.write(`${line}\n`)
    this.#control.write('.\n')
  }

  /** As if it were sent to the child from its terminal: to all in the foreground, or to the whole group. */
  signal(signal: NodeJS.Signals): void {
    if (this.#first === undefined || this.#ended) return
    const group = this.#pty === undefined ? this.#first : foregroundGroup(this.#first)
    if (group !== undefined) sendSignal(-group, signal)
  }

  /** Ends everything that the child is and started: TERM, then KILL after `graceMs`. */
  async end(graceMs: number): Promise<ChildEnd> {
    this.#ending ??= this.#endOnce(graceMs)
    return await this.#ending
  }

  async #endOnce(graceMs: number): Promise<ChildEnd> {
    this.#forced = true
    // Killed before its first process is known, bubblewrap would leave that one behind, waiting for ever.
    await Promise.race([this.#known, this.finished])
    const first = this.#first
    if (first !== undefined && !this.#ended) {
      await endAll(() => this.#tree(first), this.#started ? graceMs : 0)
      // In a PID namespace this ends whatever is left in the same moment (pid_namespaces(7)).
      sendSignal(first, 'SIGKILL')
    }
    return await this.finished
  }

  /** Draws attention in the person's terminal without touching what is drawn there; nothing where there is none. */
  notify(text: string): void {
    if (this.#ended || !this.#screen.between) return
    this.#person?.notify(text)
  }

  #tree(first: number): readonly number[] {
    if (this.#options.enclosure !== null) return descendants(first)
    // At a terminal the first process only waits for the others.
    const alone = this.#pty === undefined && !this.#ended
    return [...strays(first, this.#mark), ...(alone ? [first] : [])]
  }

  #terminalPath(atTerminal: readonly boolean[]): string {
    if (this.#pty === undefined) return ''
    // Inside, the terminal's own name means nothing: the descriptor is opened again.
    return this.#options.enclosure === null
      ? this.#pty.path
      : `/proc/self/fd/${atTerminal[0] === true ? 0 : atTerminal[1] === true ? 1 : 8}`
  }

  #spawn(
    file: string,
    args: readonly string[],
    atTerminal: readonly boolean[],
    feed: ReadonlyMap<4 | 5, Buffer>,
  ): ChildProcess {
    const { environment, workingFolder, enclosure, helper } = this.#options
    const pty = this.#pty
    const end = (descriptor: 0 | 1 | 2) =>
      atTerminal[descriptor] === true && pty !== undefined ? pty.slave : descriptor
    type Place = number | 'pipe' | 'ignore' | 'ipc'
    const stdio: Place[] = [
      end(0),
      end(1),
      'pipe',
      helper === null ? 'ignore' : 'ipc',
      feed.has(4) ? 'pipe' : 'ignore',
      feed.has(5) ? 'pipe' : 'ignore',
      enclosure === null ? 'ignore' : 'pipe',
      'pipe',
      end(2),
    ]
    // openpty(3) makes descriptors that a child inherits; the master must not be among them.
    const nothing = openSync('/dev/null', 'r+')
    try {
      for (const leaking of pty === undefined ? [] : [pty.master, pty.slave]) {
        while (stdio.length <= leaking) stdio.push('ignore')
        if (leaking > 8) stdio[leaking] = nothing
      }
      const child = spawn(file, args, { cwd: workingFolder, env: environment, stdio, detached: true })
      for (const [descriptor, bytes] of feed) {
        const pipe = pipeAt(child, descriptor)
        pipe.on('error', () => undefined) // bubblewrap ended before it read all; it says why
        pipe.end(bytes)
      }
      return child
    } finally {
      closeSync(nothing)
    }
  }

  async #run(): Promise<ChildEnd> {
    const child = this.#process
    const exited = new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
    })
    this.#listen()
    const shown = this.#pty === undefined ? Promise.resolve() : this.#show(this.#pty)
    try {
      const code = await exited
      this.#ended = true
      if (this.#first !== undefined && this.#options.enclosure === null) {
        const first = this.#first
        await endAll(() => strays(first, this.#mark), 1000)
      }
      // Everyone who could hold the other end is gone, so this is short; without a namespace someone may have kept it.
      await this.#shownTo(shown)
      return this.#missing || !this.#started
        ? { code: this.#missing ? 127 : 125, failure: this.#failure(code) }
        : { code, failure: undefined }
    } catch (cause) {
      return { code: 125, failure: new AgentgateError('NOT_STARTED', 'the command could not be started', { cause }) }
    } finally {
      this.#ended = true
      this.#pty?.close()
      this.#control.destroy()
      this.#person?.leave(this.#forced ? this.#screen.undo : '')
      this.#nowWaiting()
    }
  }

  #failure(code: number): AgentgateError {
    const { file, enclosure } = this.#options
    if (this.#missing)
      return new AgentgateError('NOT_STARTED', `${file} is not there for the child`, {
        exitCode: 127,
        hint: 'what lies in hidden folders is not visible inside; show a folder with: --read PATH',
      })
    const first = this.#complaint.split('\n').find(line => line.trim() !== '')
    const why = first?.replace(/^bwrap: /, '').trim() ?? `exit code ${code}`
    return enclosure === null || this.#forced
      ? new AgentgateError('NOT_STARTED', `the command could not be started: ${why}`)
      : new AgentgateError('UNCONFINED', `the child could not be confined: ${why}`, { hint: 'see: agentgate doctor' })
  }

  #listen(): void {
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (this.#complaint.length < maxComplaintBytes) this.#complaint += text
    })
    eachLine(this.#control, line => this.#said(line))
    if (this.#options.enclosure !== null)
      eachLine(pipeAt(this.#process, 6), line => {
        const parsed = confinedStatus.safeParse(parseJson(line))
        if (!parsed.success) return
        this.#first = parsed.data['child-pid']
        this.#nowKnown()
      })
  }

  #said(line: string): void {
    switch (line) {
      case 'waiting':
        this.#nowWaiting()
        return
      case 'started':
        this.#started = true
        return
      case 'missing':
        this.#missing = true
        return
      case 'stopped':
        void this.#suspend()
        return
      default:
        return // nobody else writes here; what is not understood changes nothing
    }
  }

  async #suspend(): Promise<void> {
    await this.#person?.suspend()
    if (this.#ended) return
    this.#resize()
    this.#control.write('continue\n')
  }

  #lendTerminal(): void {
    const [person, pty] = [this.#person, this.#pty]
    if (person === undefined || pty === undefined || this.#ended) return
    this.#resize()
    person.enter({
      onInput: bytes => {
        if (!pty.write(bytes)) person.pause()
      },
      onResize: () => this.#resize(),
    })
    pty.onRoom = () => person.resume()
  }

  async #show(pty: PseudoTerminal): Promise<void> {
    await pty.read(async bytes => {
      this.#showing = true
      this.#chunks += 1
      this.#screen.push(bytes)
      this.#options.onTerminal('output', bytes)
      await this.#person?.show(bytes)
      this.#showing = false
    })
  }

  /** Until the terminal's other end is closed, or nothing has come from it for a while. */
  async #shownTo(end: Promise<void>): Promise<void> {
    const ended = end.then(() => true)
    let before: number
    do {
      before = this.#chunks
      if (await Promise.race([ended, sleep(quietMs, false, { ref: false })])) return
    } while (this.#chunks > before || this.#showing)
  }

  #resize(): void {
    if (this.#person === undefined) return
    const { columns, rows }: TerminalSize = this.#person.size
    this.#pty?.resize({ columns, rows })
    this.#options.onTerminal('resize', Buffer.from(`${columns}x${rows}`))
  }
}

/** Until its end, which is the process's end. Broken off (ECONNRESET where it left something unread) is the same. */
function eachLine(stream: Duplex, take: (line: string) => void): void {
  stream.on('error', () => undefined)
  createInterface({ input: stream })
    .on('line', take)
    .on('error', () => undefined)
}

function pipeAt(child: ChildProcess, descriptor: number): Duplex {
  const streams: readonly unknown[] = child.stdio
  const stream = streams[descriptor]
  // A process that could not be started at all has none; it is told by its error event.
  return stream instanceof Duplex ? stream : new Duplex({ read: () => undefined, write: (_, __, done) => done() })
}
