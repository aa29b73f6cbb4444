import type { SubLink } from 'libpg-query'
import type { Relation } from './catalogue.ts'
import type { Side } from './comparisons.ts'
import { ConstantNotes } from './constants.ts'
import type { Context } from './context.ts'
import { Sink } from './summary.ts'

/** The reading of one text: what it knows, where it collects, and what unresolved names mean. */
export class Reader {
  readonly context: Context
  readonly sink: Sink
  /** Where unqualified names are looked up in this text. */
  readonly path: readonly string[]
  /** Where the bodies of functions that it calls look theirs up. */
  readonly runPath: readonly string[]
  /** In a function body a name that is no column is a variable, and `$1` an argument. */
  readonly inBody: boolean
  /** The text is only being defined, not run: a relation that is not there yet is taken for one of that name. */
  readonly isDefinition: boolean
  /** In a trigger function: the relation whose rows NEW and OLD are. */
  readonly row: Relation | null
  /** Of the text itself, not of the bodies and definitions that it leads to. */
  readonly constants: ConstantNotes
  /** What sub-selects within expressions give, apart from what decides on their rows. */
  readonly subLinks = new WeakMap<SubLink, Side>()
  parameterCount = 0
  depth = 0
  /** Foreign keys being followed, so that a circle of them ends. */
  cascading: ReadonlySet<string> = new Set()

  constructor(
    context: Context,
    options: {
      readonly path?: readonly string[]
      readonly runPath?: readonly string[]
      readonly inBody?: boolean
      readonly isDefinition?: boolean
      readonly row?: Relation | null
      readonly constants?: ConstantNotes
    } = {},
  ) {
    this.context = context
    this.sink = new Sink(context.catalogue)
    this.path = options.path ?? context.path
    this.runPath = options.runPath ?? this.path
    this.inBody = options.inBody ?? false
    this.isDefinition = options.isDefinition ?? false
    this.row = options.row ?? null
    this.constants = options.constants ?? new ConstantNotes()
  }

  /** The same reading with a sink of its own, for what is to be labelled. */
  fork(): Reader {
    const fork = new Reader(this.context, this)
    fork.depth = this.depth
    fork.cascading = this.cascading
    return fork
  }

  /** The same, for text in which names that are no columns are variables. */
  forkBody(): Reader {
    const { path, runPath, isDefinition, row } = this
    const fork = new Reader(this.context, { path, runPath, inBody: true, isDefinition, row })
    fork.depth = this.depth
    return fork
  }
}

/** Thrown where a text nests more deeply than is read. */
export class TooDeep extends Error {}

export const deepestNesting = 600
