import { ProtocolError } from '../../../errors.ts'
import type { Decision } from '../../protocol.ts'
import type { SqlAction } from '../analysis/analysed.ts'
import type { BodyReader } from '../wire/body-reader.ts'
import { headerBytes, type FrameReader } from '../wire/frame-reader.ts'
import {
  bindMessage,
  closeMessage,
  describeMessage,
  flushMessage,
  parseMessage,
  queryMessage,
  readBind,
  readExecute,
  readParse,
  readTarget,
  type BindMessage,
} from '../wire/frontend-messages.ts'
import { composeNames, executedBy } from './compose-names.ts'
import { CountedRuns, portalBatch, type CountingHost, type PortalBatch } from './counted-run.ts'
import type { Expected } from './expected.ts'
import { nameKey, type Conversation } from './conversation.ts'
import { findFacts, noteSeen, withoutFacts } from './facts.ts'
import { emptyText, KnownText } from './known-text.ts'
import type { Outbox } from './outbox.ts'
import { abortedTransaction, denial, type Refusal } from './refusal.ts'
import { expectOwnClose, expectOwnParse, ownStatement, type Form, type Refuser } from './refuser.ts'
import { unlimitable } from './result-limit.ts'
import { BoundAction, Portal, Prepared, Run, type Allowed } from './run.ts'
import type { Reading, SessionReader } from './session-reader.ts'

/** PG cuts names of statements and portals like identifiers (src/backend/utils/hash/dynahash.c, string_hash). */
const maxNameBytes = 63

/** What a message may have to wait for before it is looked at again. */
export type Waiting =
  /** The answer to everything sent. */
  | 'quiet'
  /** Whether the server takes in a copy. */
  | 'copy'
  /** Something of ours. */
  | 'work'
  /** A person. */
  | 'hold'

/** The path that a message lies in. A method that gives undefined or false has made it wait. */
export interface MessagePath {
  readonly conversation: Conversation
  readonly reader: FrameReader
  /** Over the message's body. */
  readonly body: BodyReader
  readonly out: Outbox
  readonly session: SessionReader
  readonly refuser: Refuser
  /** The other direction, where something of ours runs for a message. */
  readonly back: CountingHost['back']
  /** Sends what has been decided. */
  flush(): void
  /** Passes the message on as it came. */
  pass(): void
  /** Leaves the message behind. */
  drop(): void
  decide(action: SqlAction): Decision<SqlAction> | undefined
  /** Something went on record that has to be written before anything is sent. */
  recorded(): void
  quiet(): boolean
  work(work: Promise<unknown>): void
  awaitCopy(): void
  /** How many messages were taken before this one. */
  taken(): number
}

/** The messages that make statements run. Each is understood, decided on, and then passed or refused. */
export class StatementMessages {
  /** What was sent uses names, so nothing goes behind it before it is answered. */
  alone = false
  readonly #path: MessagePath
  readonly #conversation: Conversation
  /** The run of which the server is to say whether it takes in a copy. */
  #copying: Run | undefined
  /** The message for which the catalogue was looked at once more. */
  #looked = -1
  /** What was found out for the message at hand. */
  #found: { readonly message: number; readonly action: SqlAction } | undefined

  readonly #counted: CountedRuns
  /** Decided, and to be counted when all before it has been answered. */
  #toCount: { readonly message: number; readonly decision: Allowed } | undefined

  constructor(path: MessagePath) {
    this.#path = path
    this.#conversation = path.conversation
    this.#counted = new CountedRuns(path)
  }

  /** What came of the message at hand when it was tried, and taken back. */
  get tried(): string | undefined {
    return this.#counted.tried
  }

  /** The Bind at hand with all that runs it, where these are alone in their batch. */
  portalBatch(): PortalBatch | undefined {
    const { reader, body } = this.#path
    const bytes = reader.all()
    body.over(bytes, headerBytes, reader.length)
    try {
      return portalBatch(bytes, readBind(body).portal)
    } catch (error) {
      if (error instanceof ProtocolError) return undefined
      throw error
    }
  }

