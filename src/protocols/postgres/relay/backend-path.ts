import type { Duplex } from 'node:stream'
import { ProtocolError } from '../../../errors.ts'
import {
  errorFrame,
  readCopyResponse,
  readErrorFields,
  readParameterDescription,
  type ErrorFields,
} from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { FrameReader, headerBytes } from '../wire/frame-reader.ts'
import { backend, typeName } from '../wire/message-type.ts'
import type { Conversation } from './conversation.ts'
import type { Description } from './description.ts'
import { Outbox } from './outbox.ts'
import { countsWithin, tooLong } from './result-limit.ts'
import { redactFields, redactNotification } from './redact.ts'
import type { Portal, Run } from './run.ts'

/** As PostgreSQL's own limit of what it sends. */
const maxMessageBytes = 0x3fffffff
/** What has to be read whole (all but rows and copies that pass): descriptions, errors, tags. */
const maxWholeBytes = 16 * 1024 * 1024
/** Up to here a row is sent whole or not at all, so that what ends the connection can be said between two. */
const maxHeldBackBytes = 64 * 1024
/** A masked row or piece of a copy. */
const maxMaskedBytes = 256 * 1024 * 1024
/** Notices of a statement that may yet be taken back; beyond, they are shown. */
const maxWithheldBytes = 1024 * 1024

/** What the path needs of the connection around it. */
export interface BackendHost {
  /** The client cannot take more for now. */
  clientFull(): void
  /** The record cannot take more for now. */
  recordFull(until: Promise<void>): void
  /** The result is longer than may be given: the statement is to be cancelled. */
  cut(): void
  /** It ran to its end before it was: what has been done since the last Sync must not stand. */
  refuse(form: 'query' | 'extended', error: Buffer): void
  /** The server says that it ends the connection. */
  fatal(): void
}

/**
 * From server to client: matches each message with what it answers, takes out what was asked by us, puts our errors in
 * place of those we provoked, masks rows, records what the client gets, and passes the rest as the bytes that came.
 */
export class BackendPath {
  readonly #conversation: Conversation
  readonly #client: Duplex
  readonly #host: BackendHost
  readonly #reader = new FrameReader()
  readonly #body = new BodyReader()
  readonly #out = new Outbox()
  readonly #told: Buffer[] = []
  /** Of a row or piece of a copy that passes: bytes still to come. */
  #passing = 0
  /** Of a row that is not given: bytes still to be thrown away. */
  #dropping = 0
  // What of the bytes at hand goes on record, and for which run.
  #recordOf: Run | null = null
  #recordBytes: Buffer = Buffer.alloc(0)
  #recordStart = 0
  #recordEnd = 0
  /** Of the message that the client has been sent the beginning of. */
  #passingSent = 0

  constructor(conversation: Conversation, client: Duplex, host: BackendHost) {
    this.#conversation = conversation
    this.#client = client
    this.#host = host
  }

