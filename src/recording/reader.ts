import { createHash, hash } from 'node:crypto'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { asSessionId } from '../ids.ts'
import { decompress, salvage } from './compress.ts'
import { parseEvent, timeOf } from './event-schema.ts'
import type { ContentKey } from './encryption/content-key.ts'
import { BadFileHead, parseFileHead, type FileHead } from './file-head.ts'
import { fileName, genesis, maxFileHeadBytes, maxRawBytes, type FileKind } from './format.ts'
import type { JournalHeader, SegmentHeader } from './format.ts'
import { NumberedFiles } from './numbered-files.ts'
import { ownerAlive } from './owner.ts'
import type { CaughtUp, Problem, ReadItem } from './read-item.ts'
import { DamagedRecord, RecordCutter } from './record-cutter.ts'
import { openRegular, readAt, type RegularFile } from './regular-file.ts'

const chunkBytes = 1024 * 1024
/** Who follows looks for more this often: soon enough for a person, and nothing for the machine. */
const pollMilliseconds = 100
/** And this often whether the process that writes is still there. */
const aliveMilliseconds = 1000

/**
 * Reads a session's events in order, over segments and what is still a journal, also while they are being written (then up
 * to the last file there is as it begins). Never throws for what the files hold: it says what could not be read and goes on
 * with the next file. Memory is bounded by the format's limits, whatever a file claims. The last item is an `end`.
 */
export function readRecording(folder: string, key: ContentKey | null = null): AsyncGenerator<ReadItem, void, void> {
  // Only who follows is told of having caught up.
  return new Reading(folder, null, key).items() as AsyncGenerator<ReadItem, void, void>
}

/**
 * The same for a session that is still being recorded: waits at its end for more, until it has ended, its process is gone or
 * `signal` aborts. It only ever reads, so that nobody who looks on can hold up the one who writes.
 */
export function followRecording(
  folder: string,
  signal: AbortSignal,
  key: ContentKey | null = null,
): AsyncGenerator<ReadItem | CaughtUp, void, void> {
  return new Reading(folder, signal, key).items()
}

class Reading {
  readonly #folder: string
  readonly #files: NumberedFiles
  readonly #key: ContentKey | null
  /** Not null: whoever reads wants to have what is still to come, until it aborts. */
  readonly #until: AbortSignal | null
  #caughtUp = false
  /** The event that ends the session has been read. */
  #ended = false
  #lookedAt = 0
  #session: string | null = null
  /** What the next file must start with; null after a problem, when the file's own word is taken. */
  #expected: { readonly first: number; readonly previous: string } | null = null
  #number = 0
  #events = 0
  #head: string | null = null
  #torn = 0

  constructor(folder: string, until: AbortSignal | null, key: ContentKey | null) {
    this.#folder = folder
    this.#files = new NumberedFiles(folder)
    this.#until = until
    this.#key = key
  }

