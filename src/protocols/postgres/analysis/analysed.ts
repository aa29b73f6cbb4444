import type { Action, MaskUse } from '../../../policy/action.ts'

/** A column as the catalogue knows it: `schema.table.column`, each part as stored (no quotes, case kept). */
export type ColumnRef = string
/** `schema.name` of a table, view, materialized view, foreign table, sequence or partition. */
export type RelationRef = string

/** What the server uses to read and resolve a statement in this session at this moment. Immutable: a change is a new object. */
export interface Resolution {
  readonly serverVersion: number
  readonly database: string
  /** session_user and current_user. */
  readonly sessionUser: string
  readonly role: string
  /** The effective path in order, as `current_schemas(true)` gives it, temporary schema and pg_catalog included. */
  readonly searchPath: readonly string[]
  readonly standardConformingStrings: boolean
  readonly clientEncoding: string
}

/** One thing a statement does to one relation (or to the server, where there is none). */
export interface Effect {
  /** select, insert, update, delete, truncate, merge, copy-in, copy-out, create, alter, drop, lock, grant, … */
  readonly verb: string
  /** null: no relation, or (with `unknown`) any. */
  readonly relation: RelationRef | null
  /** Columns read or written, where that is known. */
  readonly columns: readonly string[] | 'all' | 'unknown'
  /** For update and delete: `constant` is a WHERE that is always true, so no condition at all. */
  readonly where: 'present' | 'missing' | 'constant' | 'none'
  /** How it comes about, outermost first, where not in the statement itself: `view public.v`, `trigger t on public.x`. */
  readonly through: readonly string[]
  /** For DDL and grants: `table`, `view`, `database`, `role`, … */
  readonly object?: string
}

/** Columns that a statement compares, or that decide on its rows or their order; also inside of functions that it calls. */
export interface Compared {
  readonly use: MaskUse
  readonly sources: readonly ColumnRef[]
  readonly certain: boolean
}

/** Where the values of one output column come from. */
export interface Lineage {
  readonly name: string
  readonly sources: readonly ColumnRef[]
  /** Not certain: it may hold anything that the session can read. */
  readonly certain: boolean
  /** The value is a source's own, untouched: a mask that shows part of it may be used. Anything computed is hidden whole. */
  readonly direct: boolean
}

/** A value that a statement puts where others may read it. */
export interface Carry {
  /** null: no column, but `place`: a new table, a file, a large object, a notification, a setting. */
  readonly into: ColumnRef | null
  readonly place: string
  /** Columns of which each, where masked, makes the place masked as well. */
  readonly holds: readonly ColumnRef[]
  readonly sources: readonly ColumnRef[]
  readonly certain: boolean
}

export type Output =
  | { readonly kind: 'none' }
  | { readonly kind: 'columns'; readonly columns: readonly Lineage[] }
  /** However many columns there are, none holds more than this. */
  | { readonly kind: 'any-columns'; readonly lineage: Lineage }
  | {
      readonly kind: 'copy-out'
      readonly columns: readonly Lineage[]
      readonly format: 'text' | 'csv' | 'binary'
      readonly delimiter: string
      readonly nullText: string
      readonly quote: string
      readonly escape: string
      readonly header: boolean
      /** Where the statement asks for another than the client's. */
      readonly encoding: string | null
    }
  /** EXECUTE and FETCH: what the named statement or cursor gives. */
  | { readonly kind: 'prepared'; readonly name: string }
  | { readonly kind: 'cursor'; readonly name: string }
  /** Rows of the server's own that cannot hold a table's value: SHOW, EXPLAIN of what is clean. */
  | { readonly kind: 'server' }
  | { readonly kind: 'unknown' }

/** What the relay must follow, as it changes how later statements are read or what a name stands for. */
export type SessionChange =
  | { readonly kind: 'prepare'; readonly name: string; readonly statement: Statement }
  | { readonly kind: 'execute'; readonly name: string }
  | { readonly kind: 'deallocate'; readonly name: string | null }
  | { readonly kind: 'declare'; readonly name: string; readonly statement: Statement }
  | { readonly kind: 'close'; readonly name: string | null }
  /** Resolution must be read from the server again before the next statement is analysed (SET search_path, SET ROLE, …). */
  | { readonly kind: 'resolution' }
  /** The catalogue must be read again (any DDL). */
  | { readonly kind: 'catalogue' }
  | { readonly kind: 'discard' }

/** One statement of a query string, resolved. Immutable, shared by everyone who sends the same text. */
export interface Statement {
  readonly text: string
  /** The outermost verb: select, insert, copy, do, call, explain, set, begin, … */
  readonly verb: string
  readonly effects: readonly Effect[]
  /** Functions called, `schema.name`, also inside views, defaults and triggers where they could be read. */
  readonly functions: readonly string[]
  readonly effect: 'read' | 'change' | 'unknown'
  /** Why the worst is assumed, for people; null where all is known. */
  readonly unknown: string | null
  readonly output: Output
  readonly changes: readonly SessionChange[]
  /** Values that it puts elsewhere, also inside functions that it calls. */
  readonly carries: readonly Carry[]
  readonly compares: readonly Compared[]
  /** Names that the catalogue does not have; a fresher one may. */
  readonly missing: readonly string[]
  /** BEGIN and the like: decided as harmless, and the only thing possible in an aborted transaction. */
  readonly transaction: boolean
  readonly parameterCount: number
}

/** What a constant or parameter of a text is held against (`=`, LIKE, IN …), or put into. */
export interface Constant {
  readonly kind: 'constant' | 'parameter'
  /** Where it begins, in bytes from 0; of a parameter its number. */
  readonly at: number
  readonly near: readonly ColumnRef[]
  /** Not certain: it may meet any column. */
  readonly certain: boolean
}

/** A query string as one Query or Parse message brings it. */
export interface AnalysedText {
  readonly text: string
  /** One object for all texts that differ in constants of which nothing depends; what holds for one holds for each. */
  readonly shape: object
  /** Same for texts that differ in constants only. */
  readonly fingerprint: string
  readonly statements: readonly Statement[]
  /** Its constants and parameters; absent: nothing is known of them. */
  readonly constants?: readonly Constant[]
  /** It must not reach the server, whatever the policy says: it cannot be read with certainty. */
  readonly refusal: Refusal | null
}

export interface Refusal {
  readonly sqlstate: string
  readonly message: string
  readonly hint: string | undefined
  /** In characters from 1, as in an ErrorResponse. */
  readonly position?: number
  /** A fresher catalogue may resolve it: read that, and analyse once more, before this is told to the client. */
  readonly stale?: boolean
}

export interface BoundParameter {
  readonly typeOid: number
  readonly format: 'text' | 'binary'
  readonly value: Buffer | null
}

/** What the text and its values do not say. */
export interface SqlFacts {
  /** Of each statement: rows it would give or change, as the server's planner has it; null: that cannot be told. */
  readonly estimatedRows?: readonly (number | null)[]
  /** Nothing of this shape was let run on this resource before. */
  readonly firstSeen?: boolean
}

/** One Query, or one execution of a prepared statement, as policy sees it. */
export interface SqlAction extends Action {
  readonly kind: 'postgres'
  readonly analysed: AnalysedText
  readonly parameters: readonly BoundParameter[]
  /** Absent: nobody has found out. */
  readonly facts?: SqlFacts
}