  /** @throws ProtocolError where the server sends what does not answer what was asked. */
  receive(chunk: Buffer): void {
    this.#reader.push(chunk)
    try {
      while (this.#step());
    } finally {
      this.#recorded() // also what stood before a message that is wrong
    }
    this.flush()
    this.#conversation.recordEnded()
  }

  /** Whether the client has been sent the beginning of a message without its end. */
  get midMessage(): boolean {
    return this.#passing > 0
  }

  /** Sends something of ours between two messages. */
  tell(bytes: Buffer): void {
    this.#told.push(bytes)
    this.flush()
  }

  flush(): void {
    if (this.#conversation.withholding && this.#out.size <= maxWithheldBytes) return
    if (this.#passing === 0) for (const bytes of this.#told.splice(0)) this.#out.insert(bytes)
    this.#passingSent = this.#passing
    if (this.#out.size > 0 && !this.#out.flush(this.#client)) this.#host.clientFull()
  }

  /** What was kept back of this run is the client's after all, and these are its last messages. */
  release(run: Run, last: readonly Buffer[]): void {
    this.#conversation.withholding = false
    for (const bytes of last) this.#emitOwn(bytes, run, [])
    this.#recorded()
    this.flush()
  }

  /** What was kept back never was. */
  forget(): void {
    this.#recorded()
    this.#out.clear()
    this.#conversation.withholding = false
    this.flush()
  }

  /** As the client may see it. */
  redacted(error: Buffer, run: Run): Buffer {
    const fields = readErrorFields(new BodyReader().over(error, headerBytes, error.length))
    const redacted = redactFields(this.#conversation, fields, run)
    return redacted === fields ? error : errorFrame(backend.ErrorResponse, redacted)
  }

  #step(): boolean {
    const reader = this.#reader
    if (this.#dropping > 0) {
      const count = reader.some(this.#dropping)
      reader.skip(count)
      this.#dropping -= count
      return count > 0
    }
    if (this.#passing > 0) {
      const count = reader.some(this.#passing)
      if (count === 0) return false
      this.#emit(reader.bytes, reader.start, reader.start + count, this.#recordOf)
      reader.skip(count)
      this.#passing -= count
      return true
    }
    if (!reader.header(maxMessageBytes)) return false
    const { type } = reader
    if (type === backend.DataRow || type === backend.CopyData) {
      const { first } = this.#conversation.expected
      if (first?.kind !== 'own') return this.#data(type)
    }
    if (reader.length > maxWholeBytes)
      throw new ProtocolError('postgres', `the server sent ${typeName(type)} of ${reader.length} bytes`)
    if (!reader.whole()) return false
    this.#message(type)
    return true
  }

  /** Rows, or pieces of a copy. */
  #data(type: number): boolean {
    const reader = this.#reader
    const run = this.#sending(type)
    if (run.limit !== null) return this.#limited(run, type)
    const { masker } = run
    const { bytes, start } = reader
    const end = wholeFrames(bytes, start, type, run)
    if (end > start) {
      if (masker === null) this.#emit(bytes, start, end, run)
      else this.#emitOwn(masker.mask(bytes.subarray(start, end)), run, masker.maskedColumns)
      reader.skip(end - start)
      return true
    }
    // The first message at hand is not whole.
    if (masker === null) {
      if (reader.length <= maxHeldBackBytes && !reader.whole()) return false
      if (reader.length <= maxHeldBackBytes) return true
      if (type === backend.DataRow) run.rows += 1
      this.#passing = reader.length
      this.#record(run)
      return true
    }
    if (reader.length > maxMaskedBytes) throw new ProtocolError('postgres', `a row of ${reader.length} bytes`)
    if (!reader.whole()) return false
    return true
  }

  /** One message of a result that is limited: given, or thrown away with all that follows. */
  #limited(run: Run, type: number): boolean {
    const reader = this.#reader
    const { length } = reader
    const limit = run.limit?.bytes ?? null
    if (!run.cut && (limit === null || length <= limit)) {
      if (length > maxMaskedBytes) throw new ProtocolError('postgres', `a row of ${length} bytes`)
      if (!reader.whole()) return false
    }
    if (!run.cut && !countsWithin(run, type === backend.DataRow, length)) {
      run.cut = true
      this.#recorded()
      this.flush()
      this.#host.cut()
    }
    if (run.cut) {
      this.#dropping = length
      return true
    }
    const { bytes, start } = reader
    const { masker } = run
    if (masker === null) this.#emit(bytes, start, start + length, run)
    else this.#emitOwn(masker.mask(bytes.subarray(start, start + length)), run, masker.maskedColumns)
    reader.skip(length)
    return true
  }

  /** The run that sends rows or a copy now, its masks in place. */
  #sending(type: number): Run {
    const { first } = this.#conversation.expected
    if (first?.kind === 'query' && first.run !== null) {
      if (first.run.sends === (type === backend.DataRow ? 'rows' : 'copy')) return first.run
    } else if (first?.kind === 'execute') {
      const { run, portal } = first
      if (type === backend.DataRow && run.sends !== 'copy') {
        if (run.sends === 'nothing') this.#beginRows(run, portal)
        return run
      }
      if (type === backend.CopyData && run.sends === 'copy') return run
    }
    throw this.#unexpected(type)
  }

  /** The first row of a portal: its columns were described before, if at all. */
  #beginRows(run: Run, portal: Portal): void {
    run.sends = 'rows'
    const { description } = portal
    run.masker = this.#conversation.rowMasker(run, description)
    if (description !== undefined) this.#recordDescription(run, description)
  }

  #message(type: number): void {
    const reader = this.#reader
    const { bytes, start, length } = reader
    const conversation = this.#conversation
    const { expected } = conversation
    const { first } = expected
    const body = this.#body.over(bytes, start + headerBytes, start + length)
    reader.skip(length)
    switch (type) {
      case backend.NoticeResponse:
        this.#notice(bytes, start, length)
        return
      case backend.NotificationResponse:
        if (conversation.masksAnything) this.#out.insert(redactNotification(body))
        else this.#out.pass(bytes, start, start + length)
        return
      case backend.ParameterStatus:
        conversation.parameters.set(body.utf8String(), body.utf8String())
        this.#out.pass(bytes, start, start + length)
        return
      case backend.ErrorResponse:
        this.#error(bytes, start, length)
        return
      default:
    }
    if (first === undefined) throw this.#unexpected(type)
    if (first.kind === 'own') {
      const took = first.exchange.take(type, bytes, start + headerBytes, start + length)
      if (took === 'unexpected') throw this.#unexpected(type)
      if (type === backend.ReadyForQuery) conversation.ready(statusOf(bytes[start + headerBytes]))
      if (took !== 'more') expected.shift()
      return
    }
    switch (first.kind) {
      case 'query':
        if (first.run === null || !this.#queryAnswer(type, first.run)) {
          if (type !== backend.ReadyForQuery) throw this.#unexpected(type)
          this.#recorded() // before the outcome, behind which nothing is looked for
          if (first.settle !== undefined) {
            this.#own(first.settle, bytes[start + headerBytes])
            return
          }
          if (first.run?.cut === true && !first.run.ended) {
            conversation.end(first.run, 'cancelled', 'result too long')
            if (statusOf(bytes[start + headerBytes]) === 'T') {
              // It came to its end before it could be cancelled: the transaction is made to fail, and says so itself.
              expected.shift()
              conversation.ready('T')
              this.#host.refuse('query', tooLong(first.run))
              return
            }
            this.#out.insert(tooLong(first.run))
          } else if (first.run !== null) conversation.end(first.run, 'ok', first.run.tag)
          this.#ready(bytes, start, length)
          return
        }
        break
      case 'sync':
        if (type !== backend.ReadyForQuery) throw this.#unexpected(type)
        if (first.settle !== undefined) this.#own(first.settle, bytes[start + headerBytes])
        else this.#ready(bytes, start, length)
        return
      case 'parse':
        if (type !== backend.ParseComplete) throw this.#unexpected(type)
        expected.shift()
        if (first.change === null) return
        conversation.statements.settle(first.change, true)
        this.#out.pass(bytes, start, start + length)
        return
      case 'bind': {
        if (type !== backend.BindComplete || first.change === null) throw this.#unexpected(type)
        expected.shift()
        conversation.replacePortal(first.change.name)
        conversation.portals.settle(first.change, true)
        this.#out.pass(bytes, start, start + length)
        return
      }
      case 'close':
        if (type !== backend.CloseComplete) throw this.#unexpected(type)
        expected.shift()
        if (first.change === null) return
        if (first.of === 'statement') {
          conversation.statements.settle(first.change, true)
          if (first.own) return
        } else {
          conversation.replacePortal(first.change.name)
          conversation.portals.settle(first.change, true)
        }
        this.#out.pass(bytes, start, start + length)
        return
      case 'describe': {
        const { prepared, own } = first
        switch (type) {
          case backend.ParameterDescription:
            prepared.parameterTypes = readParameterDescription(body)
            break
          case backend.RowDescription:
            prepared.description = prepared.known.shape.describe(0, bytes.subarray(start, start + length))
            expected.shift()
            break
          case backend.NoData:
            prepared.description = null
            expected.shift()
            break
          default:
            throw this.#unexpected(type)
        }
        if (!own) this.#out.pass(bytes, start, start + length)
        return
      }
      case 'execute':
        if (!this.#executeAnswer(type, first.run)) throw this.#unexpected(type)
        break
      default:
        first satisfies never
    }
  }

  /** Anything but rows, errors and the end; false: it is none of that. */
  #queryAnswer(type: number, run: Run): boolean {
    const { bytes, at, end } = this.#body
    const start = at - headerBytes
    const conversation = this.#conversation
    switch (type) {
      case backend.RowDescription: {
        run.sends = 'rows'
        if (run.counted !== null) run.counted.gaveRows = true
        const description =
          run.masks.length > 0 ? run.known.shape.describe(run.at, bytes.subarray(start, end)) : undefined
        run.masker = conversation.rowMasker(run, description)
        this.#emit(bytes, start, end, run)
        return true
      }
      case backend.CopyInResponse:
      case backend.CopyOutResponse:
        this.#copy(type, run)
        this.#emit(bytes, start, end, run)
        return true
      case backend.CopyDone:
        run.masker?.end?.()
        if (!run.cut) this.#emit(bytes, start, end, run)
        return true
      case backend.CommandComplete:
      case backend.EmptyQueryResponse: {
        if (run.counted !== null) run.counted.complete = Buffer.from(bytes.subarray(start, end))
        else if (!run.cut) this.#emit(bytes, start, end, run)
        const { statement } = run
        if (type === backend.CommandComplete) this.#tag(run)
        if (statement !== undefined) conversation.applyNames(statement)
        run.at += 1
        run.results = 0
        run.sends = 'nothing'
        run.masker = null
        return true
      }
      default:
        return false
    }
  }

  #executeAnswer(type: number, run: Run): boolean {
    const { bytes, at, end } = this.#body
    const start = at - headerBytes
    const conversation = this.#conversation
    switch (type) {
      case backend.CopyInResponse:
      case backend.CopyOutResponse:
        this.#copy(type, run)
        this.#emit(bytes, start, end, run)
        return true
      case backend.CopyDone:
        run.masker?.end?.()
        if (!run.cut) this.#emit(bytes, start, end, run)
        return true
      case backend.PortalSuspended:
        if (run.cut) return this.#cutShort(run)
        this.#emit(bytes, start, end, run)
        conversation.expected.shift()
        return true
      case backend.CommandComplete:
      case backend.EmptyQueryResponse:
        if (run.cut) return this.#cutShort(run)
        if (run.counted !== null) {
          run.counted.complete = Buffer.from(bytes.subarray(start, end))
          run.counted.gaveRows ||= run.sends !== 'nothing'
          conversation.expected.shift()
          if (type === backend.CommandComplete) this.#tag(run)
          return true
        }
        this.#emit(bytes, start, end, run)
        conversation.expected.shift()
        if (type === backend.CommandComplete) this.#tag(run)
        if (run.statement !== undefined) conversation.applyNames(run.statement)
        this.#recorded()
        conversation.end(run, 'ok', run.tag)
        return true
      default:
        return false
    }
  }

