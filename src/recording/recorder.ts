import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import type { RecordedEvent, SessionStart } from './event.ts'
import { removeLiveKey, wrappedKeyName, writeLiveKey, type ContentKey } from './encryption/content-key.ts'
import { failure } from './failure.ts'
import { formatVersion } from './format.ts'
import { Journal } from './journal.ts'
import { KeptResults } from './kept-results.ts'
import { writeManifest } from './manifest.ts'
import { claim, heartbeat, heartbeatMilliseconds, release } from './owner.ts'
import type { Sealer } from './sealer.ts'
import { Sealing } from './sealing.ts'
import type { SessionKey } from './session-key.ts'
import { Space } from './space.ts'
import type { ResultCut, ResultDigest, StoredStart } from './stored-event.ts'
import { Counter } from './summary.ts'
import type { Certificate } from './witness/receipt.ts'

type ResultEvent = Extract<RecordedEvent, { kind: 'result' }>
type TerminalEvent = Extract<RecordedEvent, { kind: 'terminal' }>

export interface RecorderLimits {
  /** Bytes kept of one action's result; beyond it count and digest. Infinity keeps all. */
  readonly keepResultBytes: number
  /** Bytes kept of the results of all actions; beyond it each one's first 64 KiB. Infinity: no such limit. */
  readonly keepSessionBytes: number
  /** A journal becomes a segment at this size (16 MiB at most), or this long after its first event. */
  readonly segmentBytes: number
  readonly segmentSeconds: number
  /** Events that nobody waits for are written after this time at the latest. */
  readonly flushMilliseconds: number
  /** Bytes not yet sealed from which `result` asks for patience: journals take disk, not memory, so it is generous. */
  readonly behindBytes: number
  /** What the recordings folder may come to; null: what the disk has. */
  readonly spoolBytes: number | null
  /** When the disk is made to have it: never, at each sealed segment, at each commit. */
  readonly fsync: 'none' | 'segment' | 'event'
}

export const defaultLimits: RecorderLimits = {
  keepResultBytes: 64 * 1024 * 1024,
  keepSessionBytes: Infinity,
  segmentBytes: 8 * 1024 * 1024,
  segmentSeconds: 10,
  flushMilliseconds: 100,
  behindBytes: 1024 * 1024 * 1024,
  spoolBytes: null,
  fsync: 'segment',
}

export interface RecorderEncryption {
  readonly key: ContentKey
  /** The same, encrypted to those who may read. */
  readonly wrapped: Buffer
  /** Where it is kept in clear until the session has ended, 0600; in memory, best. */
  readonly liveKeyFile: string
}

export interface RecorderOptions {
  /** The recordings folder; the session gets a folder of its own in it. */
  readonly folder: string
  readonly start: SessionStart
  readonly limits?: Partial<RecorderLimits>
  /** Signs the manifest; without one the recording says that it is not signed. */
  readonly key?: SessionKey
  /** By which a broker vouches for that key. */
  readonly certificate?: Certificate | undefined
  /** Encrypts what is written. */
  readonly encryption?: RecorderEncryption | undefined
  /** What seals: a worker of its own where none is given. Whoever gives one closes it. */
  readonly sealer?: Sealer
  /** A part of it has been sealed, and never changes again. */
  readonly onSealed?: () => void
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
  /** The last complete event and the chain value after it (in hexadecimal digits), for a witness. */
  head(): { readonly sequence: number; readonly head: string }
  /**
   * The same, at the end of a part: where it is encrypted, only there can who has no key hold a receipt against it. Begins a new part.
   * @throws AgentgateError RECORDING_FAILED
   */
  boundary(): { readonly sequence: number; readonly head: string }
  /** Settles once all that has been appended by now is sealed. @throws AgentgateError RECORDING_FAILED */
  sealed(): Promise<void>
  /**
   * Only where what is recorded has to be elsewhere before it is done: settles once all that has been appended is.
   * @throws AgentgateError RECORDING_FAILED: it may not be done.
   */
  durable?(): Promise<void>
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
  readonly #sealing: Sealing
  readonly #space: Space
  readonly #kept: KeptResults
  readonly #counter = new Counter()
  readonly #start: StoredStart
  readonly #startedAt: number
  #lastAt: number
  /** The action whose result record is open in the journal. */
  #resultOf = -1
  /** An event that must reach the disk before what it tells of is done. */
  #due = false
  #flushTimer: NodeJS.Timeout | null = null
  #rotateTimer: NodeJS.Timeout | null = null
  readonly #heartbeat: NodeJS.Timeout
  #closing = false
  #ended: Promise<void> | null = null

