import type { Column } from './catalogue.ts'

/** What a value depends on. Immutable. */
export interface Flow {
  readonly columns: readonly Column[]
  /** It also depends on a variable or argument of the function body being read. */
  readonly variable: boolean
  /** Not certain: on anything. */
  readonly certain: boolean
  /** Also on rows that the statement makes up: a series, a list of VALUES. Who compares with these asks many times at once. */
  readonly made: boolean
}

export const nothing: Flow = { columns: [], variable: false, certain: true, made: false }
export const anything: Flow = { columns: [], variable: false, certain: false, made: false }
export const variable: Flow = { columns: [], variable: true, certain: true, made: false }
export const madeUp: Flow = { columns: [], variable: false, certain: true, made: true }

export function ofColumn(column: Column): Flow {
  return { columns: [column], variable: false, certain: true, made: false }
}

export function union(a: Flow, b: Flow): Flow {
  if (a === b || b === nothing) return a
  if (a === nothing) return b
  let columns = a.columns
  for (const column of b.columns)
    if (!columns.includes(column)) columns = columns === a.columns ? [...columns, column] : push(columns, column)
  const isVariable = a.variable || b.variable
  const certain = a.certain && b.certain
  const made = a.made || b.made
  if (columns === a.columns && isVariable === a.variable && certain === a.certain && made === a.made) return a
  return { columns, variable: isVariable, certain, made }
}

// only ever called with the copy that `union` itself has just made
function push(columns: readonly Column[], column: Column): readonly Column[] {
  ;(columns as Column[]).push(column)
  return columns
}

export function unionAll(flows: readonly Flow[]): Flow {
  if (flows.length < 8) {
    let all = nothing
    for (const flow of flows) all = union(all, flow)
    return all
  }
  const columns = new Set<Column>()
  let isVariable = false
  let certain = true
  let made = false
  for (const flow of flows) {
    for (const column of flow.columns) columns.add(column)
    isVariable ||= flow.variable
    certain &&= flow.certain
    made ||= flow.made
  }
  return { columns: [...columns], variable: isVariable, certain, made }
}
