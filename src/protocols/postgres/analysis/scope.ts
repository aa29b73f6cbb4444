import type { Column, Relation } from './catalogue.ts'
import { nothing, union, unionAll } from './flow.ts'
import type { Flow } from './flow.ts'
import type { RelationUse } from './summary.ts'

/** A column that a name in a query can stand for. */
export interface ItemColumn {
  readonly name: string
  readonly flow: Flow
  /** Whose column it is and where its use is noted. */
  readonly column: Column | null
  readonly owner: Item | null
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
  /** Whether anything of it was referred to since this was last set to false. */
  touched: boolean
}

export interface NamedFlow {
  readonly name: string
  readonly flow: Flow
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
  /** Names of the select list, which ORDER BY and GROUP BY may use. */
  outputs: ReadonlyMap<string, Flow> | null = null

  constructor(parent: Scope | null) {
    this.parent = parent
  }

  cte(name: string): Cte | undefined {
    for (let scope: Scope | null = this as Scope; scope; scope = scope.parent) {
      const found = scope.ctes?.get(name)
      if (found) return found
    }
    return undefined
  }
}

export function makeItem(
  parts: Pick<Item, 'name' | 'open'> & Partial<Item>,
  columns: readonly { readonly name: string; readonly flow: Flow; readonly column?: Column | null }[],
): Item {
  const made: ItemColumn[] = []
  const item: Item = {
    relation: null,
    aliased: true,
    use: null,
    named: true,
    visible: true,
    touched: false,
    ...parts,
    columns: made,
  }
  for (const { name, flow, column } of columns)
    made.push({ name, flow, column: column ?? null, owner: item, also: null })
  return item
}

/** Notes that the column is read. */
export function touch(column: ItemColumn): Flow {
  const { owner } = column
  if (owner) {
    owner.touched = true
    if (owner.use && column.column) owner.use.columns.add(column.column)
  }
  if (column.also) touch(column.also)
  return column.flow
}

/** All of an item's columns: `t`, `t.*` as one value. */
export function wholeRow(item: Item): Flow {
  item.touched = true
  const flow = unionAll(item.columns.map(touch))
  return item.open ? union(flow, item.open) : flow
}

export function findColumn(item: Item, name: string): ItemColumn | undefined {
  for (const column of item.columns) if (column.name === name) return column
  return undefined
}

export const systemColumns: ReadonlySet<string> = new Set(['ctid', 'tableoid', 'xmin', 'xmax', 'cmin', 'cmax', 'oid'])

export function flowOfResult(result: Result): Flow {
  const flow = unionAll(result.columns.map(column => column.flow))
  return result.open ? union(flow, result.open) : flow
}

export const noResult: Result = { columns: [], open: null, filter: nothing }
