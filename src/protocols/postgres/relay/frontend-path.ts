import { isDeepStrictEqual } from 'node:util'
import type { Duplex } from 'node:stream'
import { AgentgateError, ProtocolError } from '../../../errors.ts'
import type { Decision, Held } from '../../protocol.ts'
import type { AnalysedText, SqlAction } from '../analysis/analysed.ts'
import { notice } from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { FrameReader, headerBytes } from '../wire/frame-reader.ts'
import {
  bindMessage,
  closeMessage,
  describeMessage,
  flushMessage,
  frame,
  parseMessage,
  queryMessage,
  readBind,
  readExecute,
  readParse,
  readTarget,
  syncMessage,
  type BindMessage,
} from '../wire/frontend-messages.ts'
import { frontend, target, typeName } from '../wire/message-type.ts'
import type { Catalogue, TextRows } from './analyser.ts'
import { composeNames, executedBy } from './compose-names.ts'
import type { Expected } from './expected.ts'
import { nameKey, type Conversation, type SqlAsker } from './conversation.ts'
import { KnownText } from './known-text.ts'
import { Outbox } from './outbox.ts'
import { OwnExchange, ownPrefix, type OwnResult } from './own-exchange.ts'
import { abortedTransaction, denial, poisonBind, poisonQuery, refusalError, type Refusal } from './refusal.ts'
import { readResolution, resolutionSql } from './resolution.ts'
import { BoundAction, Portal, Prepared, Run, type Allowed } from './run.ts'
import { decodeText, encodeText } from './text-encoding.ts'

/** As PostgreSQL's own: MaxAllocSize - 1 (src/include/libpq/libpq-be.h, PQ_LARGE_MESSAGE_LIMIT). */
const maxMessageBytes = 0x3fffffff
/** A text this long parses for seconds. */
const maxTextBytes = 16 * 1024 * 1024
/** Values have to be here whole before they are decided on. */
const maxBindBytes = 64 * 1024 * 1024
/** The rest carries names, or little. */
const maxSmallBytes = 64 * 1024
/** PG cuts names of statements and portals like identifiers (src/backend/utils/hash/dynahash.c, string_hash). */
const maxNameBytes = 63

/** Why nothing is pulled just now. */
type Waiting =
  | 'no'
  /** For the answer to everything sent. */
  | 'quiet'
  /** For whether the server takes in a copy. */
  | 'copy'
  /** For something of ours. */
  | 'work'
  /** For a person. */
  | 'hold'

/** What the path needs of the connection around it. */
export interface FrontendHost {
  /** Sends the client something of ours as soon as no other message is half-way. */
  tellClient(bytes: Buffer): void
  fail(error: unknown): void
  /** The client said goodbye. */
  terminate(): void
}

/**
 * From client to server: takes the client's messages one by one, decides, and passes them on as the bytes that came, one
 * write for all that one read brought. Holding is not pulling; a message that has to wait for something stays where it
 * is and is looked at again from the start.
 */
export class FrontendPath implements SqlAsker {
  readonly connection: SqlAsker['connection']
  readonly #conversation: Conversation
  readonly #server: Duplex
  readonly #host: FrontendHost
  readonly #reader = new FrameReader()
  readonly #body = new BodyReader()
  readonly #out = new Outbox()
  #waiting: Waiting = 'no'
  /** The server's buffer is full. */
  #full = false
  /** Of CopyData that passes: bytes still to come. */
  #passing = 0
  /** Of a message that is too long: bytes still to be thrown away. */
  #dropping = 0
  /** Messages taken so far: which one a decision was for. */
  #taken = 0
  #settled: { readonly message: number; readonly decision: Decision<SqlAction> } | undefined
  #hold: AbortController | undefined
  /** Something was decided since the last commit. */
  #decided = false
  /** What was sent uses names, so nothing goes behind it before it is answered. */
  #alone = false
  /** Messages of the open batch have reached the server. */
  #reached = false
  /** The run whose copy we wait for. */
  #copying: Run | undefined
  /** The message for which the catalogue was looked at once more. */
  #looked = -1
  /** Why the session's state could not be read. */
  #unread: Buffer | undefined

