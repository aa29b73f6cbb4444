import type { CommonTableExpr, JoinExpr, Node, RangeFunction, RangeVar, SelectStmt, WithClause } from 'libpg-query'
import { assumedRelation } from './catalogue.ts'
import type { Relation } from './catalogue.ts'
import { builtinColumns } from './builtin-columns.ts'
import { columnName } from './column-names.ts'
import { isSystem, isTemporary } from './context.ts'
import type { Context } from './context.ts'
import { compare, compareRows, sideOf } from './comparisons.ts'
import { expandStar, isDirect, readFilter, readExpression, readExpressions, readWindow } from './expression-reader.ts'
import { anything, madeUp, nothing, union, unionAll } from './flow.ts'
import type { Flow } from './flow.ts'
import { as, namesOf, tagOf } from './nodes.ts'
import { deepestNesting, TooDeep } from './reader.ts'
import type { Reader } from './reader.ts'
import { columnsOfRoutine, resolveRoutines } from './routines.ts'
import { findColumn, flowOfResult, makeItem, noResult, Scope } from './scope.ts'
import type { Cte, Item, ItemColumn, NamedFlow, Result } from './scope.ts'
import { readDelete, readInsert, readMerge, readUpdate } from './write-reader.ts'

/** Reads a query that gives rows: SELECT, VALUES, a set operation, or a writing statement with RETURNING. */
export function readQuery(reader: Reader, node: Node, parent: Scope | null): Result {
  if (++reader.depth > deepestNesting) throw new TooDeep()
  try {
    const tag = tagOf(node)
    switch (tag) {
      case 'SelectStmt':
        return readSelect(reader, as(node, tag) ?? {}, parent)
      case 'InsertStmt':
        return readInsert(reader, as(node, tag) ?? {}, parent)
      case 'UpdateStmt':
        return readUpdate(reader, as(node, tag) ?? {}, parent)
      case 'DeleteStmt':
        return readDelete(reader, as(node, tag) ?? {}, parent)
      case 'MergeStmt':
        return readMerge(reader, as(node, tag) ?? {}, parent)
      default:
        reader.sink.unknown(`${tag} where a query is expected`)
        return { ...noResult, open: anything }
    }
  } finally {
    reader.depth--
  }
}

export function readSelect(reader: Reader, select: SelectStmt, parent: Scope | null): Result {
  if (++reader.depth > deepestNesting) throw new TooDeep()
  const scope = new Scope(parent)
  if (select.withClause) readWith(reader, select.withClause, scope)
  const result = select.valuesLists
    ? readValues(reader, select.valuesLists, scope)
    : select.larg && select.rarg
      ? readSetOperation(reader, select, select.larg, select.rarg, scope)
      : readPlain(reader, select, scope)
  const filters = [result.filter]
  scope.outputs = result.columns
  for (const node of select.sortClause ?? []) filters.push(readSorting(reader, as(node, 'SortBy')?.node, scope, 'sort'))
  if (select.limitCount) filters.push(readFilter(reader, select.limitCount, scope))
  if (select.limitOffset) filters.push(readFilter(reader, select.limitOffset, scope))
  reader.depth--
  return { ...result, filter: unionAll(filters) }
}

/** An item of ORDER BY, GROUP BY or DISTINCT ON: the number or name of an output column, or an expression. */
function readSorting(reader: Reader, node: Node | undefined, scope: Scope, use: 'sort' | 'group'): Flow {
  if (!node) return nothing
  const names = as(node, 'ColumnRef')?.fields
  const name = names?.length === 1 ? as(names[0], 'String')?.sval : undefined
  const position = as(node, 'A_Const')?.ival?.ival
  const outputs = scope.outputs ?? []
  const output =
    name !== undefined
      ? outputs.findLast(column => column.name === name)
      : position !== undefined
        ? outputs[position - 1]
        : undefined
  if (output) compareRows(reader, use, output)
  // GROUP BY takes a column of that name before an output; ORDER BY the other way round
  if (output && (use === 'sort' || name === undefined)) return output.flow
  if (name !== undefined && output && scope.items.every(item => !item.open && !findColumn(item, name)))
    return output.flow
  const flow = readExpression(reader, node, scope)
  compareRows(reader, use, { flow, direct: sideOf(reader, node, flow, scope).plain })
  return output ? union(output.flow, flow) : flow
}

