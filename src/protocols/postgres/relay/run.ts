import type { Mask, ResultLimit } from '../../../policy/action.ts'
import type { Decision } from '../../protocol.ts'
import type { AnalysedText, BoundParameter, SqlAction, Statement } from '../analysis/analysed.ts'
import type { BindMessage } from '../wire/frontend-messages.ts'
import type { RowMasker } from './analyser.ts'
import type { Description } from './description.ts'
import { KnownText } from './known-text.ts'

export type Allowed = Extract<Decision<SqlAction>, { kind: 'allow' }>
export type Denied = Extract<Decision<SqlAction>, { kind: 'deny' }>

/** What came of a run whose rows are counted before it is final. */
export interface Counted {
  /** Its CommandComplete, kept back. */
  complete: Buffer | null
  gaveRows: boolean
}

/** One allowed action on its way through the server: a query string, or a portal. */
export class Run {
  readonly known: KnownText
  /** Sequence number of the action's event. */
  readonly event: number
  readonly masks: readonly Mask[]
  readonly limit: ResultLimit | null
  /** Its result was longer than that: the rest is thrown away, and it ends with an error. */
  cut = false
  /** Of rows and copies, where they are limited. */
  givenBytes = 0
  givenRows = 0
  readonly generation: number
  startedMs: number
  /** Which statement of the string the server is at. */
  at = 0
  rows = 0
  tag = ''
  ended = false
  /** What the server is sending of this run just now. */
  sends: 'nothing' | 'rows' | 'copy' = 'nothing'
  /** How that is masked; null: passed as it comes. */
  masker: RowMasker | null = null
  /** Results that the statement at hand has given; only rules give more than one. */
  results = 0
  readonly masked: Set<string> | null
  /** It is not final, nor does the client see anything of it, before its rows have been counted. */
  counted: Counted | null = null

  constructor(decision: Allowed, known: KnownText, generation: number) {
    this.known = known
    this.event = decision.event
    this.masks = decision.masks
    this.limit = decision.limit ?? null
    this.generation = generation
    this.startedMs = performance.now()
    this.masked = decision.masks.length > 0 ? new Set() : null
  }

  /** Undefined where the server sends more than the string holds. */
  get statement(): Statement | undefined {
    return this.known.statements[this.at]
  }
}

/** A prepared statement: by Parse, or by PREPARE. */
export class Prepared {
  known: KnownText
  /** By PREPARE or DECLARE: what it is called within its own text. */
  readonly #within: string | null
  /** As Parse said (0: the server is to find out), or as the server then described them. */
  parameterTypes: readonly number[]
  /** What the server says of its columns, once it has; null: it gives no rows. */
  description: Description | null | undefined
  /** A Describe is on its way, so `description` will be known before rows come. */
  described = false

  constructor(known: KnownText, parameterTypes: readonly number[], within: string | null = null) {
    this.known = known
    this.#within = within
    this.parameterTypes = parameterTypes
  }

  /** Its text has been read again. */
  renew(read: KnownText): void {
    if (this.#within === null) {
      this.known = read
      return
    }
    for (const statement of read.statements)
      for (const change of statement.changes)
        if ((change.kind === 'prepare' || change.kind === 'declare') && change.name === this.#within)
          this.known = KnownText.of(change.statement, read.of)
  }
}

/** A portal by Bind, or a cursor by DECLARE. */
export class Portal {
  readonly prepared: Prepared
  readonly #formats: readonly number[]
  /** null: a cursor by DECLARE, which has not been run as a portal. Of Bind's: gone when the transaction ends. */
  run: Run | null
  readonly byBind: boolean
  readonly action: SqlAction

  constructor(prepared: Prepared, resultFormats: readonly number[], action: SqlAction, run: Run | null) {
    this.prepared = prepared
    this.#formats = resultFormats
    this.action = action
    this.run = run
    this.byBind = run !== null
  }

  /** Its columns in the formats that Bind asked for; undefined where nobody has asked the server. */
  get description(): Description | undefined {
    return this.prepared.description?.in(this.#formats)
  }
}

/** A prepared statement with its values, which are only unpacked where somebody asks for them. */
export class BoundAction implements SqlAction {
  readonly kind = 'postgres'
  readonly analysed: AnalysedText
  readonly #bind: BindMessage
  readonly #types: readonly number[]
  #parameters: readonly BoundParameter[] | undefined

  constructor(analysed: AnalysedText, bind: BindMessage, types: readonly number[]) {
    this.analysed = analysed
    this.#bind = bind
    this.#types = types
  }

  get shape(): object {
    return this.analysed.shape
  }

  get parameters(): readonly BoundParameter[] {
    const { formats, values } = this.#bind
    this.#parameters ??= values.map((value, index) => ({
      typeOid: this.#types[index] ?? 0,
      format: (formats.length === 1 ? formats[0] : formats[index]) === 1 ? 'binary' : 'text',
      value,
    }))
    return this.#parameters
  }
}
