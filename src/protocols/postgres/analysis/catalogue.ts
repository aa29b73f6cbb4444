import type { ColumnRef, RelationRef } from './analysed.ts'

export type RelationKind = 'table' | 'view' | 'matview' | 'foreign' | 'sequence' | 'composite' | 'index'

export interface Column {
  readonly name: string
  /** attnum; negative for those of the system. */
  readonly number: number
  readonly ref: ColumnRef
  readonly relation: Relation
  readonly typeOid: number
  readonly notNull: boolean
  /** The expression, as SQL, of a column that is generated from others. */
  readonly generated: string | null
  readonly default: string | null
}

export interface Relation {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly ref: RelationRef
  readonly kind: RelationKind
  readonly partitioned: boolean
  readonly columns: readonly Column[]
  /** The query of a view or materialized view, as `pg_get_viewdef` gives it; null where there is none. */
  readonly definition: string | null
  /** Expressions that run when rows are read (row security) and when they are written (CHECK, index expressions). */
  readonly onRead: readonly string[]
  readonly onWrite: readonly string[]
  /** Not in any catalogue: taken to be a table with whatever columns a statement names (policy tests without fixtures). */
  readonly assumed?: true
}

export interface Routine {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly ref: string
  readonly kind: 'function' | 'procedure' | 'aggregate' | 'window'
  readonly language: string
  readonly volatility: 'immutable' | 'stable' | 'volatile'
  readonly securityDefiner: boolean
  readonly owner: string
  /** Input arguments; `variadic` takes more than `most`. */
  readonly least: number
  readonly most: number
  readonly variadic: boolean
  readonly returnsSet: boolean
  /** Columns of its result as a table, where the declaration names them. */
  readonly outNames: readonly string[]
  readonly returnsRelation: number | null
  /** A CREATE FUNCTION statement; null where the body is not SQL or PL/pgSQL. */
  readonly definition: string | null
  readonly extension: string | null
  /** What an aggregate is made of. */
  readonly parts: readonly number[]
}

export type RowEvent = 'insert' | 'update' | 'delete' | 'truncate'

export interface Trigger {
  readonly name: string
  readonly relation: number
  readonly routine: number
  readonly events: readonly RowEvent[]
  readonly timing: 'before' | 'after' | 'instead'
  readonly enabled: boolean
  /** A CREATE TRIGGER statement. */
  readonly definition: string
}

export interface Rule {
  readonly name: string
  readonly relation: number
  readonly event: 'insert' | 'update' | 'delete'
  readonly instead: boolean
  /** A CREATE RULE statement. */
  readonly definition: string
}

export type ForeignKeyAction = 'none' | 'cascade' | 'set-null' | 'set-default'

export interface ForeignKey {
  readonly name: string
  readonly from: number
  readonly fromColumns: readonly number[]
  readonly to: number
  readonly toColumns: readonly number[]
  readonly onDelete: ForeignKeyAction
  readonly onUpdate: ForeignKeyAction
}

export interface NamedType {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly relation: number | null
  /** Constraints of a domain, as SQL. */
  readonly checks: readonly string[]
  /** Of a domain: the type that it is of. */
  readonly base?: number
  /** A type of its own that clients read as text, such as citext: of the string category, any length, no enum. */
  readonly isText?: true
}

export interface Operator {
  readonly schema: string
  readonly name: string
  readonly routine: number
}

export interface CatalogueParts {
  /** What `versionProbe` gave just before the rest was read. */
  readonly version: string
  /** Relations that are not listed are taken to be tables. */
  readonly assumesTables?: true
  readonly serverVersion: number
  readonly database: string
  /** The effective search path under which the definitions were printed, and under which they are read. */
  readonly path: readonly string[]
  readonly schemas: readonly string[]
  readonly relations: readonly Relation[]
  readonly routines: readonly Routine[]
  readonly triggers: readonly Trigger[]
  readonly rules: readonly Rule[]
  readonly foreignKeys: readonly ForeignKey[]
  /** Child to parent. */
  readonly inherits: readonly (readonly [child: number, parent: number])[]
  readonly types: readonly NamedType[]
  readonly operators: readonly Operator[]
  /** Functions behind casts that the server may apply by itself. */
  readonly castRoutines: readonly number[]
  /** Functions that run on DDL. */
  readonly eventTriggers: readonly { readonly name: string; readonly routine: number }[]
}

const none: readonly never[] = []