function readValues(reader: Reader, lists: readonly Node[], scope: Scope): Result {
  const flows: Flow[] = []
  const from = lists.length > 1 ? madeUp : nothing
  for (const list of lists)
    for (const [i, item] of (as(list, 'List')?.items ?? []).entries()) {
      const { mark } = reader.constants
      flows[i] = union(flows[i] ?? from, readExpression(reader, item, scope))
      reader.constants.itemOf(mark, i)
    }
  return { columns: flows.map((flow, i) => ({ name: `column${i + 1}`, flow })), open: null, filter: nothing }
}

function readSetOperation(
  reader: Reader,
  select: SelectStmt,
  left: SelectStmt,
  right: SelectStmt,
  scope: Scope,
): Result {
  const a = readSelect(reader, left, scope)
  const b = readSelect(reader, right, scope)
  const open = a.open || b.open ? union(flowOfResult(a), flowOfResult(b)) : null
  if (select.op !== 'SETOP_UNION' || select.all !== true)
    for (const [i, column] of a.columns.entries()) {
      const sides = [column, b.columns[i] ?? { name: '', flow: anything }].map(({ flow, direct }: NamedFlow) => ({
        flow,
        plain: direct === true || (flow.columns.length === 0 && flow.certain && !flow.made),
      }))
      const [one, other] = sides
      if (one && other) compare(reader, select.op === 'SETOP_UNION' ? 'group' : 'equal', one, other)
    }
  return {
    columns: a.columns.map(({ name, flow, direct }, i) => ({
      name,
      flow: union(flow, b.columns[i]?.flow ?? anything),
      // both halves as they stand, and if one is masked in part, so is the other
      direct: direct === true && b.columns[i]?.direct === true,
    })),
    open,
    filter: union(a.filter, b.filter),
  }
}

function readPlain(reader: Reader, select: SelectStmt, scope: Scope): Result {
  const filters: Flow[] = []
  const items: Item[] = []
  for (const node of select.fromClause ?? []) {
    const from = readFrom(reader, node, scope, filters)
    items.push(...from)
    scope.items.push(...from)
  }
  scope.items = items
  scope.where = select.whereClause ?? null
  const { intoClause } = select
  if (select.whereClause) filters.push(readFilter(reader, select.whereClause, scope))
  if (select.windowClause) {
    scope.windows = new Map()
    for (const node of select.windowClause) {
      const window = as(node, 'WindowDef')
      if (!window) continue
      const flow = unionAll([
        window.refname === undefined ? nothing : (scope.windows.get(window.refname) ?? nothing),
        readWindow(reader, window, scope),
      ])
      scope.windows.set(window.name ?? '', flow)
    }
  }
  const output = readTargets(reader, select.targetList, scope)
  scope.outputs = output.columns
  for (const node of select.groupClause ?? []) filters.push(readGrouping(reader, node, scope))
  if (select.havingClause) filters.push(readFilter(reader, select.havingClause, scope))
  for (const node of select.distinctClause ?? [])
    if (tagOf(node) !== 'A_Star') filters.push(readSorting(reader, node, scope, 'group'))
  if (select.distinctClause) {
    filters.push(flowOfResult({ ...output, filter: nothing }))
    if (!select.distinctClause.some(node => tagOf(node) !== 'A_Star'))
      for (const column of output.columns) compareRows(reader, 'group', column)
  }
  for (const node of select.lockingClause ?? []) {
    const names = (as(node, 'LockingClause')?.lockedRels ?? []).map(rel => as(rel, 'RangeVar')?.relname)
    const locked = items.filter(item => names.length === 0 || names.includes(item.name ?? ''))
    for (const item of locked) if (item.relation) reader.sink.effect({ verb: 'lock', relation: item.relation })
    if (locked.every(item => !item.relation)) reader.sink.effect({ verb: 'lock' })
  }
  if (intoClause && !reader.inBody) {
    // the outermost SELECT INTO is taken out by the statement reader; anywhere else the server refuses it
    reader.sink.unknown('SELECT INTO within a query')
  }
  return { ...output, filter: unionAll(filters) }
}