  constructor(conversation: Conversation, server: Duplex, host: FrontendHost) {
    this.connection = conversation.context.connection
    this.#conversation = conversation
    this.#server = server
    this.#host = host
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

  receive(chunk: Buffer): void {
    this.#reader.push(chunk)
    this.#pull()
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
        if (conversation.expected.length > 0) return
        break
      case 'copy':
        if (!conversation.copyIn && this.#copying?.ended === false && conversation.expected.length > 0) return
        this.#copying = undefined
        break
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
    this.#go()
  }

  /** Gives up waiting for a person; false where nobody was asked. */
  withdraw(): boolean {
    if (this.#hold === undefined) return false
    this.#hold.abort()
    return true
  }

  holdsLocks(): boolean {
    return this.#conversation.status !== 'I' || this.#reached || this.#conversation.expected.length > 0
  }

  onHold(held: Held): AbortSignal {
    const within = held.withinSeconds >= 120 ? `${Math.round(held.withinSeconds / 60)} min` : `${held.withinSeconds} s`
    this.#host.tellClient(
      notice({
        sqlstate: '00000',
        message: `waiting for approval by ${held.approvers} (rule "${held.rule.name}"), up to ${within}; Ctrl-C withdraws`,
      }),
    )
    this.#hold = new AbortController()
    return this.#hold.signal
  }

  async revise(action: SqlAction, text: string | undefined): Promise<SqlAction> {
    const conversation = this.#conversation
    if (!conversation.catalogueOwn) {
      const catalogue = await conversation.target.refresh()
      if (catalogue !== conversation.catalogue) conversation.resolve(conversation.resolution, catalogue)
    }
    const form = this.#reader.type === frontend.Bind ? 'extended' : 'simple'
    const wanted = text ?? action.shape.text
    const bytes = encodeText(wanted, conversation.resolution.clientEncoding)
    if (text !== undefined && bytes === undefined)
      throw new AgentgateError('USAGE', 'the edit has characters that the client’s encoding does not have')
    const key = (bytes ?? Buffer.from(wanted)).toString('latin1')
    const { texts, resolution, catalogue } = conversation
    let known = texts.get(key)
    if (known === undefined) {
      // Kept, so that asking again gives the same object: that is how an unchanged action is known.
      known = await conversation.target.read(wanted, resolution, catalogue)
      texts.set(key, known)
    }
    const named = known.usesNames ? composeNames(known, conversation) : known
    if ('missing' in named) throw new AgentgateError('USAGE', `prepared statement "${named.missing}" does not exist`)
    if (named.analysed.refusal !== null) throw new AgentgateError('USAGE', named.analysed.refusal.message)
    if (named.analysed === action.shape) return action
    // Read anew in the light of another catalogue, it may still say the same of each thing.
    if (text === undefined && isDeepStrictEqual(named.analysed.statements, action.shape.statements)) return action
    if (text === undefined) return { kind: 'postgres', shape: named.analysed, parameters: action.parameters }
    if (form === 'extended') await this.#checkDescribed(action.shape, named.analysed)
    return { kind: 'postgres', shape: named.analysed, parameters: action.parameters }
  }

  /** The client knows parameters and columns of what it prepared: an edit has to have the same. */
  async #checkDescribed(asked: AnalysedText, edited: AnalysedText): Promise<void> {
    const { statements } = edited
    if (statements.length !== 1)
      throw new AgentgateError('USAGE', 'what the client prepared is one statement, and so its edit has to be')
    const connection = await this.#conversation.target.connection()
    const { resolution } = this.#conversation
    const before = await connection.describe(asked.text, resolution)
    const after = await connection.describe(edited.text, resolution)
    if (before === undefined || after === undefined)
      throw new AgentgateError(
        'USAGE',
        'the server cannot prepare the edit apart from this session, so it cannot be compared',
      )
    if (before !== after)
      throw new AgentgateError('USAGE', 'the edit has other parameters or columns than the client has been told', {
        hint: 'keep the same parameters and the same columns',
      })
  }

  #go(): void {
    this.#waiting = 'no'
    this.#pull()
  }

