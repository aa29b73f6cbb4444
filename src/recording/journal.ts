import { hash, randomBytes, type Cipher } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import { maxParts, withinParts } from './bounded-json.ts'
import {
  checkBytes,
  fileHead,
  fileName,
  genesis,
  maxRawBytes,
  maxRecordBytes,
  maxSegmentBytes,
  recordPrefixBytes,
} from './format.ts'
import type { ContentKey } from './encryption/content-key.ts'
import { failure } from './failure.ts'

const chainBytes = 32
const saltBytes = 16
/** Result bytes are written in pieces of this size (bench/recording.ts: larger ones gain nothing). */
const batchBytes = 256 * 1024
/** Sessions without bulk results get by with this. */
const firstBatchBytes = 16 * 1024
/** Room behind them, so that the events around a full batch go out in the same write. */
const slackBytes = 16 * 1024
/** How often a write looks whether its file is still there: a removed file swallows writes without an error. */
const presenceMilliseconds = 100

export interface JournalOptions {
  readonly folder: string
  readonly session: string
  readonly fsync: 'none' | 'segment' | 'event'
  /** A file is complete at this size. */
  readonly segmentBytes: number
  /** A journal that is complete and closed, ready to become a segment. */
  readonly onRotated: (number: number, bytes: number) => void
  readonly onFailed: (error: AgentgateError) => void
  readonly onRecovered: () => void
  /** With which what is written is encrypted. */
  readonly key?: ContentKey | undefined
}

/**
 * The files being written: chains records into one buffer and writes that with single synchronous calls at known
 * positions, so that a write that failed half-way is written over by the next try and the chain never has a gap.
 */
export class Journal {
  readonly #options: JournalOptions
  readonly #segmentBytes: number
  #descriptor: number
  #number = 1
  /** Where the next write goes: everything before it is complete records. */
  #position: number
  #batch = Buffer.allocUnsafeSlow(firstBatchBytes + slackBytes)
  #used = 0
  /** Where the record that still takes bytes starts in the batch; -1 where there is none. */
  #open = -1
  // 32 bytes as a latin1 string: crypto.hash returns a string in half the time it takes to return a Buffer.
  #chain: string
  #sequence = 0
  /** Sequence number of the first record in the file being written. */
  #first = 1
  #failed: AgentgateError | null = null
  /** Failed in a way that no later write mends: what the disk holds is not known any more. */
  #lost = false
  #presenceCheckedAt = 0
  #closed = false
  #cipher: Cipher | null = null
  /** So much of the batch is encrypted already: a write that failed is tried again with the same bytes. */
  #encrypted = 0
  /** Its first events could be guessed from the chain values that stand in clear before and after it. */
  #saltDue = true

  constructor(options: JournalOptions) {
    this.#options = options
    this.#segmentBytes = Math.min(options.segmentBytes, maxSegmentBytes)
    this.#chain = genesis(options.session).toString('latin1')
    const opened = this.#create(1)
    this.#descriptor = opened.descriptor
    this.#position = opened.position
  }

  /** Sequence number of the last record. */
  get sequence(): number {
    return this.#sequence
  }