function readGrouping(reader: Reader, node: Node, scope: Scope): Flow {
  const sets = as(node, 'GroupingSet')
  if (sets) return unionAll((sets.content ?? []).map(part => readGrouping(reader, part, scope)))
  return readSorting(reader, node, scope, 'group')
}

/** A select list or RETURNING. */
export function readTargets(
  reader: Reader,
  targets: readonly Node[] | undefined,
  scope: Scope,
): Omit<Result, 'filter'> {
  const columns: NamedFlow[] = []
  let open: Flow | null = null
  for (const node of targets ?? []) {
    const target = as(node, 'ResTarget')
    const value = target?.val
    if (!value) continue
    const star = expandStar(reader, value, scope)
    if (star) {
      columns.push(...star.columns)
      if (star.open) open = union(open ?? nothing, star.open)
    } else
      columns.push({
        name: target.name ?? columnName(value),
        flow: readExpression(reader, value, scope),
        direct: isDirect(reader, value, scope),
      })
  }
  return { columns, open }
}

export function readWith(reader: Reader, clause: WithClause, scope: Scope): void {
  const ctes: LazyCte[] = []
  const recursive = clause.recursive === true
  let current = scope
  for (const node of clause.ctes ?? []) {
    const expression = as(node, 'CommonTableExpr')
    if (!expression) continue
    // without RECURSIVE a query sees only those before it
    const around = new Scope(recursive ? scope : current.parent)
    if (!recursive) around.ctes = new Map(scope.ctes ?? [])
    const cte = new LazyCte(reader, expression, around)
    scope.ctes ??= new Map()
    scope.ctes.set(cte.name, cte)
    ctes.push(cte)
    current = scope
  }
  for (const cte of ctes) cte.read()
}

class LazyCte implements Cte {
  readonly name: string
  readonly #reader: Reader
  readonly #expression: CommonTableExpr
  readonly #scope: Scope
  #result: Result | undefined
  #reading = false
  #referred = false

  constructor(reader: Reader, expression: CommonTableExpr, scope: Scope) {
    this.name = expression.ctename ?? ''
    this.#reader = reader
    this.#expression = expression
    this.#scope = scope
  }

