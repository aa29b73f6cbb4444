import type { Node } from 'libpg-query'
import type { Column, Relation } from './catalogue.ts'
import { refOf } from './catalogue.ts'
import { nothing, ofColumn, union, unionAll } from './flow.ts'
import type { Flow } from './flow.ts'
import type { RelationUse } from './summary.ts'

/** A column that a name in a query can stand for. */
export interface ItemColumn {
  readonly name: string
  readonly flow: Flow
  /** Whose column it is and where its use is noted. */
  readonly column: Column | null
  readonly owner: Item | null
  /** Its values are those of a table's or view's column, as they stand there. */
  readonly direct: boolean
  /** For a column merged by USING: the other one. */
  readonly also: ItemColumn | null
}

/** One entry of FROM: a table, a sub-query, a function, a join. */
export interface Item {
  readonly name: string | null
  /** Of a table without an alias: `schema.table.column` names it too. */
  readonly relation: Relation | null
  readonly aliased: boolean
  readonly columns: readonly ItemColumn[]
  /** It has further columns, whose names are not known, with this flow. */
  readonly open: Flow | null
  readonly use: RelationUse | null
  /** Its name can be used: `t.x`, `t.*`, `t`. */
  named: boolean
  /** Its columns can be used without its name. */
  visible: boolean
  /** How often something of it was referred to. */
  touches: number
}

export interface NamedFlow {
  readonly name: string
  readonly flow: Flow
  /** The value is that of a column, as it stands there. */
  readonly direct?: boolean
}

/** What a query gives. */
export interface Result {
  readonly columns: readonly NamedFlow[]
  /** There are further columns, their number unknown, with this flow; positions are then not certain. */
  readonly open: Flow | null
  /** What decides which rows there are, and how many. */
  readonly filter: Flow
}

export interface Cte {
  readonly name: string
  read(): Result
}

/** What a name can mean at one level of a query; `parent` is the level around it. */
export class Scope {
  readonly parent: Scope | null
  items: Item[] = []
  ctes: Map<string, Cte> | null = null
  windows: Map<string, Flow> | null = null
  where: Node | null = null
  /** The select list, of which ORDER BY and GROUP BY may use names and positions. */
  outputs: readonly NamedFlow[] | null = null

  constructor(parent: Scope | null) {
    this.parent = parent
  }

  cte(name: string): Cte | undefined {
    return this.ctes?.get(name) ?? this.parent?.cte(name)
  }
}

export function makeItem(
  parts: Pick<Item, 'name' | 'open'> & Partial<Item>,
  columns: readonly (NamedFlow & { readonly column?: Column | null })[],
): Item {
  const made: ItemColumn[] = []
  const item: Item = {
    relation: null,
    aliased: true,
    use: null,
    named: true,
    visible: true,
    touches: 0,
    ...parts,
    columns: made,
  }
  for (const { name, flow, column, direct } of columns)
    made.push({ name, flow, column: column ?? null, owner: item, direct: direct === true, also: null })
  return item
}

/** Notes that the column is read. */
export function touch(column: ItemColumn): Flow {
  const { owner } = column
  if (owner) {
    owner.touches++
    if (owner.use && column.column) owner.use.columns.add(column.column)
  }
  if (column.also) touch(column.also)
  return column.flow
}

/** All of an item's columns: `t`, `t.*` as one value. */
export function wholeRow(item: Item): Flow {
  item.touches++
  const flow = unionAll(item.columns.map(touch))
  return item.open ? union(flow, item.open) : flow
}

export function findColumn(item: Item, name: string): ItemColumn | undefined {
  for (const column of item.columns) if (column.name === name) return column
  return item.relation?.assumed === true ? assumeColumn(item, item.relation, name) : undefined
}

/** A table that is only assumed has every column that is asked of it. */
function assumeColumn(item: Item, relation: Relation, name: string): ItemColumn {
  const column: Column = {
    name,
    number: item.columns.length + 1,
    ref: refOf(relation.schema, relation.name, name),
    relation,
    typeOid: 0,
    notNull: false,
    generated: null,
    default: null,
  }
  const found: ItemColumn = { name, flow: ofColumn(column), column, owner: item, direct: true, also: null }
  ;(item.columns as ItemColumn[]).push(found)
  return found
}

export const systemColumns: ReadonlySet<string> = new Set(['ctid', 'tableoid', 'xmin', 'xmax', 'cmin', 'cmax', 'oid'])

export function flowOfResult(result: Result): Flow {
  const flow = unionAll(result.columns.map(column => column.flow))
  return result.open ? union(flow, result.open) : flow
}

export const noResult: Result = { columns: [], open: null, filter: nothing }