  #pull(): void {
    try {
      while (this.#waiting === 'no' && !this.#full && this.#step());
      this.#flush()
    } catch (error) {
      this.#host.fail(error)
    }
  }

  /** Takes one message, or one piece of a long one; false: wait for more bytes. */
  #step(): boolean {
    const reader = this.#reader
    if (this.#passing > 0) {
      const count = reader.some(this.#passing)
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
      if (this.#conversation.copyIn) this.#passing = length
      else this.#dropping = length
      return true
    }
    if (length > limitOf(type)) {
      this.#tooLong(type)
      return true
    }
    if (!reader.whole()) return false
    if (this.#alone) {
      if (!this.#quiet()) return false
      this.#alone = false
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
        this.#query()
        return
      case frontend.Parse:
        this.#parse()
        return
      case frontend.Bind:
        this.#bind()
        return
      case frontend.Describe:
        this.#describe()
        return
      case frontend.Execute:
        this.#execute()
        return
      case frontend.Close:
        this.#close()
        return
      case frontend.Sync:
        this.#body.finish()
        this.#pass()
        conversation.expected.push(sync)
        conversation.batch += 1
        conversation.batchOpen = false
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
        this.#refuse('query', {
          sqlstate: '42501',
          message: 'refused by agentgate: the function call message says too little of what it does',
          hint: 'call the function in a query: SELECT name(…)',
        })
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
        const { first } = conversation.expected
        // A string may hold another copy.
        if (first?.kind === 'query' && first.run !== null) this.#awaitCopy(first.run)
        return true
      }
      case frontend.Terminate:
        return false
      default:
        throw new ProtocolError('postgres', `unexpected message type ${typeName(type)} during COPY from stdin`)
    }
  }

  #query(): void {
    const body = this.#body
    const textStart = body.at
    const textEnd = body.stringEnd()
    body.finish()
    const text = this.#text('query', textStart, textEnd)
    if (text === undefined) return
    const known = this.#named('query', text)
    if (known === undefined || this.#launders('query', known)) return
    const decision = this.#decide(known.action)
    if (decision === undefined) return
    if (decision.kind === 'deny') {
      this.#refuse('query', denial(decision))
      return
    }
    const runs = this.#running(known, decision.action)
    if (decision.edited) this.#replace(queryMessage(decision.action.shape.text))
    else this.#pass()
    this.#send(runs, decision, 'query')
    this.#out.mark()
  }

  /** Follows what a run may change. */
  #send(known: KnownText, decision: Allowed, form: 'query'): Run
  #send(known: KnownText, run: Run, form: 'execute'): Run
  #send(known: KnownText, of: Allowed | Run, form: 'query' | 'execute'): Run {
    const conversation = this.#conversation
    const run = of instanceof Run ? of : new Run(of, known, conversation.context.generation)
    if (form === 'query') conversation.expected.push({ kind: 'query', run, replacement: null })
    if (known.changesResolution) conversation.resolutionStale = conversation.resolutionTouched = true
    if (known.changesCatalogue) conversation.catalogueStale = conversation.catalogueTouched = true
    if (known.endsTransaction) {
      conversation.resolutionStale ||= conversation.resolutionTouched
      conversation.catalogueStale ||= conversation.catalogueTouched
    }
    if (known.usesNames) this.#alone = true
    if (known.mayCopyIn) this.#awaitCopy(run)
    return run
  }

  #awaitCopy(run: Run): void {
    const conversation = this.#conversation
    if (conversation.batchOpen) this.#out.insert(flushMessage)
    this.#copying = run
    this.#waiting = 'copy'
  }

  #parse(): void {
    const conversation = this.#conversation
    const message = readParse(this.#body)
    const text = this.#text('extended', message.textStart, message.textEnd)
    if (text === undefined) return
    const name = this.#name(message.name)
    if (text.statements.length > 1) {
      this.#refuse('extended', {
        sqlstate: '42601', // syntax_error, as the server
        message: 'cannot insert multiple commands into a prepared statement',
      })
      return
    }
    // Only what no values could make right: the run itself is decided on when its values are known.
    if (conversation.context.denies(text.action)) {
      const decision = this.#decide(text.action)
      if (decision?.kind === 'deny') this.#refuse('extended', denial(decision))
      return
    }
    const prepared = new Prepared(text, message.parameterTypes)
    const change = conversation.statements.announce(name, prepared, conversation.batch)
    this.#pass()
    this.#open()
    conversation.expected.push({ kind: 'parse', change })
  }

  #bind(): void {
    const conversation = this.#conversation
    const message = readBind(this.#body)
    const prepared = conversation.statements.find(this.#name(message.statement), conversation.batch)
    if (prepared === 'unsettled') {
      this.#quiet()
      return
    }
    if (prepared === undefined) {
      this.#nameless('extended', 'statement', message.statement)
      return
    }
    const text = this.#current('extended', prepared)
    if (text === undefined) return
    const known = this.#named('extended', text)
    if (known === undefined || this.#launders('extended', known)) return
    const action =
      message.values.length === 0 ? known.action : new BoundAction(known.analysed, message, prepared.parameterTypes)
    const decision = this.#decide(action)
    if (decision === undefined) return
    if (decision.kind === 'deny') {
      this.#refuse('extended', denial(decision))
      return
    }
    const runs = this.#running(known, decision.action)
    const run = new Run(decision, runs, conversation.context.generation)
    const portal = new Portal(prepared, message.resultFormats, action, run)
    const change = conversation.portals.announce(this.#name(message.portal), portal, conversation.batch)
    if (decision.edited) this.#bindEdited(decision.action.shape.text, message, prepared)
    else this.#pass()
    this.#open()
    conversation.expected.push({ kind: 'bind', change, replacement: null })
    if (decision.edited) {
      this.#out.insert(closeMessage('Statement', editName))
      conversation.expected.push(ownClose)
    }
    if (run.masks.length > 0 && prepared.fields === undefined && !prepared.described && givesRows(runs)) {
      this.#out.insert(describeMessage('Portal', message.portal))
      prepared.described = true
      conversation.expected.push({ kind: 'describe', prepared, own: true })
    }
  }

  /** Binds the client's values to an approver's text, in a statement of ours that is gone at once. */
  #bindEdited(text: string, message: BindMessage, prepared: Prepared): void {
    const { expected } = this.#conversation
    this.#out.insert(closeMessage('Statement', editName))
    this.#out.insert(parseMessage(editName, text, prepared.parameterTypes))
    expected.push(ownClose)
    expected.push(ownParse)
    this.#replace(bindMessage({ ...message, statement: editName }))
  }

  #describe(): void {
    const conversation = this.#conversation
    const { kind, name } = readTarget(this.#body)
    const found =
      kind === 'statement'
        ? conversation.statements.find(this.#name(name), conversation.batch)
        : conversation.portals.find(this.#name(name), conversation.batch)
    if (found === 'unsettled') {
      this.#quiet()
      return
    }
    if (found === undefined) {
      this.#nameless('extended', kind, name)
      return
    }
    const prepared = found instanceof Prepared ? found : found.prepared
    prepared.described = true
    this.#pass()
    this.#open()
    conversation.expected.push({ kind: 'describe', prepared, own: false })
  }

  #execute(): void {
    const conversation = this.#conversation
    const { portal: name } = readExecute(this.#body)
    const portal = conversation.portals.find(this.#name(name), conversation.batch)
    if (portal === 'unsettled') {
      this.#quiet()
      return
    }
    if (portal === undefined) {
      this.#nameless('extended', 'portal', name)
      return
    }
    let { run } = portal
    // A portal that gave only some of its rows goes on with the rest, unless policy or grant are no longer the same.
    if (run === null || run.ended || run.generation !== conversation.context.generation) {
      const decision = this.#decide(portal.action)
      if (decision === undefined) return
      if (decision.kind === 'deny') {
        this.#refuse('extended', denial(decision))
        return
      }
      if (decision.edited) {
        this.#refuse('extended', {
          sqlstate: '0A000',
          message: 'refused by agentgate: a portal that is open already cannot be edited',
        })
        return
      }
      if (run !== null) conversation.end(run, 'ok', run.tag)
      run = new Run(decision, this.#running(portal.prepared.known, decision.action), conversation.context.generation)
      portal.run = run
    }
    this.#pass()
    this.#open()
    conversation.expected.push({ kind: 'execute', portal, run })
    this.#send(run.known, run, 'execute')
  }

  #close(): void {
    const conversation = this.#conversation
    const { kind, name } = readTarget(this.#body)
    const key = this.#name(name)
    const { batch } = conversation
    const expected =
      kind === 'statement'
        ? ({ kind: 'close', of: kind, change: conversation.statements.announce(key, null, batch) } as const)
        : ({ kind: 'close', of: kind, change: conversation.portals.announce(key, null, batch) } as const)
    this.#pass()
    this.#open()
    conversation.expected.push(expected)
  }

  /** What a text says, in the light of the session as it is now; undefined: refused, or not yet known. */
  #text(form: 'query' | 'extended', start: number, end: number): KnownText | undefined {
    const conversation = this.#conversation
    if (!this.#fresh(form)) return undefined
    const { bytes } = this.#reader
    const key = bytes.toString('latin1', start, end)
    let known = conversation.texts.get(key)
    if (known === undefined) {
      const text = decodeText(bytes, start, end, conversation.resolution.clientEncoding)
      if (text === undefined) {
        this.#refuse(form, {
          sqlstate: '22021', // character_not_in_repertoire
          message: `refused by agentgate: the statement cannot be read as ${conversation.resolution.clientEncoding} with certainty`,
          hint: 'set client_encoding to UTF8',
        })
        return undefined
      }
      const read = conversation.target.read(text, conversation.resolution, conversation.catalogue)
      const { texts } = conversation
      if (read instanceof Promise) {
        this.#work(async () => texts.set(key, await read))
        return undefined
      }
      known = read
      texts.set(key, known)
    }
    return this.#readable(form, known)
  }

  /** What a prepared statement does, in the light of the session as it is now. */
  #current(form: 'query' | 'extended', prepared: Prepared): KnownText | undefined {
    if (!this.#fresh(form)) return undefined
    return this.#renewed(prepared) ? this.#readable(form, prepared.known) : undefined
  }

  /** Whether what a prepared statement does has been read in the light of how things are; else it will be. */
  #renewed(prepared: Prepared): boolean {
    const { texts, target, resolution, catalogue } = this.#conversation
    if (prepared.known.of === texts) return true
    const { text } = prepared.known.analysed
    const key = nameKey(text)
    const current = texts.get(key) ?? target.read(text, resolution, catalogue)
    if (current instanceof Promise) {
      this.#work(async () => texts.set(key, await current))
      return false
    }
    if (current.of !== texts) texts.set(key, current)
    prepared.renew(current)
    return true
  }

  #readable(form: 'query' | 'extended', known: KnownText): KnownText | undefined {
    const conversation = this.#conversation
    const { refusal } = known.analysed
    const failed = conversation.status === 'E' && !known.onlyTransaction
    if (failed && (conversation.resolutionStale || conversation.catalogueStale || refusal?.stale === true)) {
      this.#refuse(form, abortedTransaction)
      return undefined
    }
    if (refusal !== null) {
      if (refusal.stale === true && this.#looked !== this.#taken) {
        this.#looked = this.#taken
        this.#work(async () => await this.#lookAgain())
        return undefined
      }
      this.#decided = true
      conversation.context.refuse(known.action, refusal.message)
      this.#unreadable(form, known, refusal)
      return undefined
    }
    return known
  }

  /** Another session may have made what is missing. */
  async #lookAgain(): Promise<void> {
    const conversation = this.#conversation
    if (!conversation.catalogueOwn) {
      await conversation.target.refresh()
      return
    }
    conversation.catalogueStale = true
  }

  /** Whether a statement would put masked values where nothing masks them: then it is refused. */
  #launders(form: 'query' | 'extended', known: KnownText): boolean {
    const conversation = this.#conversation
    const { context } = conversation
    const message = conversation.launders(known, context.masks())
    if (message === undefined) return false
    this.#decided = true
    context.refuse(known.action, message)
    this.#refuse(form, { sqlstate: '42501', message: `refused by agentgate: ${message}` })
    return true
  }

  /** Whether names are resolved as the server does now; else asks the server, and the message is looked at again. */
  #fresh(form: 'query' | 'extended'): boolean {
    const conversation = this.#conversation
    const { target } = conversation
    target.active = true
    if (this.#unread !== undefined) {
      const error = this.#unread
      this.#unread = undefined
      this.#refuseWith(form, error)
      return false
    }
    if (conversation.resolutionStale || conversation.catalogueStale) {
      if (!this.#quiet()) return false
      // Nothing can be asked in a failed transaction; what ends it needs no names.
      if (conversation.status === 'E') return true
      this.#work(async () => await this.#refresh())
      return false
    }
    if (conversation.catalogueOwn) return true
    if (target.stale) {
      this.#work(async () => {
        await target.refresh()
      })
      return false
    }
    if (target.catalogue !== undefined && target.catalogue !== conversation.catalogue)
      conversation.resolve(conversation.resolution, target.catalogue)
    return true
  }

  async #refresh(): Promise<void> {
    const conversation = this.#conversation
    let { resolution, catalogue } = conversation
    if (conversation.resolutionStale) {
      const results = await this.#own([resolutionSql])
      if (results === undefined) return
      resolution = readResolution(results[0] ?? []).resolution
      conversation.resolutionStale = false
    }
    if (conversation.catalogueStale) {
      const inside = conversation.status !== 'I' || conversation.batchOpen
      if (inside) {
        const own = await this.#ownCatalogue()
        if (own === undefined) return
        catalogue = own
      } else catalogue = await conversation.target.refresh(true)
      conversation.catalogueOwn = inside
      conversation.catalogueStale = false
    }
    conversation.resolve(resolution, catalogue)
  }

  /** The catalogue as only this session sees it, from within its transaction; undefined where that failed. */
  async #ownCatalogue(): Promise<Catalogue | undefined> {
    const failure = new AgentgateError('INTERNAL', 'the catalogue could not be read')
    try {
      return await this.#conversation.analyser.loadCatalogue(async queries => {
        const results = await this.#own(queries)
        if (results === undefined) throw failure
        return results
      }, undefined)
    } catch (error) {
      if (error === failure) return undefined
      throw error
    }
  }

  /** Asks the server on the client's connection; undefined where that failed, which the client is then told. */
  async #own(queries: readonly string[]): Promise<readonly TextRows[] | undefined> {
    const conversation = this.#conversation
    const result = await new Promise<OwnResult>(resolve => {
      const exchange = new OwnExchange(!conversation.batchOpen, resolve)
      this.#out.insert(exchange.messages(queries))
      conversation.expected.push({ kind: 'own', exchange })
      this.#flush()
    })
    if (result.kind === 'rows') return result.results
    if (result.kind === 'failed' && !conversation.discarding) this.#unread = result.error
    return undefined
  }

  /** Puts what names stand for in their place; waits until nothing is in flight that could change it. */
  #named(form: 'query' | 'extended', known: KnownText): KnownText | undefined {
    if (!known.usesNames) return known
    if (!this.#quiet()) return undefined
    for (const prepared of executedBy(known, this.#conversation)) if (!this.#renewed(prepared)) return undefined
    const named = composeNames(known, this.#conversation)
    if (!('missing' in named)) return named
    this.#nameless(form, 'statement', nameKey(named.missing))
    return undefined
  }

  /** The text that runs: what was asked for, unless an approver or a changed catalogue made something else of it. */
  #running(known: KnownText, action: SqlAction): KnownText {
    return action.shape === known.analysed ? known : new KnownText(action.shape)
  }

  #decide(action: SqlAction): Decision<SqlAction> | undefined {
    const settled = this.#settled
    if (settled !== undefined) {
      this.#settled = undefined
      // Never for another message than the one that was asked about.
      if (settled.message === this.#taken) return settled.decision
    }
    const { context } = this.#conversation
    const decision = context.decide(action, this)
    this.#decided = true
    if (!(decision instanceof Promise)) return decision
    const message = this.#taken
    this.#waiting = 'hold'
    decision.then(
      settledDecision => {
        this.#hold = undefined
        this.#settled = { message, decision: settledDecision }
        this.#decided = true
        this.#go()
      },
      (error: unknown) => this.#host.fail(error),
    )
    return undefined
  }

  /** Whether all that was sent has been answered; else sees to it that it will be. */
  #quiet(): boolean {
    const conversation = this.#conversation
    if (conversation.expected.length === 0) return true
    if (conversation.batchOpen) this.#out.insert(flushMessage)
    this.#waiting = 'quiet'
    return false
  }

  #work(work: () => Promise<void>): void {
    this.#waiting = 'work'
    work().then(
      () => this.#go(),
      (error: unknown) => this.#host.fail(error),
    )
  }

  /** A statement's or portal's name as the server keeps it. */
  #name(name: string): string {
    return name.length > maxNameBytes ? name.slice(0, maxNameBytes) : name
  }

  #open(): void {
    this.#conversation.batchOpen = true
  }

  #pass(): void {
    const { bytes, start, length } = this.#reader
    this.#out.pass(bytes, start, start + length)
    this.#reader.skip(length)
    this.#taken += 1
  }

  #replace(bytes: Buffer): void {
    this.#out.insert(bytes)
    this.#drop()
  }

  #drop(): void {
    const settled = this.#settled
    this.#settled = undefined
    if (settled?.decision.kind === 'allow')
      this.#conversation.end(new Run(settled.decision, emptyText, 0), 'cancelled', 'not run')
    this.#reader.skip(this.#reader.length)
    this.#taken += 1
  }

  #refuse(form: 'query' | 'extended', refusal: Refusal): void {
    this.#refuseWith(form, refusalError(refusal))
  }

  #refuseWith(form: 'query' | 'extended', replacement: Buffer): void {
    const conversation = this.#conversation
    this.#drop()
    if (form === 'query') {
      this.#out.insert(poisonQuery)
      conversation.expected.push({ kind: 'query', run: null, replacement })
      this.#out.mark()
      return
    }
    this.#out.insert(poisonBind)
    conversation.expected.push({ kind: 'bind', change: null, replacement })
    this.#open()
    conversation.discarding = true
  }

  /**
   * Has the server say itself what is wrong, in its own words and with its own position: `probe` asks for something that
   * runs nothing. Where the server finds nothing wrong with it, the refusal is ours.
   */
  #serverSays(form: 'query' | 'extended', probe: Buffer, expected: Expected, refusal: Refusal): void {
    const conversation = this.#conversation
    if (form === 'query' && conversation.batchOpen) {
      this.#refuse(form, refusal) // a Sync of ours would end what the client's own Sync is to end
      return
    }
    this.#drop()
    this.#out.insert(probe)
    conversation.expected.push(expected)
    this.#out.insert(poisonBind)
    conversation.expected.push({ kind: 'bind', change: null, replacement: refusalError(refusal) })
    if (form === 'extended') {
      this.#open()
      conversation.discarding = true
      return
    }
    this.#out.insert(syncMessage)
    conversation.expected.push(sync)
    conversation.batch += 1
    this.#out.mark()
  }

  /** A text that cannot be read, or names what is not there: the server is shown it as one to prepare, never to run. */
  #unreadable(form: 'query' | 'extended', known: KnownText, refusal: Refusal): void {
    const bytes = encodeText(known.analysed.text, this.#conversation.resolution.clientEncoding)
    if (bytes === undefined || !saidByServer.has(refusal.sqlstate)) {
      this.#refuse(form, refusal)
      return
    }
    const { expected } = this.#conversation
    this.#out.insert(closeMessage('Statement', editName))
    expected.push(ownClose)
    this.#serverSays(form, parseMessage(editName, known.analysed.text), ownParse, refusal)
  }

  /** A name that nothing of this connection bears. */
  #nameless(form: 'query' | 'extended', kind: 'statement' | 'portal', name: string): void {
    const refusal = missing(kind, name)
    const probe = frame(
      frontend.Describe,
      Buffer.of(kind === 'statement' ? target.Statement : target.Portal),
      Buffer.from(`${name}\0`, 'latin1'),
    )
    this.#serverSays(form, probe, { kind: 'describe', prepared: new Prepared(emptyText, []), own: true }, refusal)
  }

  #tooLong(type: number): void {
    const { length } = this.#reader
    const form = type === frontend.Query ? 'query' : 'extended'
    if (type !== frontend.Query && type !== frontend.Parse && type !== frontend.Bind)
      throw new ProtocolError('postgres', `a message ${typeName(type)} of ${length} bytes`)
    if (!this.#conversation.discarding) {
      this.#conversation.batchOpen ||= form === 'extended'
      this.#out.insert(form === 'query' ? poisonQuery : poisonBind)
      const replacement = refusalError({
        sqlstate: '54000', // program_limit_exceeded
        message: `refused by agentgate: a message of ${length} bytes; the limit is ${limitOf(type)}`,
        hint: 'send it in parts, or by COPY',
      })
      if (form === 'query') this.#conversation.expected.push({ kind: 'query', run: null, replacement })
      else {
        this.#conversation.expected.push({ kind: 'bind', change: null, replacement })
        this.#conversation.discarding = true
      }
    }
    this.#dropping = length
    this.#taken += 1
  }

  /** Nothing is forwarded before it is on record. */
  #flush(): void {
    if (this.#decided) {
      this.#conversation.context.commit()
      this.#decided = false
    }
    if (this.#out.isEmpty) return
    // What belongs to a held statement's batch waits with it, or the server would take locks for it.
    if (this.#waiting === 'hold') {
      if (!this.#out.flushMarked(this.#server)) this.#full = true
      return
    }
    this.#reached ||= this.#conversation.batchOpen
    if (!this.#out.flush(this.#server)) this.#full = true
  }
}

const sync = { kind: 'sync' } as const
const ownParse = { kind: 'parse', change: null } as const
const ownClose = { kind: 'close', change: null } as const
/** syntax_error, undefined_table: of a text alone, so that the server finds the same without running it. */
const saidByServer = new Set(['42601', '42P01'])
const editName = `${ownPrefix}_edit`
const emptyText = new KnownText({ text: '', fingerprint: '', statements: [], refusal: null })

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

function givesRows(known: KnownText): boolean {
  return known.statements.some(statement => statement.output.kind !== 'none' && statement.output.kind !== 'copy-out')
}

function missing(kind: 'statement' | 'portal', name: string): Refusal {
  const hint = 'agentgate only knows what was prepared on this connection by PREPARE or by the protocol'
  return kind === 'statement'
    ? { sqlstate: '26000', message: `prepared statement "${shown(name)}" does not exist`, hint }
    : { sqlstate: '34000', message: `portal "${shown(name)}" does not exist`, hint }
}

const shown = (name: string) => Buffer.from(name, 'latin1').toString('utf8')