/** What of the target's catalogue decides how a statement is read. Immutable: newer knowledge is a new object. */
export class Catalogue {
  readonly parts: CatalogueParts
  readonly serverVersion: number
  readonly database: string
  readonly path: readonly string[]
  readonly schemas: ReadonlySet<string>
  readonly #relations = new Map<string, Map<string, Relation>>()
  readonly #byOid = new Map<number, Relation>()
  readonly #routines = new Map<string, Routine[]>()
  readonly #routineByOid = new Map<number, Routine>()
  readonly #columns = new Map<Relation, Map<string, Column>>()
  readonly #triggers: ReadonlyMap<number, Trigger[]>
  readonly #rules: ReadonlyMap<number, Rule[]>
  readonly #keysFrom: ReadonlyMap<number, ForeignKey[]>
  readonly #keysTo: ReadonlyMap<number, ForeignKey[]>
  readonly #children: ReadonlyMap<number, (readonly [number, number])[]>
  readonly #parents: ReadonlyMap<number, (readonly [number, number])[]>
  readonly #types = new Map<string, NamedType[]>()
  #textTypes: ReadonlySet<number> | undefined
  readonly #typeByOid = new Map<number, NamedType>()
  readonly #operators: ReadonlyMap<string, Operator[]>

  constructor(parts: CatalogueParts) {
    this.parts = parts
    this.serverVersion = parts.serverVersion
    this.database = parts.database
    this.path = parts.path
    this.schemas = new Set(parts.schemas)
    for (const relation of parts.relations) {
      const names = this.#relations.get(relation.schema) ?? new Map<string, Relation>()
      this.#relations.set(relation.schema, names.set(relation.name, relation))
      this.#byOid.set(relation.oid, relation)
    }
    for (const routine of parts.routines) {
      const named = this.#routines.get(routine.name)
      if (named) named.push(routine)
      else this.#routines.set(routine.name, [routine])
      this.#routineByOid.set(routine.oid, routine)
    }
    for (const type of parts.types) {
      const named = this.#types.get(type.name)
      if (named) named.push(type)
      else this.#types.set(type.name, [type])
      this.#typeByOid.set(type.oid, type)
    }
    this.#triggers = group(parts.triggers, trigger => trigger.relation)
    this.#rules = group(parts.rules, rule => rule.relation)
    this.#keysFrom = group(parts.foreignKeys, key => key.from)
    this.#keysTo = group(parts.foreignKeys, key => key.to)
    this.#children = group(parts.inherits, ([, parent]) => parent)
    this.#parents = group(parts.inherits, ([child]) => child)
    this.#operators = group(parts.operators, operator => operator.name)
  }

  relation(schema: string, name: string): Relation | undefined {
    return this.#relations.get(schema)?.get(name)
  }

