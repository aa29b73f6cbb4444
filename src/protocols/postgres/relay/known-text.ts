import type { Mask } from '../../../policy/action.ts'
import type { AnalysedText, BoundParameter, SqlAction, Statement } from '../analysis/analysed.ts'
import { Description } from './description.ts'

const noParameters: readonly BoundParameter[] = []

/** What the relay needs to know of every text of one shape, derived once. */
class KnownShape {
  /** It uses or changes names of prepared statements or cursors, so it runs alone: nothing before or behind in flight. */
  readonly usesNames: boolean
  readonly changesResolution: boolean
  readonly changesCatalogue: boolean
  /** It may ask the client for data: what comes next depends on the server's answer. */
  readonly mayCopyIn: boolean
  /** Nothing but BEGIN, COMMIT and the like. */
  readonly onlyTransaction: boolean
  readonly endsTransaction: boolean
  readonly #statements: readonly Statement[]
  readonly #descriptions: (Description | undefined)[] = []
  #laundering: { readonly masks: readonly Mask[]; readonly message: string | undefined } | undefined

  constructor({ statements }: AnalysedText) {
    this.#statements = statements
    const changes = new Set(statements.flatMap(statement => statement.changes.map(change => change.kind)))
    this.usesNames = (['prepare', 'execute', 'deallocate', 'declare', 'close', 'discard'] as const).some(kind =>
      changes.has(kind),
    )
    this.usesNames ||= statements.some(({ output }) => output.kind === 'prepared' || output.kind === 'cursor')
    this.changesResolution = changes.has('resolution') || changes.has('discard')
    this.changesCatalogue = changes.has('catalogue')
    this.mayCopyIn = statements.some(isCopyIn)
    this.onlyTransaction = statements.length > 0 && statements.every(statement => statement.transaction)
    this.endsTransaction = statements.some(statement => statement.transaction && statement.verb !== 'begin')
  }

  /** Kept by masks, as these are one array until something changes. */
  launders(
    masks: readonly Mask[],
    ask: (statement: Statement, masks: readonly Mask[]) => string | undefined,
  ): string | undefined {
    if (this.#laundering?.masks !== masks) {
      const messages = this.#statements.map(statement => ask(statement, masks))
      this.#laundering = { masks, message: messages.find(message => message !== undefined) }
    }
    return this.#laundering.message
  }

  /** What a RowDescription says of the rows of statement `at`. */
  describe(at: number, message: Buffer): Description {
    let known = this.#descriptions[at]
    if (known?.bytes.equals(message) !== true) this.#descriptions[at] = known = new Description(message)
    return known
  }
}

const shapes = new WeakMap<object, KnownShape>()

/** A query string as the relay needs it: what to decide on, and what to follow when it runs. */
export class KnownText {
  readonly analysed: AnalysedText
  readonly shape: KnownShape
  /** The action of a run without bound values. */
  readonly action: SqlAction
  /** Another text of its shape was known before, so that it was quickly read and is not worth keeping. */
  readonly isPassing: boolean
  /** The cache it was read for, so whether it was read in the light of how things are. */
  of: TextCache | undefined

  constructor(analysed: AnalysedText) {
    this.analysed = analysed
    this.action = { kind: 'postgres', shape: analysed.shape, analysed, parameters: noParameters }
    const known = shapes.get(analysed.shape)
    this.isPassing = known !== undefined
    this.shape = known ?? new KnownShape(analysed)
    if (known === undefined) shapes.set(analysed.shape, this.shape)
  }

  /** A single statement, as PREPARE and DECLARE hold one. */
  static of(statement: Statement, cache: TextCache | undefined): KnownText {
    const { text } = statement
    const known = new KnownText({ text, shape: {}, fingerprint: text, statements: [statement], refusal: null })
    known.of = cache
    return known
  }

  get statements(): readonly Statement[] {
    return this.analysed.statements
  }
}

/** Stands where no text is. */
export const emptyText = new KnownText({ text: '', shape: {}, fingerprint: '', statements: [], refusal: null })

function isCopyIn(statement: Statement): boolean {
  return statement.verb === 'copy' && statement.output.kind !== 'copy-out'
}

/** Texts by their bytes, up to a size: what was not asked for during a whole filling is forgotten. */
export class TextCache {
  readonly #maxBytes: number
  #young = new Map<string, KnownText>()
  #old = new Map<string, KnownText>()
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get(text: string): KnownText | undefined {
    const young = this.#young.get(text)
    if (young !== undefined) return young
    const old = this.#old.get(text)
    if (old !== undefined) this.set(text, old)
    return old
  }

  set(text: string, known: KnownText): void {
    // The parse of a text is some fifteen times its size.
    this.#bytes += 500 + text.length * 15
    if (this.#bytes > this.#maxBytes) {
      this.#old = this.#young
      this.#young = new Map()
      this.#bytes = 0
    }
    this.#young.set(text, known)
    known.of = this
  }
}
