import type { Duplex } from 'node:stream'
import { ProtocolError } from '../../../errors.ts'
import type { Decision } from '../../protocol.ts'
import type { SqlAction, Statement } from '../analysis/analysed.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { FrameReader, headerBytes } from '../wire/frame-reader.ts'
import { flushMessage } from '../wire/frontend-messages.ts'
import { frontend, typeName } from '../wire/message-type.ts'
import { Asking } from './asking.ts'
import type { CountingHost } from './counted-run.ts'
import type { Conversation } from './conversation.ts'
import { emptyText } from './known-text.ts'
import { Outbox } from './outbox.ts'
import type { Refusal } from './refusal.ts'
import { expectSync, Refuser, type Form } from './refuser.ts'
import { touches } from './redact.ts'
import { Run } from './run.ts'
import { SessionReader } from './session-reader.ts'
import { StatementMessages, type Waiting } from './statement-messages.ts'

/** As PostgreSQL's own: MaxAllocSize - 1 (src/include/libpq/libpq-be.h, PQ_LARGE_MESSAGE_LIMIT). */
const maxMessageBytes = 0x3fffffff
/** A text this long parses for seconds. */
const maxTextBytes = 16 * 1024 * 1024
/** Values have to be here whole before they are decided on. */
const maxBindBytes = 64 * 1024 * 1024
/** The rest carries names, or little. */
const maxSmallBytes = 64 * 1024
/** More than that is not kept back for what other connections bring in the same turn. */
const maxLateBytes = 8192

/** What the path needs of the connection around it. */
export interface FrontendHost {
  /** Sends the client something of ours as soon as no other message is half-way. */
  tellClient(bytes: Buffer): void
  fail(error: unknown): void
  /** The client said goodbye. */
  terminate(): void
  /** What it was not read on for is over: something of ours, or a person's answer. */
  worked(): void
  /** The other direction, where something of ours ran for a message of the client's. */
  readonly back: CountingHost['back']
}

/**
 * From client to server: takes the client's messages one by one, has them decided on, and passes them on as the bytes that
 * came, one write for all that a turn brought. Holding is not pulling; a message that has to wait for something stays
 * where it is and is looked at again from the start.
 */
export class FrontendPath {
  readonly #conversation: Conversation
  readonly #server: Duplex
  readonly #host: FrontendHost
  readonly #reader = new FrameReader()
  readonly #body = new BodyReader()
  readonly #out = new Outbox()
  readonly #refuser: Refuser
  readonly #asking: Asking
  readonly #statements: StatementMessages
  #waiting: Waiting | 'no' = 'no'
  /** The server's buffer is full. */
  #full = false
  /** Of CopyData that passes: bytes still to come. */
  #passing = 0
  /** Whose data that is, where it goes on record, and of which statement. */
  #copyOf: Run | null = null
  #copyBy: Statement | undefined
  /** Of a message that is not for the server: bytes still to be thrown away. */
  #dropping = 0
  /** Messages taken so far: which one a decision was for. */
  #taken = 0
  #settled: { readonly message: number; readonly decision: Decision<SqlAction> } | undefined
  /** Something was put on record since the last commit. */
  #uncommitted = false
  /** Messages of the open batch have reached the server. */
  #reached = false
  #late: NodeJS.Immediate | undefined