  /** The table that a name is taken for where `assumesTables`; the same one each time. */
  assume(schema: string, name: string): Relation | undefined {
    if (this.parts.assumesTables !== true) return undefined
    const names = this.#relations.get(schema) ?? new Map<string, Relation>()
    const relation = assumedRelation(-1_000_000 - this.#byOid.size, schema, name)
    this.#relations.set(schema, names.set(name, relation))
    this.#byOid.set(relation.oid, relation)
    return relation
  }

  /** In whatever schema. */
  relationsNamed(name: string): readonly Relation[] {
    return [...this.#relations.values()].flatMap(names => names.get(name) ?? [])
  }

  relationByOid(oid: number): Relation | undefined {
    return this.#byOid.get(oid)
  }

  /** By `schema.table.column`. */
  columnByRef(ref: ColumnRef): Column | undefined {
    const [schema = '', table = '', name = ''] = partsOf(ref)
    const relation = this.relation(schema, table)
    return relation && this.column(relation, name)
  }

  column(relation: Relation, name: string): Column | undefined {
    let columns = this.#columns.get(relation)
    if (!columns) {
      columns = new Map(relation.columns.map(column => [column.name, column]))
      this.#columns.set(relation, columns)
    }
    return columns.get(name)
  }

  /** All overloads with this name, in every schema. */
  routines(name: string): readonly Routine[] {
    return this.#routines.get(name) ?? none
  }

  routineByOid(oid: number): Routine | undefined {
    return this.#routineByOid.get(oid)
  }

  typesNamed(name: string): readonly NamedType[] {
    return this.#types.get(name) ?? none
  }

  typeByOid(oid: number): NamedType | undefined {
    return this.#typeByOid.get(oid)
  }

  /** The type that a domain comes down to, which is what the server tells clients; else the type itself. */
  baseType(oid: number): number {
    let base = oid
    for (let depth = 0; depth < 100; depth++) {
      const next = this.#typeByOid.get(base)?.base
      if (next === undefined) return base
      base = next
    }
    return base
  }

  /** Types, not of the system's, that are text to clients. */
  get textTypes(): ReadonlySet<number> {
    this.#textTypes ??= new Set(this.parts.types.filter(type => type.isText).map(type => type.oid))
    return this.#textTypes
  }

  operators(name: string): readonly Operator[] {
    return this.#operators.get(name) ?? none
  }

  triggers(relation: Relation): readonly Trigger[] {
    return this.#triggers.get(relation.oid) ?? none
  }

  rules(relation: Relation): readonly Rule[] {
    return this.#rules.get(relation.oid) ?? none
  }

  /** Foreign keys that this relation has. */
  foreignKeys(relation: Relation): readonly ForeignKey[] {
    return this.#keysFrom.get(relation.oid) ?? none
  }

  /** Foreign keys of others that point to this relation. */
  referencing(relation: Relation): readonly ForeignKey[] {
    return this.#keysTo.get(relation.oid) ?? none
  }

  /** Partitions and inheritance children, all levels, without the relation itself. */
  descendants(relation: Relation): readonly Relation[] {
    return this.#closure(relation, oid => this.#children.get(oid)?.map(([child]) => child))
  }

  ancestors(relation: Relation): readonly Relation[] {
    return this.#closure(relation, oid => this.#parents.get(oid)?.map(([, parent]) => parent))
  }

  #closure(relation: Relation, next: (oid: number) => readonly number[] | undefined): readonly Relation[] {
    const first = next(relation.oid)
    if (!first) return none
    const found = new Set<Relation>()
    const waiting = [...first]
    for (let oid = waiting.pop(); oid !== undefined; oid = waiting.pop()) {
      const other = this.#byOid.get(oid)
      if (!other || other === relation || found.has(other)) continue
      found.add(other)
      waiting.push(...(next(oid) ?? none))
    }
    return [...found]
  }
}

function group<Item>(items: readonly Item[], key: (item: Item) => number): Map<number, Item[]>
function group<Item>(items: readonly Item[], key: (item: Item) => string): Map<string, Item[]>
function group<Item>(items: readonly Item[], key: (item: Item) => number | string): Map<number | string, Item[]> {
  const groups = new Map<number | string, Item[]>()
  for (const item of items) {
    const name = key(item)
    const found = groups.get(name)
    if (found) found.push(item)
    else groups.set(name, [item])
  }
  return groups
}

/** `schema.table.column`, with quotes only around a part that has a dot or a quote in it, so that parts can be told apart. */
export function refOf(...parts: readonly string[]): string {
  let ref = ''
  for (const part of parts) {
    const safe = part.includes('.') || part.includes('"') ? `"${part.replaceAll('"', '""')}"` : part
    ref = ref === '' ? safe : `${ref}.${safe}`
  }
  return ref
}

export function partsOf(ref: string): string[] {
  if (!ref.includes('"')) return ref.split('.')
  const parts: string[] = []
  for (const [, quoted, plain] of ref.matchAll(/"((?:[^"]|"")*)"|([^."]+)/g))
    parts.push(quoted?.replaceAll('""', '"') ?? plain ?? '')
  return parts
}

export interface ColumnParts {
  readonly name: string
  readonly number: number
  readonly typeOid: number
  readonly notNull: boolean
  readonly generated: string | null
  readonly default: string | null
}

/** Makes a relation and its columns, which point to each other. */
/** A table of which nothing but the name is known: it has whatever column is asked of it. */
export function assumedRelation(oid: number, schema: string, name: string): Relation {
  return makeRelation(
    {
      oid,
      schema,
      name,
      kind: 'table',
      partitioned: false,
      definition: null,
      onRead: [],
      onWrite: [],
      assumed: true,
    },
    [],
  )
}

export function makeRelation(parts: Omit<Relation, 'ref' | 'columns'>, columns: readonly ColumnParts[]): Relation {
  const made: Column[] = []
  const relation: Relation = { ...parts, ref: refOf(parts.schema, parts.name), columns: made }
  for (const column of columns) made.push({ ...column, relation, ref: refOf(parts.schema, parts.name, column.name) })
  return relation
}
