import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import type { RecordedEvent, SessionStart } from './event.ts'
import { failure } from './failure.ts'
import { Journal } from './journal.ts'
import { KeptResults } from './kept-results.ts'
import type { ResultCut, ResultDigest, StoredStart } from './stored-event.ts'
import { Counter } from './summary.ts'

type ResultEvent = Extract<RecordedEvent, { kind: 'result' }>
type TerminalEvent = Extract<RecordedEvent, { kind: 'terminal' }>

export interface RecorderLimits {
  /** Bytes kept of one action's result; beyond it count and digest. Infinity keeps all. */
  readonly keepResultBytes: number
  /** A journal becomes a segment at this size, or this long after its first event. */
  readonly segmentBytes: number
  readonly segmentSeconds: number
  /** Events that nobody waits for are written after this time at the latest. */
  readonly flushMilliseconds: number
  /** Bytes not yet sealed from which `result` asks for patience. */
  readonly behindBytes: number
  /** What the recordings folder may come to; null: what the disk has. */
  readonly spoolBytes: number | null
  /** When the disk is made to have it: never, at each sealed segment, at each commit. */
  readonly fsync: 'none' | 'segment' | 'event'
}

export const defaultLimits: RecorderLimits = {
  keepResultBytes: 64 * 1024 * 1024,
  segmentBytes: 8 * 1024 * 1024,
  segmentSeconds: 10,
  flushMilliseconds: 100,
  behindBytes: 64 * 1024 * 1024,
  spoolBytes: null,
  fsync: 'segment',
}

export interface RecorderOptions {
  /** The recordings folder; the session gets a folder of its own in it. */
  readonly folder: string
  readonly start: SessionStart
  readonly limits?: Partial<RecorderLimits>
  /** For people: one line, such as that the disk fills up or that recording failed and works again. */
  readonly onWarning: (text: string) => void
}

export interface Recorder {
  /** Where this session is recorded. */
  readonly path: string
  /** Chains and buffers an event; returns its sequence number. @throws AgentgateError RECORDING_FAILED */
  append(event: RecordedEvent): number
  /**
   * Hands all that is buffered to the operating system, before what it tells of is done.
   * @throws AgentgateError RECORDING_FAILED: nothing may be forwarded; a later call tries again.
   */
  commit(): void
  /**
   * Result bytes as sent to the client; the buffer is not kept. A promise means that the spool is behind.
   * @throws AgentgateError RECORDING_FAILED: these bytes may not be forwarded.
   */
  result(event: ResultEvent): void | Promise<void>
  /** Chain value after the last complete event, in hexadecimal digits, for a witness. */
  head(): string
  /** Ends the recording and closes every file. @throws AgentgateError RECORDING_FAILED where its end could not be kept. */
  close(reason: string, exitCode: number | null): Promise<void>
}

/** Starts a session's recording. @throws AgentgateError RECORDING_FAILED where it cannot be written. */
export function openRecorder(options: RecorderOptions): Recorder {
  return new SessionRecorder(options)
}

class SessionRecorder implements Recorder {
  readonly path: string
  readonly #options: RecorderOptions
  readonly #limits: RecorderLimits
  readonly #journal: Journal
  readonly #kept: KeptResults
  readonly #counter = new Counter()
  /** The action whose result record is open in the journal, and its connection. */
  #resultOf = -1
  /** An event that must reach the disk before what it tells of is done. */
  #due = false
  #flushTimer: NodeJS.Timeout | null = null
  #rotateTimer: NodeJS.Timeout | null = null
  #closing: Promise<void> | null = null