  /** The message at hand is left behind. */
  dropped(): void {
    const waiting = this.#toCount
    this.#toCount = undefined
    if (waiting !== undefined) this.#conversation.end(new Run(waiting.decision, emptyText, 0), 'cancelled', 'not run')
  }

  get copyPending(): boolean {
    return this.#copying?.ended === false
  }

  query(): void {
    this.#path.refuser.replacesUnnamed = false
    if (this.#counted.answered) {
      this.#path.drop()
      return
    }
    const { body, out } = this.#path
    const textStart = body.at
    const textEnd = body.stringEnd()
    body.finish()
    const known = this.#text('query', textStart, textEnd)
    if (known === undefined) return
    const decision = this.#decide('query', known.action)
    if (decision === undefined) return
    const runs = this.#running(known, decision.action)
    const run = new Run(decision, runs, this.#conversation.context.generation)
    if (decision.withinRows !== undefined) {
      const { bytes, start, length } = this.#path.reader
      this.#count('query', run, decision.withinRows, Buffer.from(bytes.subarray(start, start + length)), [])
      return
    }
    const unfit = run.limit === null ? undefined : unlimitable(decision.action, this.#conversation.status === 'T')
    if (unfit !== undefined) {
      this.#conversation.end(run, 'cancelled', 'not run')
      this.#refuse('query', unfit)
      return
    }
    if (decision.edited) {
      out.insert(queryMessage(decision.action.analysed.text))
      this.#path.drop()
    } else this.#path.pass()
    this.#conversation.expected.push({ kind: 'query', run, replacement: null })
    this.#follow(run)
    out.mark()
  }

  parse(): void {
    const conversation = this.#conversation
    const message = readParse(this.#path.body)
    this.#path.refuser.replacesUnnamed = message.name === ''
    const text = this.#known('extended', message.textStart, message.textEnd)
    if (text === undefined) return
    if (text.statements.length > 1) {
      this.#refuse('extended', severalCommands)
      return
    }
    // Only what no values could make right: the run itself is decided on when its values are known.
    if (!text.shape.usesNames && conversation.context.denies(withoutFacts(text.action, conversation))) {
      this.#decide('extended', text.action)
      return
    }
    const prepared = new Prepared(text, message.parameterTypes)
    const change = conversation.statements.announce(cut(message.name), prepared, conversation.batch)
    this.#pass()
    conversation.expected.push({ kind: 'parse', change })
  }

  /** A portal is decided on when its values are bound, before the server plans it and takes its locks. */
  bind(): void {
    this.#path.refuser.replacesUnnamed = false
    const conversation = this.#conversation
    const { out } = this.#path
    const message = readBind(this.#path.body)
    if (this.#counted.answered) {
      // All of its batch was run with it.
      for (let left = this.portalBatch()?.messages ?? 0; left > 0; left--) this.#dropNext()
      return
    }
    const prepared = conversation.statements.find(cut(message.statement), conversation.batch)
    if (prepared === undefined || prepared === 'unsettled') {
      this.#nameless(prepared, 'statement', message.statement)
      return
    }
    const known = this.#renewed('extended', prepared)
    if (known === undefined) return
    const action =
      message.values.length === 0 ? known.action : new BoundAction(known.analysed, message, prepared.parameterTypes)
    const decision = this.#decide('extended', action)
    if (decision === undefined) return
    const run = new Run(decision, this.#running(known, decision.action), conversation.context.generation)
    const portal = new Portal(prepared, message.resultFormats, action, run)
    if (decision.withinRows !== undefined) {
      if (!this.#path.quiet()) {
        this.#toCount = { message: this.#path.taken(), decision }
        return
      }
      const batch = this.portalBatch()
      if (batch === undefined) {
        this.#counted.cannot(run)
        this.#path.work(Promise.resolve())
        return
      }
      const change = conversation.portals.announce(cut(message.portal), portal, conversation.batch)
      this.#count('extended', run, decision.withinRows, Buffer.from(batch.bytes), [
        { kind: 'bind', change, replacement: null },
        ...(batch.describes ? [{ kind: 'describe', prepared, own: false } as const] : []),
        { kind: 'execute', portal, run },
      ])
      return
    }
    conversation.bound = true
    const change = conversation.portals.announce(cut(message.portal), portal, conversation.batch)
    if (decision.edited) this.#bindEdited(decision.action.analysed.text, message, prepared)
    else this.#pass()
    conversation.expected.push({ kind: 'bind', change, replacement: null })
    if (decision.edited) {
      out.insert(closeMessage('Statement', ownStatement))
      conversation.expected.push(expectOwnClose)
    }
    // Rows can only be masked when their columns are known, and the client need not have asked.
    if (run.masks.length > 0 && prepared.description === undefined && !prepared.described && givesRows(run.known)) {
      out.insert(describeMessage('Portal', message.portal))
      prepared.described = true
      conversation.expected.push({ kind: 'describe', prepared, own: true })
    }
  }

  describe(): void {
    this.#path.refuser.replacesUnnamed = false
    const conversation = this.#conversation
    const { kind, name } = readTarget(this.#path.body)
    const names = kind === 'statement' ? conversation.statements : conversation.portals
    const found = names.find(cut(name), conversation.batch)
    if (found === undefined || found === 'unsettled') {
      this.#nameless(found, kind, name)
      return
    }
    const prepared = found instanceof Prepared ? found : found.prepared
    prepared.described = true
    this.#pass()
    conversation.expected.push({ kind: 'describe', prepared, own: false })
  }

  execute(): void {
    this.#path.refuser.replacesUnnamed = false
    const conversation = this.#conversation
    const { portal: name } = readExecute(this.#path.body)
    const portal = conversation.portals.find(cut(name), conversation.batch)
    if (portal === undefined || portal === 'unsettled') {
      this.#nameless(portal, 'portal', name)
      return
    }
    let { run } = portal
    // A portal that gave only some of its rows goes on with the rest, unless policy or grant are no longer the same.
    if (run === null || run.ended || run.generation !== conversation.context.generation) {
      const decision = this.#decide('extended', portal.action)
      if (decision === undefined) return
      if (run !== null) conversation.end(run, 'ok', run.tag)
      run = new Run(decision, this.#running(portal.prepared.known, decision.action), conversation.context.generation)
      if (decision.edited) {
        conversation.end(run, 'cancelled', 'not run')
        this.#refuse('extended', openPortal)
        return
      }
      portal.run = run
    }
    this.#pass()
    conversation.expected.push({ kind: 'execute', portal, run })
    this.#follow(run)
  }

  close(): void {
    const conversation = this.#conversation
    const { batch, statements, portals } = conversation
    const { kind, name } = readTarget(this.#path.body)
    const expected =
      kind === 'statement'
        ? ({ kind: 'close', of: kind, change: statements.announce(cut(name), null, batch) } as const)
        : ({ kind: 'close', of: kind, change: portals.announce(cut(name), null, batch) } as const)
    this.#pass()
    conversation.expected.push(expected)
  }

  /** Nothing is sent before the server has said whether it takes in a copy: what comes next depends on it. */
  awaitCopy(run: Run): void {
    if (this.#conversation.batchOpen) this.#path.out.insert(flushMessage)
    this.#copying = run
    this.#path.awaitCopy()
  }

  /** Runs it apart, and looks at the message again when that is over: it has its answer then, or a person is asked again. */
  #count(form: Form, run: Run, within: (rows: number) => boolean, bytes: Buffer, expected: readonly Expected[]): void {
    this.#path.work(this.#counted.run(form, run, bytes, expected, within))
  }

  #dropNext(): void {
    const { reader } = this.#path
    if (reader.header(0x3fffffff) && reader.whole()) this.#path.drop()
  }

  /** Binds the client's values to an approver's text, in a statement of ours that is gone at once. */
  #bindEdited(text: string, message: BindMessage, prepared: Prepared): void {
    const { out } = this.#path
    const { expected } = this.#conversation
    out.insert(closeMessage('Statement', ownStatement))
    out.insert(parseMessage(ownStatement, text, prepared.parameterTypes))
    out.insert(bindMessage({ ...message, statement: ownStatement }))
    expected.push(expectOwnClose)
    expected.push(expectOwnParse)
    this.#path.drop()
    this.#conversation.batchOpen = true
  }

  /** Follows what a run may change. */
  #follow(run: Run): void {
    const conversation = this.#conversation
    const { known } = run
    if (known.shape.changesResolution) conversation.resolutionStale = conversation.resolutionTouched = true
    if (known.shape.changesCatalogue) conversation.catalogueStale = conversation.catalogueTouched = true
    if (known.shape.endsTransaction) {
      conversation.resolutionStale ||= conversation.resolutionTouched
      conversation.catalogueStale ||= conversation.catalogueTouched
    }
    // What is behind it waits, so that it can be cancelled, or made to fail, alone.
    if (known.shape.usesNames || run.limit !== null) this.alone = true
    if (known.shape.mayCopyIn) this.awaitCopy(run)
  }

  /** A text as it would run, in the light of the session as it is now; undefined: refused, or it has to wait. */
  #text(form: Form, start: number, end: number): KnownText | undefined {
    const known = this.#known(form, start, end)
    return known === undefined ? undefined : this.#named(form, known)
  }

  #known(form: Form, start: number, end: number): KnownText | undefined {
    if (!this.#fresh(form)) return undefined
    const { session, reader } = this.#path
    const known = this.#settle(form, session.read(reader.bytes, start, end))
    return known === undefined ? undefined : this.#readable(form, known)
  }

  /** The same for a prepared statement. */
  #renewed(form: Form, prepared: Prepared): KnownText | undefined {
    if (!this.#fresh(form)) return undefined
    const known = this.#settle(form, this.#path.session.renew(prepared))
    const readable = known === undefined ? undefined : this.#readable(form, known)
    return readable === undefined ? undefined : this.#named(form, readable)
  }

  #settle(form: Form, reading: Reading): KnownText | undefined {
    if (reading instanceof KnownText) return reading
    if (reading === 'undecodable') {
      const { clientEncoding } = this.#conversation.resolution
      this.#refuse(form, {
        sqlstate: '22021', // character_not_in_repertoire
        message: `refused by agentgate: the statement cannot be read as ${clientEncoding} with certainty`,
        hint: 'set client_encoding to UTF8',
      })
    } else this.#path.work(reading)
    return undefined
  }