  async *items(): AsyncGenerator<ReadItem | CaughtUp, void, void> {
    // What is begun while this reads is for the next time: a writer that is faster than its reader would keep it for ever.
    const last = this.#until === null ? await this.#files.greatest() : Infinity
    for (;;) {
      let number = await this.#files.least(this.#number + 1)
      if (number === undefined && this.#until !== null) {
        yield* this.#catchUp()
        if (await this.#goesOn()) continue
        // What was written between the last look and the end.
        number = await this.#files.least(this.#number + 1)
      }
      if (number === undefined || number > last) break
      if (number > this.#number + 1) yield this.#gap(number)
      this.#number = number
      yield* this.#file(number)
    }
    if (this.#number === 0) yield this.#problem('missing', 'folder', 'holds no events')
    const { name } = path.parse(path.resolve(this.#folder))
    if (this.#session !== null && asSessionId(name) !== undefined && name !== this.#session)
      yield this.#problem('altered', 'folder', `holds the recording of ${this.#session}`)
    yield {
      kind: 'end',
      end: {
        session: this.#session,
        events: this.#events,
        head: this.#head,
        torn: this.#torn,
        lastFile: this.#number,
      },
    }
  }

  *#catchUp(): Generator<CaughtUp, void, void> {
    if (!this.#caughtUp) yield { kind: 'caught-up' }
    this.#caughtUp = true
  }

  /** Waits a moment; false where nothing more is to come. */
  async #goesOn(): Promise<boolean> {
    if (this.#stopped() || this.#ended) return false
    await delay(pollMilliseconds, undefined, this.#until === null ? {} : { signal: this.#until }).catch(() => undefined)
    const now = Date.now()
    if (now - this.#lookedAt < aliveMilliseconds) return !this.#stopped()
    this.#lookedAt = now
    return !this.#stopped() && ownerAlive(this.#folder, now)
  }

  #stopped(): boolean {
    return this.#until === null || this.#until.aborted
  }

  async *#file(number: number): AsyncGenerator<ReadItem | CaughtUp, void, void> {
    // A journal may become a segment between one look and the next.
    for (const kind of ['segment', 'journal', 'segment'] as const) {
      let file: RegularFile | undefined
      try {
        file = await openRegular(path.join(this.#folder, fileName(kind, number)))
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
        yield this.#problem('unreadable', kind, `cannot be opened (${code})`)
        return
      }
      if (file === undefined) continue
      try {
        if (kind === 'segment') yield* this.#segment(file)
        else yield* this.#journal(file)
      } finally {
        await file.handle.close()
      }
      return
    }
    yield this.#problem('unreadable', 'segment', 'is not a file')
  }

  async *#segment(file: RegularFile): AsyncGenerator<ReadItem, void, void> {
    // What does not compress grows by some bytes in a block.
    if (file.size > maxRawBytes + maxRawBytes / 64) {
      yield this.#problem('unreadable', 'segment', `has ${file.size} bytes, more than a segment can have`)
      return
    }
    const bytes = await readAt(file.handle, 0, file.size)
    const start = this.#start('segment', bytes)
    if ('problem' in start) {
      yield start
      return
    }
    const header = start.header as SegmentHeader
    const follows = this.#follow('segment', header)
    if (follows !== undefined) yield follows
    const payload = bytes.subarray(start.bytes)
    const intact = hash('sha256', payload) === header.digest
    if (header.needs !== undefined && this.#key === null) {
      yield* this.#locked(header, follows === undefined, intact, bytes)
      return
    }
    let raw: Buffer | undefined
    let compressed = payload
    try {
      if (header.needs !== undefined) compressed = this.#opened(header, payload)
      raw = decompress(header.codec, compressed, header.raw)
    } catch {
      // Said below, in the more precise words of the event where it breaks off.
    }
    const cutter = new RecordCutter(header.first, Buffer.from(header.previous, 'hex'))
    cutter.push(raw ?? (await salvage(header.codec, compressed, header.raw)))
    let problem: ReadItem | undefined
    for (;;) {
      const item = this.#pull(cutter, 'segment')
      if (item === undefined) break
      if (endsFile(item)) {
        problem = item
        break
      }
      yield item
    }
    const broken = cutter.left > 0 || raw?.length !== header.raw
    if (problem === undefined && !intact)
      problem = this.#problem('altered', 'segment', 'is not as it was sealed', broken ? cutter.sequence + 1 : null)
    else if (problem === undefined && broken)
      problem = this.#problem('unreadable', 'segment', 'breaks off', cutter.sequence + 1)
    else if (cutter.sequence - header.first + 1 !== header.count || cutter.chain.toString('hex') !== header.head)
      problem ??= this.#problem('altered', 'segment', 'does not hold the events that its header tells of')
    this.#expected = { first: header.first + header.count, previous: header.head }
    this.#head = header.head
    if (problem !== undefined) {
      this.#expected = null
      this.#head = null
      yield problem
      return
    }
    const { number, first, count, head, raw: rawBytes } = header
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const segment = { number, first, count, head, raw: rawBytes, bytes: bytes.length, sha256 }
    if (follows === undefined) yield { kind: 'file', number, segment }
  }

  /** What of an encrypted segment holds without its key: its digest, and that it follows. */
  *#locked(header: SegmentHeader, follows: boolean, intact: boolean, bytes: Buffer): Generator<ReadItem, void, void> {
    const { number, first, count, head, raw } = header
    if (!intact) {
      this.#expected = null
      this.#head = null
      yield this.#problem('altered', 'segment', 'is not as it was sealed')
      return
    }
    this.#events += count
    this.#head = head
    this.#expected = { first: first + count, previous: head }
    const last = { sequence: first + count - 1, chain: Buffer.from(head, 'hex') }
    yield { kind: 'locked', place: 'segment', number, count, last }
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    if (follows)
      yield { kind: 'file', number, segment: { number, first, count, head, raw, bytes: bytes.length, sha256 } }
  }

  #opened(header: SegmentHeader, payload: Buffer): Buffer {
    if (this.#key === null || header.nonce === undefined) throw new TypeError('nothing to open it with')
    return this.#key.openPayload(header, header.nonce, payload)
  }

  async *#journal(file: RegularFile): AsyncGenerator<ReadItem | CaughtUp, void, void> {
    let start = this.#start('journal', await readAt(file.handle, 0, maxFileHeadBytes * 2))
    // It may be in the making at this moment.
    while ('problem' in start && start.short && (await this.#goesOn()))
      start = this.#start('journal', await readAt(file.handle, 0, maxFileHeadBytes * 2))
    if ('problem' in start) {
      // Cut off within its first lines: the process died as it made the file.
      if (start.short && !(await this.#files.has(this.#number + 1))) this.#torn = file.size
      else yield start
      return
    }
    const { header } = start
    const follows = this.#follow('journal', header)
    if (follows !== undefined) yield follows
    const cutter = new RecordCutter(header.first, Buffer.from(header.previous, 'hex'))
    if (header.needs !== undefined && this.#key === null) {
      this.#expected = null
      this.#head = null
      yield { kind: 'locked', place: 'journal', number: this.#number, count: null, last: null }
      return
    }
    const decipher = header.needs === undefined ? null : (this.#key?.journalDecipher(this.#number) ?? null)
    let position = start.bytes
    let complete = false
    let over = false
    for (;;) {
      const chunk = await readAt(file.handle, position, chunkBytes)
      position += chunk.length
      cutter.push(decipher === null ? chunk : decipher.update(chunk))
      for (;;) {
        const item = this.#pull(cutter, 'journal')
        if (item === undefined) break
        yield item
        if (endsFile(item)) {
          this.#expected = null
          this.#head = null
          return
        }
      }
      if (chunk.length > 0) continue
      // Once there is a next file, this one grows no more: what came since the last look is its end.
      if (complete || over) break
      complete = await this.#files.has(this.#number + 1)
      if (complete) continue
      if (this.#until === null) break
      yield* this.#catchUp()
      over = !(await this.#goesOn())
    }
    if (cutter.left > 0 && complete) {
      yield this.#problem('unreadable', 'journal', 'breaks off', cutter.sequence + 1)
      this.#expected = null
      this.#head = null
      return
    }
    this.#torn = cutter.left
    this.#head = cutter.chain.toString('hex')
    this.#expected = { first: cutter.sequence + 1, previous: this.#head }
    if (follows === undefined) yield { kind: 'file', number: this.#number, segment: null }
  }

  #start(kind: FileKind, bytes: Buffer): FileHead | (ReadItem & { readonly kind: 'problem'; readonly short: boolean }) {
    try {
      return parseFileHead(kind, bytes)
    } catch (error) {
      if (!(error instanceof BadFileHead)) throw error
      this.#expected = null
      this.#head = null
      const short = error.reason === 'short'
      switch (error.reason) {
        case 'newer':
          return { ...this.#problem('newer', kind, 'was written by a newer version of agentgate'), short }
        case 'foreign':
          return { ...this.#problem('foreign', kind, 'is not part of a recording'), short }
        case 'short':
        case 'damaged':
          return { ...this.#problem('altered', kind, 'has a damaged header'), short }
        default:
          return error.reason satisfies never
      }
    }
  }

  /** Whether a file goes on where the one before it ended. */
  #follow(kind: FileKind, header: JournalHeader): ReadItem | undefined {
    const expected =
      this.#number === 1 ? { first: 1, previous: genesis(header.session).toString('hex') } : this.#expected
    this.#session ??= header.session
    if (header.session !== this.#session)
      return this.#problem('altered', kind, `belongs to another session, ${header.session}`)
    if (header.number !== this.#number) return this.#problem('altered', kind, `was written as number ${header.number}`)
    if (expected !== null && (header.first !== expected.first || header.previous !== expected.previous))
      return this.#problem('altered', kind, `does not follow from event ${expected.first - 1}`, header.first)
    return undefined
  }

  #pull(cutter: RecordCutter, kind: FileKind): Exclude<ReadItem, { kind: 'file' | 'end' | 'locked' }> | undefined {
    let record
    try {
      record = cutter.next()
    } catch (error) {
      if (!(error instanceof DamagedRecord)) throw error
      const text =
        error.sequence === 1 ? 'is not what was recorded' : `does not follow from event ${error.sequence - 1}`
      return this.#problem('altered', kind, text, error.sequence, timeOf(error.head))
    }
    if (record === undefined) return undefined
    this.#events += 1
    const placed = parseEvent(record)
    if (placed !== undefined) {
      this.#ended ||= placed.event.kind === 'session-end'
      return { kind: 'event', placed, chain: record.chain }
    }
    return this.#problem('unreadable', kind, 'is not an event that agentgate writes', record.sequence)
  }

  #gap(found: number): ReadItem {
    const missing = this.#number + 1
    this.#expected = null
    this.#head = null
    this.#number = missing
    const { kind, problem } = this.#problem('missing', 'segment', found - missing > 1 ? 'are missing' : 'is missing')
    return { kind, problem: { ...problem, through: found - 1 } }
  }

  #problem(
    kind: Problem['kind'],
    place: Problem['place'],
    text: string,
    sequence: number | null = null,
    at: number | null = null,
  ): ReadItem & { readonly kind: 'problem' } {
    const number = place === 'manifest' || place === 'folder' || place === 'witness' ? null : this.#number
    return { kind: 'problem', problem: { kind, place, number, sequence, at, text } }
  }
}

/** The chain is broken: what comes after it in the file cannot be followed. */
function endsFile(item: ReadItem): item is ReadItem & { readonly kind: 'problem' } {
  return item.kind === 'problem' && item.problem.kind === 'altered'
}