  constructor(options: RecorderOptions) {
    this.#options = options
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#kept = new KeptResults(this.#limits.keepResultBytes)
    this.path = path.join(options.folder, options.start.session)
    try {
      fs.mkdirSync(options.folder, { recursive: true, mode: 0o700 })
      fs.mkdirSync(this.path, { mode: 0o700 })
      this.#journal = new Journal({
        folder: this.path,
        session: options.start.session,
        fsync: this.#limits.fsync,
        onRotated: () => undefined,
        onFailed: error => options.onWarning(`${error.message}; nothing is forwarded`),
        onRecovered: () => options.onWarning('the recording can be written again'),
      })
    } catch (error) {
      throw failure(`start a recording in ${this.path}`, error)
    }
    const start: StoredStart = { ...options.start, salt: randomBytes(16).toString('base64'), key: null }
    this.#journal.append(headOf(start), null)
    this.#journal.flush(Date.now())
  }

  append(event: RecordedEvent): number {
    this.#ensureOpen()
    switch (event.kind) {
      case 'session-start':
        throw new AgentgateError('INTERNAL', 'a recording starts once')
      case 'result':
        void this.result(event)
        return this.#journal.sequence
      case 'terminal': {
        const { bytes, ...rest } = event
        return this.#add(headOf(rest), bytes)
      }
      case 'outcome':
        this.#endResult(event.action)
        break
      case 'connection-end':
        for (const action of this.#kept.unended(event.connection)) this.#endResult(action)
        break
      default:
    }
    this.#counter.count(event)
    return this.#add(headOf(event), null)
  }

  commit(): void {
    if (!this.#due) return
    this.#flush()
    this.#due = false
  }

  result(event: ResultEvent): void | Promise<void> {
    this.#ensureOpen()
    const { connection, action, bytes } = event
    const { keep, cutNow } = this.#kept.admit(connection, action, bytes)
    let from = 0
    while (from < keep) {
      if (this.#resultOf !== action) {
        this.#journal.begin(resultHead(connection, action), 0)
        this.#resultOf = action
      }
      from += this.#journal.fill(keep === bytes.length ? bytes : bytes.subarray(0, keep), from)
      if (this.#journal.full) this.#flush()
    }
    if (cutNow) {
      const cut: ResultCut = { kind: 'result-cut', connection, action, kept: this.#kept.kept(action) }
      this.#add(headOf(cut), null)
    }
    this.#armFlush()
  }

  head(): string {
    return this.#journal.head
  }

  close(reason: string, exitCode: number | null): Promise<void> {
    this.#closing ??= this.#close(reason, exitCode)
    return this.#closing
  }

  async #close(reason: string, exitCode: number | null): Promise<void> {
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer)
    if (this.#rotateTimer !== null) clearTimeout(this.#rotateTimer)
    try {
      for (const action of this.#kept.unended(null)) this.#endResult(action)
      this.#add(headOf({ kind: 'session-end', reason, exitCode }), null)
    } finally {
      this.#journal.close(Date.now())
    }
    await Promise.resolve()
  }

  #ensureOpen(): void {
    if (this.#closing !== null) throw new AgentgateError('RECORDING_FAILED', 'the recording is closed')
  }

  #add(head: string, body: Uint8Array | null): number {
    this.#resultOf = -1
    const sequence = this.#journal.append(head, body)
    this.#due = true
    this.#armFlush()
    return sequence
  }

  #endResult(action: number): void {
    const digest = this.#kept.end(action)
    if (digest !== null) this.#add(headOf(digest), null)
  }

  #flush(): void {
    this.#resultOf = -1
    const now = Date.now()
    this.#journal.flush(now)
    if (this.#journal.size >= this.#limits.segmentBytes) this.#journal.rotate(now)
  }

  #armFlush(): void {
    if (this.#flushTimer !== null) return
    this.#flushTimer = setTimeout(() => {
      this.#flushTimer = null
      try {
        this.#flush()
      } catch {
        // The journal has said so by onFailed, and the next commit fails until a write succeeds again.
      }
    }, this.#limits.flushMilliseconds)
    this.#flushTimer.unref()
  }
}

/** What a record's head may hold: an event without its bytes. */
type Head =
  | Exclude<RecordedEvent, SessionStart | ResultEvent | TerminalEvent>
  | Omit<TerminalEvent, 'bytes'>
  | StoredStart
  | ResultCut
  | ResultDigest

function headOf(event: Head): string {
  return `{"at":${Date.now()},${JSON.stringify(event).slice(1)}`
}

function resultHead(connection: string, action: number): string {
  return `{"at":${Date.now()},"kind":"result","connection":${JSON.stringify(connection)},"action":${action}}`
}