  #readable(form: Form, known: KnownText): KnownText | undefined {
    const conversation = this.#conversation
    const { session, refuser } = this.#path
    const { refusal } = known.analysed
    const failed = conversation.status === 'E' && !known.shape.onlyTransaction
    if (failed && (conversation.resolutionStale || conversation.catalogueStale || refusal?.stale === true)) {
      this.#refuse(form, abortedTransaction)
      return undefined
    }
    if (refusal === null) return known
    if (refusal.stale === true && this.#looked !== this.#path.taken()) {
      this.#looked = this.#path.taken()
      this.#path.work(session.lookAgain())
      return undefined
    }
    conversation.context.refuse(known.action, refusal.message)
    this.#path.recorded()
    this.#path.drop()
    refuser.unreadable(form, known, refusal)
    return undefined
  }

  /** Whether names are resolved as the server does now; else asks the server, and the message is looked at again. */
  #fresh(form: Form): boolean {
    const conversation = this.#conversation
    const { target } = conversation
    const { session, refuser } = this.#path
    target.active = true
    if (conversation.resolutionStale || conversation.catalogueStale) {
      const error = session.takeError()
      if (error !== undefined) {
        this.#path.drop()
        refuser.refuseWith(form, error)
        return false
      }
      if (!this.#path.quiet()) return false
      // Nothing can be asked in a failed transaction; what ends it needs no names.
      if (conversation.status === 'E') return true
      this.#path.work(session.refresh())
      return false
    }
    if (conversation.catalogueOwn) return true
    if (target.stale) {
      this.#path.work(target.refresh())
      return false
    }
    if (target.catalogue !== undefined && target.catalogue !== conversation.catalogue)
      conversation.resolve(conversation.resolution, target.catalogue)
    return true
  }

  /** Puts what names stand for in their place; waits until nothing is in flight that could change it. */
  #named(form: Form, known: KnownText): KnownText | undefined {
    const conversation = this.#conversation
    if (!known.shape.usesNames) return this.#permitted(form, known)
    if (!this.#path.quiet()) return undefined
    for (const prepared of executedBy(known, conversation))
      if (this.#settle(form, this.#path.session.renew(prepared)) === undefined) return undefined
    const named = composeNames(known, conversation)
    if (!('missing' in named)) return this.#permitted(form, named)
    if (conversation.status === 'E') {
      this.#refuse(form, abortedTransaction)
      return undefined
    }
    this.#path.drop()
    this.#path.refuser.nameless(form, 'statement', nameKey(named.missing))
    return undefined
  }

  /** What no rule could let through is refused: masked values put where nothing masks them, a password for the session’s role. */
  #permitted(form: Form, known: KnownText): KnownText | undefined {
    const { context } = this.#conversation
    const message = this.#conversation.forbids(known, context.masks())
    if (message === undefined) return known
    context.refuse(known.action, message)
    this.#path.recorded()
    this.#refuse(form, { sqlstate: '42501', message: `refused by agentgate: ${message}` })
    return undefined
  }

  /** Only what may run; undefined: refused, or a person is asked. */
  #decide(form: Form, asked: SqlAction): Allowed | undefined {
    const waiting = this.#toCount
    this.#toCount = undefined
    if (waiting?.message === this.#path.taken()) return waiting.decision
    const action = this.#withFacts(asked)
    if (action === undefined) return undefined
    const decision = this.#path.decide(action)
    if (decision?.kind === 'allow') noteSeen(decision.action, this.#conversation)
    if (decision?.kind !== 'deny') return decision
    this.#refuse(form, denial(decision))
    return undefined
  }

  /** What rules ask for besides the text; undefined: the server is being asked, and the message is looked at again. */
  #withFacts(asked: SqlAction): SqlAction | undefined {
    const found = this.#found
    if (found?.message === this.#path.taken() && found.action.analysed === asked.analysed) return found.action
    const action = findFacts(asked, this.#conversation)
    if (!(action instanceof Promise)) return action
    const message = this.#path.taken()
    this.#path.work(action.then(ready => (this.#found = { message, action: ready })))
    return undefined
  }

  /** The text that runs: what was asked for, unless an approver or a changed catalogue made something else of it. */
  #running(known: KnownText, action: SqlAction): KnownText {
    return action.analysed === known.analysed ? known : new KnownText(action.analysed)
  }

  #nameless(found: 'unsettled' | undefined, kind: 'statement' | 'portal', name: string): void {
    // What the name stands for depends on an answer that is still to come.
    if (found === 'unsettled' && !this.#path.quiet()) return
    this.#path.drop()
    this.#path.refuser.nameless('extended', kind, name)
  }

  /** Passes a message that the server answers only when asked to. */
  #pass(): void {
    this.#path.pass()
    this.#conversation.batchOpen = true
  }

  #refuse(form: Form, refusal: Refusal): void {
    this.#path.drop()
    this.#path.refuser.refuse(form, refusal)
  }
}

const severalCommands: Refusal = {
  sqlstate: '42601', // syntax_error, as the server
  message: 'cannot insert multiple commands into a prepared statement',
}

const openPortal: Refusal = {
  sqlstate: '0A000', // feature_not_supported
  message: 'refused by agentgate: a portal that is open already cannot be edited',
}

function cut(name: string): string {
  return name.length > maxNameBytes ? name.slice(0, maxNameBytes) : name
}

function givesRows(known: KnownText): boolean {
  return known.statements.some(({ output }) => output.kind !== 'none' && output.kind !== 'copy-out')
}