  constructor(options: RecorderOptions) {
    this.#options = options
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#kept = new KeptResults(this.#limits.keepResultBytes, this.#limits.keepSessionBytes)
    this.path = path.join(options.folder, options.start.session)
    this.#start = {
      ...options.start,
      salt: randomBytes(16).toString('base64'),
      key: options.key?.publicKey ?? null,
      ...(options.certificate === undefined ? {} : { certificate: options.certificate }),
    }
    this.#startedAt = this.#lastAt = Date.now()
    this.#sealing = new Sealing({
      folder: this.path,
      fsync: this.#limits.fsync !== 'none',
      key: options.encryption?.key.secret,
      behindBytes: this.#limits.behindBytes,
      sealer: options.sealer ?? null,
      onSealed: options.onSealed ?? (() => undefined),
      onWarning: options.onWarning,
    })
    let made = false
    try {
      fs.mkdirSync(options.folder, { recursive: true, mode: 0o700 })
      fs.mkdirSync(this.path, { mode: 0o700 })
      made = true
      claim(this.path, options.encryption?.liveKeyFile)
      if (options.encryption !== undefined) this.#keepKey(options.encryption)
      this.#space = new Space(options.folder, this.#limits.spoolBytes, options.onWarning)
      this.#journal = new Journal({
        folder: this.path,
        session: options.start.session,
        fsync: this.#limits.fsync,
        segmentBytes: this.#limits.segmentBytes,
        onRotated: (number, bytes) => this.#sealing.add(number, bytes),
        onFailed: error => options.onWarning(`${error.message}; nothing is forwarded`),
        onRecovered: () => options.onWarning('the recording can be written again'),
        key: options.encryption?.key,
      })
      try {
        this.#journal.append(headOf(this.#start, this.#startedAt), null)
        this.#journal.flush(this.#startedAt)
      } catch (error) {
        this.#journal.abandon()
        throw error
      }
    } catch (error) {
      // Nothing has happened that it would be a record of.
      if (made) fs.rmSync(this.path, { recursive: true, force: true })
      if (made) this.#dropKey()
      throw failure(`start a recording in ${this.path}`, error)
    }
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMilliseconds)
    this.#heartbeat.unref()
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
        return this.#add(rest, bytes)
      }
      case 'outcome':
        this.#endResult(event.action)
        break
      case 'connection-end':
        for (const action of this.#kept.unended(event.connection)) this.#endResult(action)
        break
      default:
    }
    const sequence = this.#add(event, null)
    this.#counter.count(event)
    if (event.kind === 'action' && event.decision.results !== undefined)
      this.#kept.except(event.connection, sequence, event.decision.results.keep)
    return sequence
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
    const kept = keep === bytes.length ? bytes : bytes.subarray(0, keep)
    for (let from = 0; from < keep;) {
      if (this.#resultOf !== action) {
        this.#lastAt = Date.now()
        this.#journal.begin(resultHead(connection, action, this.#lastAt))
        this.#resultOf = action
      }
      from += this.#journal.fill(kept, from)
      if (this.#journal.full) this.#flush()
    }
    if (cutNow) this.#add({ kind: 'result-cut', connection, action, kept: this.#kept.kept(action) }, null)
    this.#arm()
    return this.#sealing.patience()
  }

  head(): { readonly sequence: number; readonly head: string } {
    return { sequence: this.#journal.sequence, head: this.#journal.head }
  }

  boundary(): { readonly sequence: number; readonly head: string } {
    this.#flush()
    if (this.#options.encryption !== undefined) this.#journal.rotate(Date.now())
    return this.head()
  }

  async sealed(): Promise<void> {
    this.#flush()
    this.#journal.rotate(Date.now())
    try {
      await this.#sealing.drained()
    } catch (error) {
      throw failure(`seal the recording in ${this.path}`, error)
    }
  }

  close(reason: string, exitCode: number | null): Promise<void> {
    this.#ended ??= this.#close(reason, exitCode)
    return this.#ended
  }

  async #close(reason: string, exitCode: number | null): Promise<void> {
    this.#closing = true
    clearInterval(this.#heartbeat)
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer)
    if (this.#rotateTimer !== null) clearTimeout(this.#rotateTimer)
    try {
      try {
        for (const action of this.#kept.unended(null)) this.#endResult(action)
        this.#add({ kind: 'session-end', reason, exitCode }, null)
      } finally {
        this.#journal.close(Date.now())
      }
      this.#sealing.add(this.#journal.number, this.#journal.size)
      await this.#sealing.finish()
      await this.#writeManifest(reason, exitCode)
      this.#dropKey() // not before: until then a crash leaves what has to be sealed
    } catch (error) {
      throw failure(`end the recording in ${this.path}`, error)
    } finally {
      release(this.path)
      await this.#sealing.close()
    }
  }

  async #writeManifest(reason: string, exitCode: number | null): Promise<void> {
    const { kind: _, ...start } = this.#start
    await writeManifest(
      this.path,
      {
        format: 'agentgate-recording',
        version: formatVersion,
        session: this.#start.session,
        state: 'closed',
        start: { at: this.#startedAt, ...start },
        end: { at: this.#lastAt, reason, exitCode },
        events: this.#journal.sequence,
        lastAt: this.#lastAt,
        head: this.#journal.head,
        segments: this.#sealing.segments,
        summary: this.#counter.summary,
        torn: 0,
      },
      this.#options.key ?? null,
      this.#limits.fsync !== 'none',
    )
  }

  /** On the disk before anything that only it opens. */
  #keepKey({ key, wrapped, liveKeyFile: file }: RecorderEncryption): void {
    fs.writeFileSync(path.join(this.path, wrappedKeyName), wrapped, { flag: 'wx', mode: 0o600, flush: true })
    writeLiveKey(file, key)
  }

  #dropKey(): void {
    const file = this.#options.encryption?.liveKeyFile
    if (file !== undefined) removeLiveKey(file)
  }

  #ensureOpen(): void {
    if (this.#closing) throw new AgentgateError('RECORDING_FAILED', 'the recording is closed')
  }

  #add(head: Head, body: Uint8Array | null): number {
    const now = Date.now()
    this.#resultOf = -1
    const sequence = this.#journal.append(headOf(head, now), body)
    this.#lastAt = now
    this.#due = true
    this.#arm()
    return sequence
  }

  #endResult(action: number): void {
    const digest = this.#kept.end(action)
    if (digest !== null) this.#add(digest, null)
  }

  #flush(): void {
    this.#resultOf = -1
    const now = Date.now()
    this.#space.check(this.#sealing.bytes + this.#journal.size, now)
    this.#journal.flush(now)
  }

  #arm(): void {
    if (this.#closing) return
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = null
      this.#quietly(() => this.#flush())
    }, this.#limits.flushMilliseconds).unref()
    this.#rotateTimer ??= setTimeout(() => {
      this.#rotateTimer = null
      this.#quietly(() => {
        this.#flush()
        this.#journal.rotate(Date.now())
      })
    }, this.#limits.segmentSeconds * 1000).unref()
  }

  /** For timers: the journal has told by onFailed, and each commit fails until a write succeeds again. */
  #quietly(write: () => void): void {
    try {
      write()
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      this.#arm()
    }
  }

  #beat(): void {
    try {
      heartbeat(this.path)
    } catch {
      // The folder is gone or cannot be written: the next write finds that out and says so.
    }
  }
}

/** What a record's head may hold: an event without its bytes. */
type Head =
  | Exclude<RecordedEvent, SessionStart | ResultEvent | TerminalEvent>
  | Omit<TerminalEvent, 'bytes'>
  | StoredStart
  | ResultCut
  | ResultDigest

function headOf(event: Head, now: number): string {
  return `{"at":${now},${JSON.stringify(event).slice(1)}`
}

function resultHead(connection: string, action: number, now: number): string {
  return `{"at":${now},"kind":"result","connection":${JSON.stringify(connection)},"action":${action}}`
}
