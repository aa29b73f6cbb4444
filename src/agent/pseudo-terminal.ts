import { closeSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { ReadStream } from 'node:tty'
import { z } from 'zod'
import { AgentgateError, hasErrno } from '../errors.ts'

export interface TerminalSize {
  readonly columns: number
  readonly rows: number
}

/** What of node-pty's native part is used: openpty(3) and TIOCSWINSZ, which node has no words for. */
interface Native {
  open(columns: number, rows: number): unknown
  resize(master: number, columns: number, rows: number): void
}

const opened = z.object({ master: z.number().int(), slave: z.number().int(), pty: z.string() })
const retryMs = 10
/** Input typed or pasted that the child has not taken yet; above it the person's terminal is not read on. */
const maxQueuedInputBytes = 256 << 10

/** Both ends of a terminal of our own, so that what runs in it never holds the person's. */
export class PseudoTerminal {
  readonly master: number
  /** Handed to the child, then closed here with `releaseSlave`. */
  readonly slave: number
  readonly path: string
  readonly #native: Native
  readonly #output: ReadStream
  #queue: Buffer[] = []
  #queued = 0
  #retry: NodeJS.Timeout | undefined
  #slaveHeld = true
  #closed = false

  private constructor(native: Native, parts: z.infer<typeof opened>) {
    this.#native = native
    this.master = parts.master
    this.slave = parts.slave
    this.path = parts.pty
    this.#output = new ReadStream(parts.master)
    this.#output.pause()
  }

  /** @throws AgentgateError NOT_STARTED where the module is not installed */
  static open(size: TerminalSize): PseudoTerminal {
    const native = loadNative()
    return new PseudoTerminal(native, opened.parse(native.open(size.columns, size.rows)))
  }

  /** What the child writes, until its last holder is gone. Waits for `onData`, where that gives a promise. */
  async read(onData: (bytes: Buffer) => void | Promise<void>): Promise<void> {
    try {
      for await (const bytes of this.#output as AsyncIterable<Buffer>) await onData(bytes)
    } catch (error) {
      // EIO is how a terminal says that nobody holds its other end any more.
      if (!this.#closed && !hasErrno(error, 'EIO', 'EBADF', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR')) throw error
    }
  }

  /** Types into the terminal. False: enough is waiting, stop until `onRoom` is called. Never waits itself. */
  write(bytes: Buffer): boolean {
    if (this.#gone) return true
    this.#queue.push(bytes)
    this.#queued += bytes.length
    if (this.#retry === undefined) this.#flush()
    return this.#queued < maxQueuedInputBytes
  }

  onRoom: (() => void) | undefined

  resize(size: TerminalSize): void {
    if (!this.#gone) this.#native.resize(this.master, size.columns, size.rows)
  }

  releaseSlave(): void {
    if (this.#slaveHeld) closeSync(this.slave)
    this.#slaveHeld = false
  }

  /** The descriptor may be another file's by now: its stream closes it when nobody holds the other end any more. */
  get #gone(): boolean {
    return this.#closed || this.#output.destroyed
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#retry)
    this.releaseSlave()
    this.#output.destroy()
  }

  // Not by the stream: its writes to a master wait in the kernel for a child that does not read, and with them all tunnels.
  #flush(): void {
    this.#retry = undefined
    const wasFull = this.#queued >= maxQueuedInputBytes
    for (;;) {
      const [first] = this.#queue
      if (first === undefined || this.#gone) break
      const written = tryWrite(this.master, first)
      this.#queued -= written
      if (written === first.length) this.#queue.shift()
      else {
        this.#queue[0] = first.subarray(written)
        this.#retry = setTimeout(() => this.#flush(), retryMs)
        break
      }
    }
    if (wasFull && this.#queued < maxQueuedInputBytes) this.onRoom?.()
  }
}

function tryWrite(descriptor: number, bytes: Buffer): number {
  try {
    return writeSync(descriptor, bytes)
  } catch (error) {
    if (hasErrno(error, 'EAGAIN')) return 0
    if (hasErrno(error, 'EIO')) return bytes.length // nobody is there to read it
    throw error
  }
}

/** Whether a pseudo-terminal can be had: the module is an optional dependency. */
export function pseudoTerminalsWork(): boolean {
  try {
    loadNative()
    return true
  } catch {
    return false
  }
}

function loadNative(): Native {
  try {
    const load = createRequire(import.meta.url)
    // Its public `open` reads from both ends; only the native part is of use.
    const { requireBinary } = load('@lydell/node-pty/requireBinary.js') as {
      readonly requireBinary: (name: string) => Native
    }
    return requireBinary('pty.node')
  } catch (cause) {
    throw new AgentgateError(
      'NOT_STARTED',
      'this installation has no pseudo-terminals, which a child at a terminal needs',
      {
        hint: 'install agentgate with its optional dependencies, or run without a terminal: agentgate exec … < /dev/null | cat',
        cause,
      },
    )
  }
}
