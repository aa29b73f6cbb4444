import { isDeepStrictEqual } from 'node:util'
import { AgentgateError } from '../../../errors.ts'
import type { Held } from '../../protocol.ts'
import type { AnalysedText, SqlAction } from '../analysis/analysed.ts'
import { notice } from '../wire/backend-messages.ts'
import { composeNames } from './compose-names.ts'
import { countable } from './counted-run.ts'
import { nameKey, type Conversation, type SqlAsker } from './conversation.ts'
import { findFacts } from './facts.ts'
import type { Form } from './refuser.ts'
import { encodeText } from './text-encoding.ts'

/** What a decision needs to know of the path that asks for it. */
export interface AskingHost {
  /** Sends the client something of ours as soon as no other message is half-way. */
  tellClient(bytes: Buffer): void
  /** Of the message that is being decided on. */
  readonly form: Form
  /** Messages of a batch that is not complete have reached the server. */
  readonly reached: boolean
  /** Whether the Bind at hand and what runs it stand alone in their batch, and are here whole. */
  readonly aloneInBatch: boolean
  /** What came of the message at hand when it was tried, and taken back. */
  readonly tried: string | undefined
}

/** One connection's side of its decisions: tells the client that it waits, and makes of an edit what could run. */
export class Asking implements SqlAsker {
  readonly connection: SqlAsker['connection']
  readonly #conversation: Conversation
  readonly #host: AskingHost
  #hold: AbortController | undefined

  constructor(conversation: Conversation, host: AskingHost) {
    this.connection = conversation.context.connection
    this.#conversation = conversation
    this.#host = host
  }

  /** Outside of a transaction, and where nothing else runs between the answers of which its own stands. */
  countsRows(action: SqlAction): boolean {
    const { status, expected, bound } = this.#conversation
    if (status !== 'I' || bound || !countable(action)) return false
    if (this.#host.form === 'query') return expected.length === 0 && !this.#conversation.batchOpen
    return expected.onlyPrepares && this.#host.aloneInBatch
  }

  tried(): string | undefined {
    return this.#host.tried
  }

  holdsLocks(): boolean {
    const { status, expected } = this.#conversation
    return status !== 'I' || this.#host.reached || expected.length > 0
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

  /** Gives up waiting for a person; false where nobody was asked. */
  withdraw(): boolean {
    if (this.#hold === undefined) return false
    this.#hold.abort()
    return true
  }

  /** The wait is over. */
  settled(): void {
    this.#hold = undefined
  }

  async revise(action: SqlAction, text: string | undefined): Promise<SqlAction> {
    const conversation = this.#conversation
    const { target } = conversation
    // Nothing of this connection runs while it waits, so only others can have changed something.
    if (!conversation.catalogueOwn) {
      const catalogue = await target.refresh()
      if (catalogue !== conversation.catalogue) conversation.resolve(conversation.resolution, catalogue)
    }
    const wanted = text ?? action.analysed.text
    if (text !== undefined && encodeText(text, conversation.resolution.clientEncoding) === undefined)
      throw new AgentgateError('USAGE', 'the edit has characters that the client’s encoding does not have')
    const { texts, resolution, catalogue } = conversation
    let known = texts.get(nameKey(wanted))
    if (known === undefined) {
      // Kept, so that asking again gives the same object: that is how an unchanged action is known.
      known = await target.read(wanted, resolution, catalogue)
      texts.set(nameKey(wanted), known)
    }
    const { refusal } = known.analysed
    if (refusal !== null) throw new AgentgateError('USAGE', refusal.message)
    const named = known.shape.usesNames ? composeNames(known, conversation) : known
    if ('missing' in named) throw new AgentgateError('USAGE', `prepared statement "${named.missing}" does not exist`)
    const message = conversation.forbids(named, conversation.context.masks())
    if (message !== undefined) throw new AgentgateError('DENIED', message)
    if (named.analysed === action.analysed) return action
    // Read anew in the light of another catalogue, it may still say the same of each thing.
    if (text === undefined && isDeepStrictEqual(named.analysed.statements, action.analysed.statements)) return action
    if (text !== undefined && this.#host.form === 'extended')
      await this.#checkDescribed(action.analysed, named.analysed)
    const { analysed } = named
    return await findFacts(
      { kind: 'postgres', shape: analysed.shape, analysed, parameters: action.parameters },
      conversation,
    )
  }

  /** The client knows parameters and columns of what it prepared: an edit has to have the same. */
  async #checkDescribed(asked: AnalysedText, edited: AnalysedText): Promise<void> {
    if (edited.statements.length !== 1)
      throw new AgentgateError('USAGE', 'what the client prepared is one statement, and so its edit has to be')
    const { target, resolution } = this.#conversation
    const connection = await target.connection()
    const before = await connection.describe(asked.text, resolution)
    const after = await connection.describe(edited.text, resolution)
    if (before === undefined || after === undefined)
      throw new AgentgateError('USAGE', 'the server cannot prepare the edit apart from this session, to compare it')
    if (before !== after)
      throw new AgentgateError('USAGE', 'the edit has other parameters or columns than the client has been told', {
        hint: 'keep the same parameters and the same columns',
      })
  }
}