  /** Chain value after the last record that is complete. */
  get head(): string {
    return Buffer.from(this.#chain, 'latin1').toString('hex')
  }

  /** Bytes in the file being written, with what is buffered. */
  get size(): number {
    return this.#position + this.#used
  }

  get number(): number {
    return this.#number
  }

  get buffered(): boolean {
    return this.#used > 0
  }

  get failed(): AgentgateError | null {
    return this.#failed
  }

  /** Chains a record into the buffer and returns its sequence number. @throws RECORDING_FAILED where none fits any more. */
  append(head: string, body: Uint8Array | null): number {
    this.begin(head, body?.length)
    if (body !== null) this.fill(body, 0)
    this.end()
    return this.#sequence
  }

  /** Starts a record whose body is filled piece by piece, `bodyBytes` of it for certain. @throws RECORDING_FAILED */
  begin(head: string, bodyBytes = 0): void {
    this.end()
    if (this.#saltDue && this.#options.key !== undefined && this.#sequence > 0) this.#salt()
    // UTF-8 takes at most three bytes for a UTF-16 unit; only of long heads is it worth counting them.
    const headMost = head.length < 4096 ? head.length * 3 : Buffer.byteLength(head)
    // The chain value stands behind the record while it is hashed.
    const most = recordPrefixBytes + headMost + bodyBytes + chainBytes
    if (most > this.#batch.length - this.#used) this.#makeRoom(most)
    const start = this.#used
    const headBytes = this.#batch.write(head, start + recordPrefixBytes)
    if (headBytes > maxParts && !withinParts(this.#batch.subarray(start + recordPrefixBytes).subarray(0, headBytes)))
      throw new AgentgateError('RECORDING_FAILED', 'an event has more values than a recording takes')
    this.#batch.writeUInt32BE(headBytes, start + 4)
    this.#used = start + recordPrefixBytes + headBytes
    this.#open = start
  }

  /** Adds bytes from `from` on to the open record and returns how many fitted. */
  fill(bytes: Uint8Array, from: number): number {
    const room = this.#batch.length - this.#used - chainBytes
    const count = Math.min(bytes.length - from, room)
    this.#batch.set(from === 0 && count === bytes.length ? bytes : bytes.subarray(from, from + count), this.#used)
    this.#used += count
    return count
  }

  get full(): boolean {
    return this.#used >= this.#batch.length - slackBytes
  }

  /** Completes the open record, if there is one: length, chain, check. */
  end(): void {
    if (this.#open < 0) return
    const start = this.#open
    this.#open = -1
    this.#batch.writeUInt32BE(this.#used - start - 4 + checkBytes, start)
    this.#batch.write(this.#chain, this.#used, chainBytes, 'latin1')
    this.#chain = hash('sha256', this.#batch.subarray(start, this.#used + chainBytes), 'binary')
    this.#batch.write(this.#chain, this.#used, checkBytes, 'latin1')
    this.#used += checkBytes
    this.#sequence += 1
  }

  /** Hands everything buffered to the operating system. @throws RECORDING_FAILED */
  flush(now: number): void {
    this.end()
    if (this.#used === 0) return
    if (this.#closed) throw new AgentgateError('RECORDING_FAILED', 'the recording is closed')
    if (this.#lost && this.#failed) throw this.#failed
    try {
      if (this.#position + this.#used > maxRawBytes)
        throw new AgentgateError('RECORDING_FAILED', `no new journal can be made in ${this.#options.folder}`)
      if (now - this.#presenceCheckedAt >= presenceMilliseconds || now < this.#presenceCheckedAt) {
        if (fs.fstatSync(this.#descriptor).nlink === 0) {
          this.#lost = true
          throw new AgentgateError('RECORDING_FAILED', `the recording in ${this.#options.folder} has been removed`)
        }
        this.#presenceCheckedAt = now
      }
      this.#encrypt()
      let written = 0
      while (written < this.#used)
        written += fs.writeSync(this.#descriptor, this.#batch, written, this.#used - written, this.#position + written)
      if (this.#options.fsync === 'event') this.#sync()
    } catch (error) {
      this.#fail(error)
    }
    this.#position += this.#used
    this.#used = 0
    this.#encrypted = 0
    if (this.#batch.length > batchBytes + slackBytes) this.#batch = Buffer.allocUnsafeSlow(firstBatchBytes + slackBytes)
    if (this.#failed !== null) {
      this.#failed = null
      this.#options.onRecovered()
    }
    if (this.#position >= this.#segmentBytes) this.#rotate()
  }

  /** Goes on in a new file, unless this one holds nothing yet. Where no new one can be made the old is written further. */
  rotate(now: number): void {
    this.flush(now)
    this.#rotate()
  }

  #rotate(): void {
    if (this.#closed || this.#sequence < this.#first) return
    let next
    try {
      next = this.#create(this.#number + 1)
    } catch {
      return // the next flush says why, if it cannot write either
    }
    fs.closeSync(this.#descriptor)
    const rotated = this.#number
    const bytes = this.#position
    this.#descriptor = next.descriptor
    this.#position = next.position
    this.#number += 1
    this.#first = this.#sequence + 1
    this.#options.onRotated(rotated, bytes)
  }

  /** Writes what is left and closes the file, also where writing fails. @throws RECORDING_FAILED */
  close(now: number): void {
    if (this.#closed) return
    try {
      this.flush(now)
    } finally {
      this.#closed = true
      fs.closeSync(this.#descriptor)
    }
  }

  /** Closes the file of a recording that is not to be. */
  abandon(): void {
    this.#closed = true
    fs.closeSync(this.#descriptor)
  }

  #create(number: number): { descriptor: number; position: number } {
    const { folder, session } = this.#options
    const file = path.join(folder, fileName('journal', number))
    const head = fileHead('journal', {
      session,
      number,
      first: this.#sequence + 1,
      previous: this.head,
      needs: this.#options.key === undefined ? undefined : ['age'],
    })
    const descriptor = fs.openSync(file, 'wx', 0o600)
    try {
      if (fs.writeSync(descriptor, head, 0, head.length, 0) !== head.length) throw new Error('short write')
      if (this.#options.fsync === 'event') syncFolders(folder)
    } catch (error) {
      fs.closeSync(descriptor)
      fs.rmSync(file, { force: true })
      throw error
    }
    this.#cipher = this.#options.key?.journalCipher(number) ?? null
    this.#saltDue = true
    return { descriptor, position: head.length }
  }

  /** In place, each byte once: the chain has gone over it before. */
  #encrypt(): void {
    if (this.#cipher === null) return
    this.#cipher.update(this.#batch.subarray(this.#encrypted, this.#used)).copy(this.#batch, this.#encrypted)
    this.#encrypted = this.#used
  }

  #salt(): void {
    this.#saltDue = false
    this.begin(`{"at":${Date.now()},"kind":"salt"}`, saltBytes)
    this.fill(randomBytes(saltBytes), 0)
    this.end()
  }

  #makeRoom(most: number): void {
    if (most > maxRecordBytes)
      throw new AgentgateError('RECORDING_FAILED', `an event of ${most} bytes is more than a recording takes`)
    this.flush(Date.now())
    if (most > this.#batch.length) this.#batch = Buffer.allocUnsafeSlow(most)
  }

  #sync(): void {
    try {
      fs.fdatasyncSync(this.#descriptor)
    } catch (error) {
      // After a failed fsync the kernel may have dropped the pages and a second one would lie about it.
      this.#lost = true
      throw error
    }
  }

  #fail(cause: unknown): never {
    const error = failure(`write the recording in ${this.#options.folder}`, cause)
    try {
      fs.ftruncateSync(this.#descriptor, this.#position)
    } catch {
      // What is left behind the last complete record is found by its check, and written over by the next try.
    }
    const first = this.#failed === null
    this.#failed = error
    if (first) this.#options.onFailed(error)
    throw error
  }
}

/** A file is there after a power cut only if its folder's entry is, and the folder's own. */
function syncFolders(folder: string): void {
  for (const each of [folder, path.dirname(folder)]) {
    const descriptor = fs.openSync(each, 'r')
    try {
      fs.fsyncSync(descriptor)
    } finally {
      fs.closeSync(descriptor)
    }
  }
}