  read(): Result {
    if (this.#reading) {
      this.#referred = true
      const { columns, ...known } = this.#result ?? noResult
      return { ...known, columns: columns.map(column => ({ ...column, flow: union(column.flow, madeUp) })) }
    }
    if (this.#result) return this.#result
    const query = this.#expression.ctequery
    if (!query) return { ...noResult, open: anything }
    this.#reading = true
    // The first reading sees no rows of its own, each further one what the last found, until nothing is new.
    let result = this.#named(noResult)
    for (let round = 0; ; round++) {
      this.#result = this.#recursionBase(query, result)
      const next = this.#named(readQuery(this.#reader, query, this.#scope))
      const settled = sameSize(result, next)
      result = next
      if (!this.#referred || settled) break
      if (round > 30) {
        result = { ...next, open: anything }
        break
      }
    }
    this.#reading = false
    this.#result = result
    return result
  }

  /** What a reference to itself sees: the names of the query's first part, with what is known so far. */
  #recursionBase(query: Node, known: Result): Result {
    if (known.columns.length > 0 || known.open) return known
    const select = as(query, 'SelectStmt')
    const first = select?.larg
    if (!first) return known
    const scratch = new Scope(this.#scope)
    if (select.withClause) readWith(this.#reader, select.withClause, scratch)
    return this.#named(readSelect(this.#reader, first, scratch))
  }

  #named(result: Result): Result {
    const names = namesOf(this.#expression.aliascolnames)
    const columns = result.columns.map((column, i): NamedFlow => ({ ...column, name: names[i] ?? column.name }))
    const { search_clause: search, cycle_clause: cycle } = this.#expression
    if (search || cycle) {
      const all = flowOfResult(result)
      if (search) columns.push({ name: search.search_seq_column ?? '', flow: all })
      if (cycle) {
        columns.push({ name: cycle.cycle_mark_column ?? '', flow: all })
        columns.push({ name: cycle.cycle_path_column ?? '', flow: all })
      }
    }
    return { ...result, columns }
  }
}

function sameSize(a: Result, b: Result): boolean {
  const size = (flow: Flow) => flow.columns.length + (flow.certain ? 0 : 1) + (flow.variable ? 1 : 0)
  return (
    a.columns.length === b.columns.length &&
    (a.open === null) === (b.open === null) &&
    size(a.filter) === size(b.filter) &&
    a.columns.every(({ flow }, i) => size(flow) === size(b.columns[i]?.flow ?? nothing))
  )
}

/** One entry of FROM: the items that it brings into the scope. */
export function readFrom(reader: Reader, node: Node, scope: Scope, filters: Flow[]): Item[] {
  if (++reader.depth > deepestNesting) throw new TooDeep()
  try {
    const tag = tagOf(node)
    switch (tag) {
      case 'RangeVar':
        return [readRangeVar(reader, as(node, tag) ?? {}, scope, filters)]
      case 'JoinExpr':
        return readJoin(reader, as(node, tag) ?? {}, scope, filters)
      case 'RangeSubselect': {
        const range = as(node, tag)
        if (!range?.subquery) return []
        // without LATERAL its neighbours cannot be seen
        const around = range.lateral === true ? scope : outside(scope)
        const result = readQuery(reader, range.subquery, around)
        filters.push(result.filter)
        return [aliased(range.alias?.aliasname ?? null, namesOf(range.alias?.colnames), result)]
      }
      case 'RangeFunction':
        return [readRangeFunction(reader, as(node, tag) ?? {}, scope, filters)]
      case 'RangeTableSample': {
        const sample = as(node, tag)
        for (const arg of [...(sample?.args ?? []), sample?.repeatable])
          if (arg) filters.push(readFilter(reader, arg, scope))
        return sample?.relation ? readFrom(reader, sample.relation, scope, filters) : []
      }
      case 'RangeTableFunc': {
        const range = as(node, tag)
        const flow = readExpression(reader, node, scope)
        filters.push(flow)
        const names = (range?.columns ?? []).map(column => as(column, 'RangeTableFuncCol')?.colname ?? '')
        return [
          aliased(range?.alias?.aliasname ?? 'xmltable', namesOf(range?.alias?.colnames), {
            columns: names.map(name => ({ name, flow })),
            open: null,
          }),
        ]
      }
      case 'JsonTable': {
        const range = as(node, tag)
        const flow = readExpression(reader, node, scope)
        filters.push(flow)
        return [
          aliased(range?.alias?.aliasname ?? 'json_table', namesOf(range?.alias?.colnames), {
            columns: jsonTableNames(range?.columns).map(name => ({ name, flow })),
            open: null,
          }),
        ]
      }
      default:
        reader.sink.unknown(`${tag} in FROM`)
        return [makeItem({ name: null, open: anything }, [])]
    }
  } finally {
    reader.depth--
  }
}

function jsonTableNames(columns: readonly Node[] | undefined): string[] {
  const names: string[] = []
  for (const node of columns ?? []) {
    const column = as(node, 'JsonTableColumn')
    if (column?.columns) names.push(...jsonTableNames(column.columns))
    else if (column) names.push(column.name ?? '')
  }
  return names
}

/** The same level of the query, seen from where its FROM is not. */
function outside(scope: Scope): Scope {
  const around = new Scope(scope.parent)
  around.ctes = scope.ctes
  return around
}

function aliased(name: string | null, names: readonly string[], result: Omit<Result, 'filter'>): Item {
  return makeItem(
    { name, open: result.open },
    result.columns.map((column, i) => ({ ...column, name: names[i] ?? column.name })),
  )
}

function readRangeVar(reader: Reader, range: RangeVar, scope: Scope, filters: Flow[]): Item {
  const names = namesOf(range.alias?.colnames)
  const name = range.relname ?? ''
  const alias = range.alias?.aliasname
  if (range.schemaname === undefined) {
    const cte = scope.cte(name)
    if (cte) {
      const result = cte.read()
      filters.push(result.filter)
      return aliased(alias ?? name, names, result)
    }
  }
  const relation = findRelation(reader, range)
  if (!relation) {
    // in a trigger function: transition tables, which have the rows that the trigger is for
    if (reader.inBody && range.schemaname === undefined) reader.sink.unknown(`${name} is no relation that is known`)
    return makeItem({ name: alias ?? name, open: anything }, [])
  }
  return relationItem(reader, relation, {
    name: alias ?? relation.name,
    aliased: alias !== undefined,
    names,
    children: range.inh === true,
  })
}

/** The relation that a name stands for; notes it where there is none. */
export function findRelation(reader: Reader, range: RangeVar): Relation | undefined {
  const { context } = reader
  const { catalogname, schemaname, relname = '' } = range
  if (catalogname !== undefined && catalogname !== context.catalogue.database) {
    reader.sink.unknown(`${catalogname} is another database`)
    return undefined
  }
  const schema = range.relpersistence === 't' && schemaname === undefined ? undefined : schemaname
  const relation =
    context.relation(schema, relname, reader.path) ??
    context.catalogue.assume(schemaname ?? 'public', relname) ??
    (reader.isDefinition ? relationToCome(context, schemaname, relname) : undefined)
  if (!relation) {
    reader.sink.missing('relation', schemaname === undefined ? relname : `${schemaname}.${relname}`)
    reader.sink.unknown(`relation ${schemaname === undefined ? relname : `${schemaname}.${relname}`} is not known`)
  }
  return relation
}

/** No trigger, rule or child of any relation is under this number. */
const unmadeOid = -1

/**
 * What a restore's CREATE FUNCTION names before it has made it, or without the path to it: rules go by its name. The body is
 * read again, with what is there then, whenever it is called; whatever else comes to bear the name is decided on when made.
 */
function relationToCome(context: Context, schema: string | undefined, name: string): Relation | undefined {
  if (schema !== undefined)
    return isSystem(schema) || isTemporary(schema) ? undefined : assumedRelation(unmadeOid, schema, name)
  const named = context.catalogue.relationsNamed(name)
  return named.length > 1 ? undefined : (named[0] ?? assumedRelation(unmadeOid, 'public', name))
}

export function relationItem(
  reader: Reader,
  relation: Relation,
  options: {
    readonly name: string
    readonly aliased: boolean
    readonly names?: readonly string[]
    readonly children: boolean
    /** It is written to, and read only where columns of it are named. */
    readonly target?: boolean
  },
): Item {
  const { context, sink } = reader
  const use = sink.use(relation, options.children, options.target !== true)
  if ((relation.kind === 'view' || relation.kind === 'matview') && !isSystem(relation.schema)) {
    if (relation.kind === 'view')
      sink.merge(context.view(relation, reader.runPath).summary, `view ${relation.ref}`, nothing)
  } else if (relation.onRead.length > 0)
    sink.merge(context.implicit(relation, 'read', reader.runPath), `table ${relation.ref}`, nothing)
  const shown =
    isSystem(relation.schema) || (relation.kind !== 'view' && relation.kind !== 'matview')
      ? undefined
      : context.view(relation, reader.runPath).columns
  return makeItem(
    { name: options.name, relation, aliased: options.aliased, use, open: relation.assumed ? anything : null },
    relation.columns.map((column, i) => ({
      name: options.names?.[i] ?? column.name,
      flow: context.flowOf(column),
      column,
      direct: column.generated === null && (shown === undefined || shown[i]?.direct === true),
    })),
  )
}

function readJoin(reader: Reader, join: JoinExpr, scope: Scope, filters: Flow[]): Item[] {
  if (!join.larg || !join.rarg) return []
  const left = readFrom(reader, join.larg, scope, filters)
  scope.items.push(...left) // what LATERAL on the right sees
  const right = readFrom(reader, join.rarg, scope, filters)
  scope.items.length -= left.length
  const leftColumns = left.filter(item => item.visible).flatMap(item => item.columns)
  const rightColumns = right.filter(item => item.visible).flatMap(item => item.columns)
  const items = [...left, ...right]
  const openOf = items.find(item => item.visible && item.open)?.open ?? null

  let shared = namesOf(join.usingClause)
  if (join.isNatural === true) {
    const names = new Set(rightColumns.map(column => column.name))
    shared = [...new Set(leftColumns.map(column => column.name))].filter(name => names.has(name))
    if (openOf) filters.push(anything)
  }
  const merged: ItemColumn[] = []
  for (const name of shared) {
    const a = leftColumns.find(column => column.name === name)
    const b = rightColumns.find(column => column.name === name)
    if (a && b) {
      touchBoth(a, b)
      const flow = union(a.flow, b.flow)
      filters.push(flow)
      compare(reader, 'equal', { flow: a.flow, plain: a.direct }, { flow: b.flow, plain: b.direct })
      merged.push({ name, flow, column: a.column, owner: a.owner, direct: a.direct && b.direct, also: b })
    } else merged.push({ name, flow: anything, column: null, owner: null, direct: false, also: a ?? b ?? null })
  }
  if (join.quals) {
    const on = new Scope(scope.parent)
    on.ctes = scope.ctes
    on.items = items
    filters.push(readFilter(reader, join.quals, on))
  }
  const rest = [...leftColumns, ...rightColumns].filter(column => !shared.includes(column.name))
  const aliasNames = namesOf(join.alias?.colnames)
  const columns = [...merged, ...rest].map((column, i) => {
    const name = aliasNames[i]
    return name === undefined ? column : { ...column, name }
  })
  const whole: Item = {
    name: join.alias?.aliasname ?? null,
    relation: null,
    aliased: true,
    columns,
    open: openOf,
    use: null,
    named: join.alias !== undefined,
    visible: true,
    touches: 0,
  }
  const found: Item[] = [whole]
  if (join.join_using_alias)
    found.push({
      ...whole,
      name: join.join_using_alias.aliasname ?? null,
      columns: merged,
      named: true,
      visible: false,
    })
  if (join.alias) return found
  for (const item of items) item.visible = false
  return [...items, ...found]
}

function touchBoth(a: ItemColumn, b: ItemColumn): void {
  for (const column of [a, b]) {
    if (!column.owner) continue
    column.owner.touches++
    if (column.owner.use && column.column) column.owner.use.columns.add(column.column)
  }
}

function readRangeFunction(reader: Reader, range: RangeFunction, scope: Scope, filters: Flow[]): Item {
  const columns: NamedFlow[] = []
  let open: Flow | null = null
  const alias = range.alias?.aliasname
  const single = (range.functions ?? []).length === 1
  for (const node of range.functions ?? []) {
    const [call, definitions] = as(node, 'List')?.items ?? []
    if (!call) continue
    const given = readExpression(reader, call, scope)
    // a value that says how many rows there are; what takes an array or a document apart gives its parts
    const func = as(call, 'FuncCall')
    if (func && countingFunctions.has(namesOf(func.funcname).at(-1) ?? '')) reader.sink.compare('range', given)
    const flow = func && given.columns.length > 0 ? given : union(given, madeUp)
    filters.push(flow)
    const listed = [...(single ? (range.coldeflist ?? []) : []), ...(as(definitions, 'List')?.items ?? [])]
    if (listed.length > 0) {
      for (const item of listed) columns.push({ name: as(item, 'ColumnDef')?.colname ?? '', flow })
      continue
    }
    const shape = functionColumns(reader, call)
    const flows = Array.isArray(shape) ? functionFlows(reader, call, scope) : undefined
    if (shape === null) open = union(open ?? nothing, flow)
    else if (shape === 'scalar') columns.push({ name: (single ? alias : undefined) ?? columnName(call), flow })
    else
      for (const [i, name] of shape.entries())
        columns.push({ name, flow: flows?.length === shape.length ? (flows[i] ?? flow) : flow })
  }
  if (range.ordinality === true) {
    if (open) open = union(open, nothing)
    columns.push({ name: 'ordinality', flow: nothing })
  }
  return aliased(alias ?? functionName(range), namesOf(range.alias?.colnames), { columns, open })
}

function functionName(range: RangeFunction): string | null {
  const call = as(range.functions?.[0], 'List')?.items?.[0]
  return call ? columnName(call) : null
}

function functionFlows(reader: Reader, node: Node, scope: Scope): readonly Flow[] | undefined {
  const call = as(node, 'FuncCall')
  const { routines, isBuiltin } = resolveRoutines(reader, namesOf(call?.funcname), call?.args?.length ?? 0)
  const [routine] = routines
  if (!routine || routines.length > 1 || isBuiltin) return undefined
  return columnsOfRoutine(reader, routine, readExpressions(reader, call?.args, scope))
}

/** Column names of a function used as a table; null where they are not known. */
function functionColumns(reader: Reader, call: Node): readonly string[] | 'scalar' | null {
  const func = as(call, 'FuncCall')
  if (!func) return 'scalar' // CURRENT_DATE and the like
  const names = namesOf(func.funcname)
  const { routines, isBuiltin } = resolveRoutines(reader, names, func.args?.length ?? 0)
  const name = names.at(-1) ?? ''
  if (isBuiltin && routines.length === 0) {
    const known = builtinColumns.get(name)
    if (known) return known
    if (name === 'unnest' && (func.args?.length ?? 0) > 1) return (func.args ?? []).map(() => 'unnest')
    if (name === 'unnest') return 'scalar' // of composites it gives their columns: any name then reads the same flow
    return openSets.has(name) ? null : 'scalar'
  }
  const [routine] = routines
  if (isBuiltin || routines.length !== 1 || !routine) return null
  if (routine.outNames.length > 0) return routine.outNames
  if (routine.returnsRelation !== null) {
    const relation = reader.context.catalogue.relationByOid(routine.returnsRelation)
    return relation ? relation.columns.map(column => column.name) : null
  }
  return routine.definition !== null && /\bRETURNS\s+(SETOF\s+)?record\b/i.test(routine.definition) ? null : 'scalar'
}

// built-in functions whose columns depend on the version or on their argument's type; all others without OUT arguments
// give one column
const openSets = new Set(
  `json_populate_record json_populate_recordset jsonb_populate_record jsonb_populate_recordset json_to_record
   json_to_recordset jsonb_to_record jsonb_to_recordset pg_control_init pg_get_backend_memory_contexts
   pg_get_publication_tables pg_get_replication_slots pg_hba_file_rules pg_ident_file_mappings pg_prepared_statement
   pg_stat_get_activity pg_stat_get_subscription pg_stat_get_subscription_stats pg_stat_get_wal unnest _pg_expandarray
   populate_record`.split(/\s+/),
)

const countingFunctions: ReadonlySet<string> = new Set(['generate_series', 'regexp_matches', 'regexp_split_to_table'])