  constructor(conversation: Conversation, server: Duplex, host: FrontendHost) {
    this.#conversation = conversation
    this.#server = server
    this.#host = host
    this.#refuser = new Refuser(conversation, this.#out)
    const reader = this.#reader
    const reached = () => this.#reached
    const statements = () => this.#statements
    this.#asking = new Asking(conversation, {
      tellClient: bytes => host.tellClient(bytes),
      get form(): Form {
        return reader.type === frontend.Query ? 'query' : 'extended'
      },
      get reached() {
        return reached()
      },
      get aloneInBatch() {
        return statements().portalBatch() !== undefined
      },
      get tried() {
        return statements().tried
      },
    })
    this.#statements = new StatementMessages({
      conversation,
      reader,
      body: this.#body,
      out: this.#out,
      session: new SessionReader(conversation, this.#out, () => this.#flush()),
      refuser: this.#refuser,
      back: host.back,
      flush: () => this.flush(),
      pass: () => this.#pass(),
      drop: () => this.#drop(),
      decide: action => this.#decide(action),
      recorded: () => (this.#uncommitted = true),
      quiet: () => this.#quiet(),
      work: work => this.#work(work),
      awaitCopy: () => (this.#waiting = 'copy'),
      taken: () => this.#taken,
    })
  }

  /** Bytes read and not pulled yet. */
  get buffered(): number {
    return this.#reader.size
  }

  get full(): boolean {
    return this.#full
  }

  get waiting(): boolean {
    return this.#waiting !== 'no'
  }

  /** What that brings goes out at the end of the turn, or by `flush`: many connections' records are one write then. */
  receive(chunk: Buffer): void {
    this.#reader.push(chunk)
    if (!this.#take()) return
    if (this.#waiting === 'no' && this.#out.size <= maxLateBytes) this.#late ??= setImmediate(() => this.flush())
    else this.flush()
  }

  /** Sends what has been decided. */
  flush(): void {
    clearImmediate(this.#late)
    this.#late = undefined
    try {
      this.#flush()
    } catch (error) {
      this.#host.fail(error)
    }
  }

  /** The server took what it was sent. */
  drained(): void {
    this.#full = false
    this.#pull()
  }

  /** The server answered something. */
  progress(): void {
    const conversation = this.#conversation
    switch (this.#waiting) {
      case 'quiet':
        if (conversation.expected.length === 0 && !conversation.cancelling) this.#go()
        return
      case 'copy':
        if (conversation.copyIn || conversation.expected.length === 0 || !this.#statements.copyPending) this.#go()
        return
      case 'hold':
        // What is held belongs to a batch that has failed: it would not run.
        if (conversation.discarding) this.withdraw()
        return
      case 'no':
      case 'work':
        return
      default:
        this.#waiting satisfies never
    }
  }

  /** Gives up waiting for a person; false where nobody was asked. */
  withdraw(): boolean {
    return this.#asking.withdraw()
  }

  /** Makes fail what the server is in: the transaction, or all up to the client's Sync. */
  refuse(form: Form, error: Buffer): void {
    this.#refuser.refuseWith(form, error)
    this.#flush()
  }

  #go(): void {
    this.#waiting = 'no'
    this.#pull()
  }

  #pull(): void {
    if (this.#take()) this.flush()
  }

  /** False: it could not go on. */
  #take(): boolean {
    try {
      while (this.#waiting === 'no' && !this.#full && this.#step());
      return true
    } catch (error) {
      this.#host.fail(error)
      return false
    }
  }

  /** Takes one message, or one piece of a long one; false: wait for more bytes. */
  #step(): boolean {
    const reader = this.#reader
    if (this.#passing > 0) {
      const count = reader.some(this.#passing)
      if (count > 0) this.#recordCopied(reader.bytes.subarray(reader.start, reader.start + count))
      this.#out.pass(reader.bytes, reader.start, reader.start + count)
      reader.skip(count)
      this.#passing -= count
      return count > 0
    }
    if (this.#dropping > 0) {
      const count = reader.some(this.#dropping)
      reader.skip(count)
      this.#dropping -= count
      return count > 0
    }
    if (!reader.header(maxMessageBytes)) return false
    const { type, length } = reader
    if (type === frontend.CopyData) {
      // Outside a copy it is what a client still sends after the copy failed: the server ignores it, too.
      if (this.#conversation.copyIn) {
        this.#passing = length
        this.#copyOf = this.#copying()
      } else this.#dropping = length
      return true
    }
    if (length > limitOf(type)) {
      this.#tooLong(type)
      return true
    }
    if (!reader.whole()) return false
    if (this.#statements.alone) {
      if (!this.#quiet()) return false
      this.#statements.alone = false
    }
    this.#body.over(reader.bytes, reader.start + headerBytes, reader.start + length)
    this.#message(type)
    return true
  }

  #message(type: number): void {
    const conversation = this.#conversation
    if (conversation.copyIn && this.#inCopy(type)) return
    if (conversation.discarding && type !== frontend.Sync && type !== frontend.Terminate) {
      this.#drop()
      return
    }
    switch (type) {
      case frontend.Query:
        this.#statements.query()
        return
      case frontend.Parse:
        this.#statements.parse()
        return
      case frontend.Bind:
        this.#statements.bind()
        return
      case frontend.Describe:
        this.#statements.describe()
        return
      case frontend.Execute:
        this.#statements.execute()
        return
      case frontend.Close:
        this.#statements.close()
        return
      case frontend.Sync:
        this.#body.finish()
        this.#pass()
        conversation.expected.push(expectSync)
        conversation.batch += 1
        conversation.batchOpen = false
        conversation.bound = false
        conversation.discarding = false
        this.#reached = false
        this.#out.mark()
        return
      case frontend.Flush:
        this.#body.finish()
        this.#pass()
        return
      case frontend.CopyDone:
      case frontend.CopyFail:
        this.#drop()
        return
      case frontend.FunctionCall:
        this.#drop()
        this.#refuser.refuse('query', functionCall)
        return
      case frontend.Terminate:
        this.#pass()
        this.#flush()
        this.#waiting = 'work'
        this.#host.terminate()
        return
      default:
        throw new ProtocolError('postgres', `invalid frontend message type ${typeName(type)}`)
    }
  }

  /** While the server takes in a copy, it reads nothing but the copy (PG 18 docs §54.2.6). */
  #inCopy(type: number): boolean {
    const conversation = this.#conversation
    switch (type) {
      case frontend.Sync:
      case frontend.Flush:
        // libpq sends a Sync behind Execute, before it knows of the copy. The server would throw it away.
        this.#drop()
        return true
      case frontend.CopyDone:
      case frontend.CopyFail: {
        this.#pass()
        conversation.copyIn = false
        this.#copyOf = null
        this.#copyBy = undefined
        const { first } = conversation.expected
        // A string may hold another copy.
        if (first?.kind === 'query' && first.run !== null) this.#statements.awaitCopy(first.run)
        return true
      }
      case frontend.Terminate:
        return false
      default:
        throw new ProtocolError('postgres', `unexpected message type ${typeName(type)} during COPY from stdin`)
    }
  }

  /** The run that data of a copy is for; null where a mask hides something of what it goes into, so that it is not kept. */
  #copying(): Run | null {
    const { first } = this.#conversation.expected
    const run = first?.kind === 'query' || first?.kind === 'execute' ? first.run : null
    const statement = run?.statement
    if (run === null || statement === undefined) return null
    if (statement === this.#copyBy) return this.#copyOf
    this.#copyBy = statement
    return run.masks.length > 0 && touches(statement, run.masks) ? null : run
  }

  /** Data is on record before it is forwarded, as results are before they are shown. */
  #recordCopied(bytes: Buffer): void {
    if (this.#copyOf === null) return
    const { context } = this.#conversation
    const { event: action } = this.#copyOf
    const behind = context.record({ kind: 'result', connection: context.connection, action, bytes })
    this.#uncommitted = true
    if (behind !== undefined) this.#work(behind)
  }

  #decide(action: SqlAction): Decision<SqlAction> | undefined {
    const settled = this.#settled
    if (settled !== undefined) {
      this.#settled = undefined
      // Never for another message than the one that was asked about.
      if (settled.message === this.#taken) return settled.decision
    }
    const decision = this.#conversation.context.decide(action, this.#asking)
    this.#uncommitted = true
    if (!(decision instanceof Promise)) return decision
    const message = this.#taken
    this.#waiting = 'hold'
    decision.then(
      made => {
        this.#asking.settled()
        this.#settled = { message, decision: made }
        this.#uncommitted = true
        this.#go()
        this.#host.worked()
      },
      (error: unknown) => this.#host.fail(error),
    )
    return undefined
  }

  /** Whether all that was sent has been answered; else sees to it that it will be. */
  #quiet(): boolean {
    const conversation = this.#conversation
    if (conversation.expected.length === 0 && !conversation.cancelling) return true
    if (conversation.batchOpen) this.#out.insert(flushMessage)
    this.#waiting = 'quiet'
    return false
  }

  #work(work: Promise<unknown>): void {
    this.#waiting = 'work'
    work.then(
      () => {
        this.#go()
        this.#host.worked()
      },
      (error: unknown) => this.#host.fail(error),
    )
  }

  #pass(): void {
    const { bytes, start, length } = this.#reader
    this.#out.pass(bytes, start, start + length)
    this.#reader.skip(length)
    this.#taken += 1
  }

  #drop(): void {
    const settled = this.#settled
    this.#settled = undefined
    this.#statements.dropped()
    if (settled?.decision.kind === 'allow')
      this.#conversation.end(new Run(settled.decision, emptyText, 0), 'cancelled', 'not run')
    this.#reader.skip(this.#reader.length)
    this.#taken += 1
  }

  #tooLong(type: number): void {
    const { length } = this.#reader
    if (type !== frontend.Query && type !== frontend.Parse && type !== frontend.Bind)
      throw new ProtocolError('postgres', `a message ${typeName(type)} of ${length} bytes`)
    this.#dropping = length
    this.#taken += 1
    if (this.#conversation.discarding) return
    this.#refuser.refuse(type === frontend.Query ? 'query' : 'extended', {
      sqlstate: '54000', // program_limit_exceeded
      message: `refused by agentgate: a message of ${length} bytes; the limit is ${limitOf(type)}`,
      hint: 'send it in parts, or by COPY',
    })
  }

  /** Nothing is forwarded before it is on record. */
  #flush(): void {
    this.#conversation.recordEnded()
    if (this.#uncommitted) {
      this.#conversation.context.commit()
      this.#uncommitted = false
    }
    if (this.#out.size === 0) return
    // What belongs to a held statement's batch waits with it, or the server would take locks for it.
    if (this.#waiting === 'hold') {
      if (!this.#out.flushMarked(this.#server)) this.#full = true
      return
    }
    this.#reached ||= this.#conversation.batchOpen
    if (!this.#out.flush(this.#server)) this.#full = true
  }
}

const functionCall: Refusal = {
  sqlstate: '42501',
  message: 'refused by agentgate: the function call message says too little of what it does',
  hint: 'call the function in a query: SELECT name(…)',
}

function limitOf(type: number): number {
  switch (type) {
    case frontend.Query:
    case frontend.Parse:
      return maxTextBytes
    case frontend.Bind:
      return maxBindBytes
    default:
      return maxSmallBytes
  }
}
