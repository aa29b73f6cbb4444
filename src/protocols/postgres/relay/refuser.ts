import { closeMessage, frame, parseMessage, syncMessage } from '../wire/frontend-messages.ts'
import { frontend, target } from '../wire/message-type.ts'
import type { Conversation } from './conversation.ts'
import type { Expected } from './expected.ts'
import { emptyText, type KnownText } from './known-text.ts'
import type { Outbox } from './outbox.ts'
import { ownPrefix } from './own-exchange.ts'
import { poisonBind, poisonQuery, refusalError, type Refusal } from './refusal.ts'
import { Prepared } from './run.ts'
import { encodeText } from './text-encoding.ts'

/** Which protocol a message is of: what its refusal has to look like depends on it. */
export type Form = 'query' | 'extended'

export const expectSync: Expected = { kind: 'sync' }
export const expectOwnParse: Expected = { kind: 'parse', change: null }
export const expectOwnClose: Expected = { kind: 'close', change: null }
/** A statement of ours: an approver's text, or one that the server is to find fault with. */
export const ownStatement = `${ownPrefix}_text`

/** syntax_error, undefined_table: of a text alone, so that the server finds the same without running it. */
const saidByServer = new Set(['42601', '42P01'])

/** Puts something that fails in the place of a refused message, and sees to it that the client gets the refusal. */
export class Refuser {
  readonly #conversation: Conversation
  readonly #out: Outbox
  /** The message at hand is a Parse of the unnamed statement, which the server gives up even where the Parse fails. */
  replacesUnnamed = false

  constructor(conversation: Conversation, out: Outbox) {
    this.#conversation = conversation
    this.#out = out
  }

  refuse(form: Form, refusal: Refusal): void {
    this.refuseWith(form, refusalError(refusal))
  }

  refuseWith(form: Form, replacement: Buffer): void {
    const { expected } = this.#conversation
    if (form === 'query') {
      this.#out.insert(poisonQuery)
      expected.push({ kind: 'query', run: null, replacement })
      this.#out.mark()
      return
    }
    if (this.replacesUnnamed) this.#dropUnnamed()
    this.#out.insert(poisonBind)
    expected.push({ kind: 'bind', change: null, replacement })
    this.#failBatch()
  }

  #dropUnnamed(): void {
    const { statements, batch, expected } = this.#conversation
    this.#out.insert(closeMessage('Statement', ''))
    expected.push({ kind: 'close', of: 'statement', change: statements.announce('', null, batch), own: true })
  }

  /** A text that cannot be read, or names what is not there: the server is shown it as one to prepare, never to run. */
  unreadable(form: Form, known: KnownText, refusal: Refusal): void {
    const { text } = known.analysed
    const bytes = encodeText(text, this.#conversation.resolution.clientEncoding)
    if (bytes === undefined || !saidByServer.has(refusal.sqlstate)) {
      this.refuse(form, refusal)
      return
    }
    const probe = Buffer.concat([closeMessage('Statement', ownStatement), parseMessage(ownStatement, text)])
    this.#serverSays(form, probe, [expectOwnClose, expectOwnParse], refusal)
  }

  /** A name that nothing of this connection bears. */
  nameless(form: Form, kind: 'statement' | 'portal', name: string): void {
    const shown = Buffer.from(name, 'latin1').toString('utf8')
    const refusal = {
      sqlstate: kind === 'statement' ? '26000' : '34000', // invalid_sql_statement_name, invalid_cursor_name
      message: `${kind === 'statement' ? 'prepared statement' : 'portal'} "${shown}" does not exist`,
      hint: 'agentgate only knows what was prepared on this connection by PREPARE or by the protocol',
    }
    const letter = Buffer.of(kind === 'statement' ? target.Statement : target.Portal)
    const probe = frame(frontend.Describe, letter, Buffer.from(`${name}\0`, 'latin1'))
    this.#serverSays(form, probe, [{ kind: 'describe', prepared: new Prepared(emptyText, []), own: true }], refusal)
  }

  /**
   * Has the server say itself what is wrong, in its own words and with its own position: `probe` asks for something that
   * runs nothing. Where the server finds nothing wrong with it, the refusal is ours.
   */
  #serverSays(form: Form, probe: Buffer, answers: readonly Expected[], refusal: Refusal): void {
    const conversation = this.#conversation
    if (form === 'query' && conversation.batchOpen) {
      this.refuse(form, refusal) // a Sync of ours would end what the client's own Sync is to end
      return
    }
    // A Query would do so, too, before it is read (src/backend/tcop/postgres.c, exec_simple_query).
    if (form === 'query' || this.replacesUnnamed) this.#dropUnnamed()
    this.#out.insert(probe)
    for (const answer of answers) conversation.expected.push(answer)
    this.#out.insert(poisonBind)
    conversation.expected.push({ kind: 'bind', change: null, replacement: refusalError(refusal) })
    if (form === 'extended') {
      this.#failBatch()
      return
    }
    this.#out.insert(syncMessage)
    conversation.expected.push(expectSync)
    conversation.batch += 1
    this.#out.mark()
  }

  #failBatch(): void {
    this.#conversation.batchOpen = true
    this.#conversation.discarding = true
  }
}