  /** A portal came to its end before it could be cancelled: its batch is made to fail. */
  #cutShort(run: Run): true {
    const conversation = this.#conversation
    conversation.expected.shift()
    conversation.end(run, 'cancelled', 'result too long')
    this.#host.refuse('extended', tooLong(run))
    return true
  }

  #copy(type: number, run: Run): void {
    const conversation = this.#conversation
    const { binary, columns } = readCopyResponse(this.#body)
    if (type === backend.CopyInResponse) {
      if (!run.known.shape.mayCopyIn)
        throw new ProtocolError('postgres', 'the server wants data for what is no COPY FROM')
      conversation.copyIn = true
      return
    }
    run.sends = 'copy'
    run.masker = conversation.copyMasker(run, binary, columns.length)
  }

  /** `SELECT 5`, `INSERT 0 1`, `CREATE TABLE`. */
  #tag(run: Run): void {
    const { bytes } = this.#body
    const start = this.#body.at
    run.tag = bytes.toString('latin1', start, this.#body.stringEnd())
    if (run.sends === 'rows') return
    const count = /\d+$/.exec(run.tag)
    if (count !== null) run.rows += Number(count[0])
  }

  /** The end of something of ours. */
  #own(settle: (status: 'I' | 'T' | 'E') => void, byte: number | undefined): void {
    const conversation = this.#conversation
    const status = statusOf(byte)
    conversation.expected.shift()
    conversation.ready(status)
    settle(status)
  }

  #ready(bytes: Buffer, start: number, length: number): void {
    const conversation = this.#conversation
    conversation.expected.shift()
    this.#recorded()
    conversation.ready(statusOf(bytes[start + headerBytes]))
    this.#out.pass(bytes, start, start + length)
  }

  #error(bytes: Buffer, start: number, length: number): void {
    const conversation = this.#conversation
    const { expected } = conversation
    const { first } = expected
    if (first?.kind === 'own') {
      const took = first.exchange.take(backend.ErrorResponse, bytes, start + headerBytes, start + length)
      if (took !== 'failed') return
      // Within a batch of the client's: it fails as a whole, and the client has to know.
      this.#out.pass(bytes, start, start + length)
      expected.shift()
      this.#skipBatch()
      return
    }
    const fields = readErrorFields(this.#body)
    const sqlstate = fields.get('C') ?? 'XX000'
    const severity = fields.get('V') ?? fields.get('S')
    if (severity === 'FATAL' || severity === 'PANIC') {
      this.#emitError(bytes, start, length, fields, null)
      conversation.withholding = false
      this.#host.fatal()
      return
    }
    const status = sqlstate === '57014' ? 'cancelled' : 'error'
    const run =
      first?.kind === 'query' || first?.kind === 'execute'
        ? first.run
        : first?.kind === 'bind'
          ? (first.change?.value?.run ?? null)
          : null
    const replacement =
      run?.cut === true ? tooLong(run) : first?.kind === 'query' || first?.kind === 'bind' ? first.replacement : null
    // What reading a text says is of the text, which is the client's own.
    const ofText = first?.kind === 'parse' || first?.kind === 'describe' || first?.kind === 'close'
    if (replacement !== null) this.#out.insert(replacement)
    else if (ofText) this.#out.pass(bytes, start, start + length)
    else this.#emitError(bytes, start, length, fields, run)
    if (run !== null) {
      this.#recorded()
      run.sends = 'nothing'
      run.masker = null
      conversation.end(run, status, `ERROR ${sqlstate}`)
      conversation.copyIn = false
    }
    switch (first?.kind) {
      case undefined:
      case 'query':
      case 'sync':
        return // ReadyForQuery follows
      default:
        // The server gives up the unnamed statement before it looks at what is to replace it.
        if (first?.kind === 'parse' && first.change?.name === '') conversation.statements.delete('')
        this.#skipOne()
        this.#skipBatch()
    }
  }

  #emitError(bytes: Buffer, start: number, length: number, fields: ErrorFields, run: Run | null): void {
    const redacted = redactFields(this.#conversation, fields, run)
    if (redacted === fields) this.#emit(bytes, start, start + length, run)
    else this.#emitOwn(errorFrame(backend.ErrorResponse, redacted), run, ['error'])
  }

  #notice(bytes: Buffer, start: number, length: number): void {
    const { first } = this.#conversation.expected
    if (!this.#conversation.masksAnything) {
      this.#out.pass(bytes, start, start + length)
      return
    }
    const run = first?.kind === 'query' || first?.kind === 'execute' ? first.run : null
    const fields = readErrorFields(this.#body)
    const redacted = redactFields(this.#conversation, fields, run)
    if (redacted === fields) this.#out.pass(bytes, start, start + length)
    else this.#out.insert(errorFrame(backend.NoticeResponse, redacted))
  }

  /** What the server passes over after an error, up to the next Sync (PG 18 docs §54.2.3). */
  #skipBatch(): void {
    const conversation = this.#conversation
    for (;;) {
      const { first } = conversation.expected
      if (first === undefined) {
        // The client's Sync is still to come.
        conversation.discarding = true
        return
      }
      if (first.kind === 'sync') return
      this.#skipOne()
    }
  }

  #skipOne(): void {
    const conversation = this.#conversation
    const skipped = conversation.expected.shift()
    switch (skipped?.kind) {
      case 'parse':
        if (skipped.change !== null) conversation.statements.settle(skipped.change, false)
        return
      case 'bind':
        if (skipped.change === null) return
        conversation.portals.settle(skipped.change, false)
        if (skipped.change.value?.run) conversation.end(skipped.change.value.run, 'cancelled', notRun)
        return
      case 'close':
        if (skipped.change === null) return
        if (skipped.of === 'statement') conversation.statements.settle(skipped.change, false)
        else conversation.portals.settle(skipped.change, false)
        return
      case 'describe':
        if (skipped.prepared.description === undefined) skipped.prepared.described = false
        return
      case 'query':
      case 'execute':
        if (skipped.run !== null) conversation.end(skipped.run, 'cancelled', notRun)
        return
      case 'own':
        skipped.exchange.skip()
        return
      case 'sync':
      case undefined:
        return
      default:
        skipped satisfies never
    }
  }

  #emit(bytes: Buffer, start: number, end: number, run: Run | null): void {
    this.#out.pass(bytes, start, end)
    if (run === null) return
    if (run === this.#recordOf && bytes === this.#recordBytes && start === this.#recordEnd) {
      this.#recordEnd = end
      return
    }
    this.#record(run)
    this.#recordBytes = bytes
    this.#recordStart = start
    this.#recordEnd = end
  }

  #emitOwn(bytes: Buffer, run: Run | null, masked: readonly string[]): void {
    this.#out.insert(bytes)
    if (run === null) return
    for (const name of masked) run.masked?.add(name)
    this.#record(run)
    this.#recordBytes = bytes
    this.#recordStart = 0
    this.#recordEnd = bytes.length
  }

  /** What a portal's rows mean stands before them on record, also where the client knew it already. */
  #recordDescription(run: Run, description: Description): void {
    this.#record(run)
    this.#recordBytes = description.bytes
    this.#recordStart = 0
    this.#recordEnd = this.#recordBytes.length
  }

  /** From here on, what is emitted is `run`'s. */
  #record(run: Run): void {
    this.#recorded()
    this.#recordOf = run
  }

  #recorded(): void {
    const run = this.#recordOf
    if (run === null || this.#recordStart === this.#recordEnd) return
    const { context } = this.#conversation
    const bytes = this.#recordBytes.subarray(this.#recordStart, this.#recordEnd)
    this.#recordStart = this.#recordEnd
    let behind
    try {
      behind = context.record({ kind: 'result', connection: context.connection, action: run.event, bytes })
    } catch (error) {
      // What is not on record goes nowhere: the client stands where it stood before all this came.
      this.#out.clear()
      this.#passing = this.#passingSent
      throw error
    }
    if (behind !== undefined) this.#host.recordFull(behind)
  }

  #unexpected(type: number): ProtocolError {
    const waiting = this.#conversation.expected.first?.kind ?? 'nothing'
    return new ProtocolError('postgres', `the server sent ${typeName(type)} where ${waiting} was to be answered`)
  }
}

const notRun = 'not run: what came before it failed'

/** Where the run of whole messages of this type ends that begins at `start`; counts rows. */
function wholeFrames(bytes: Buffer, start: number, type: number, run: Run): number {
  const end = bytes.length
  let at = start
  let count = 0
  while (at + headerBytes <= end && bytes[at] === type) {
    const length =
      ((bytes[at + 1] ?? 0) << 24) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0)
    if (length < 4 || length > maxMessageBytes || length >= end - at) break
    at += length + 1
    count += 1
  }
  if (type === backend.DataRow) run.rows += count
  return at
}

function statusOf(byte: number | undefined): 'I' | 'T' | 'E' {
  switch (byte) {
    case 0x49:
      return 'I'
    case 0x54:
      return 'T'
    case 0x45:
      return 'E'
    default:
      throw new ProtocolError('postgres', 'the server is ready in no known way')
  }
}
