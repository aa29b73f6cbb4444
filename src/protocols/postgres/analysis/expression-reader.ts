import type {
  A_Expr,
  A_Indirection,
  CaseExpr,
  ColumnRef,
  FuncCall,
  Node,
  SubLink,
  TypeCast,
  TypeName,
  WindowDef,
} from 'libpg-query'
import { resolvingSettings } from './builtin-functions.ts'
import {
  compare,
  compareCast,
  compareDecision,
  compareOperator,
  compareRows,
  compareSubLink,
  isCount,
  sideOf,
} from './comparisons.ts'
import { flowOfColumns } from './context.ts'
import { anything, madeUp, nothing, union, unionAll, variable } from './flow.ts'
import type { Flow } from './flow.ts'
import { as, constantText, namesOf, tagOf, typeNames } from './nodes.ts'
import type { Tag } from './nodes.ts'
import { parseQualifiedName } from './names.ts'
import { readQuery } from './query-reader.ts'
import { deepestNesting, TooDeep } from './reader.ts'
import type { Reader } from './reader.ts'
import { callAll, callBuiltin, callRoutine, resolveRoutines } from './routines.ts'
import { findColumn, flowOfResult, Scope, systemColumns, touch, wholeRow } from './scope.ts'
import type { Item, NamedFlow } from './scope.ts'

/** Reads an expression: notes what it uses and calls, and says what its value depends on. */
export function readExpression(reader: Reader, node: Node, scope: Scope): Flow {
  if (++reader.depth > deepestNesting) throw new TooDeep()
  const tag = tagOf(node)
  const { constants } = reader
  const { mark } = constants
  const flow = readTagged(reader, tag, node, scope)
  if (constants.mark > mark) constants.near(mark, flow)
  reader.depth--
  return flow
}

function readTagged(reader: Reader, tag: Tag, node: Node, scope: Scope): Flow {
  switch (tag) {
    case 'A_Const':
      reader.constants.note('constant', as(node, tag)?.location ?? 0)
      return nothing
    case 'SetToDefault':
    case 'SQLValueFunction':
      return nothing
    case 'ParamRef': {
      const number = as(node, tag)?.number ?? 0
      if (number > reader.parameterCount) reader.parameterCount = number
      reader.constants.note('parameter', number)
      return reader.inBody ? variable : nothing
    }
    case 'ColumnRef':
      return readColumn(reader, as(node, tag) ?? {}, scope)
    case 'A_Expr':
      return readOperator(reader, as(node, tag) ?? {}, scope)
    case 'BoolExpr': {
      let flow = nothing
      // each side of AND and OR is a condition of its own
      for (const arg of as(node, tag)?.args ?? []) flow = union(flow, readFilter(reader, arg, scope))
      return flow
    }
    case 'FuncCall':
      return readCall(reader, as(node, tag) ?? {}, scope)
    case 'SubLink':
      return readSubLink(reader, as(node, tag) ?? {}, scope)
    case 'TypeCast':
      return readCast(reader, as(node, tag) ?? {}, scope)
    case 'A_Indirection':
      return readIndirection(reader, as(node, tag) ?? {}, scope)
    case 'CaseExpr':
      return readCase(reader, as(node, tag) ?? {}, scope, false)
    case 'SelectStmt': {
      const result = readQuery(reader, node, scope)
      return union(flowOfResult(result), result.filter)
    }
    case 'InsertStmt':
    case 'UpdateStmt':
    case 'DeleteStmt':
    case 'MergeStmt':
      return flowOfResult(readQuery(reader, node, scope))
    default:
      return readParts(reader, as(node, tag), scope)
  }
}

/** An expression whose value is true or false and goes nowhere: its constants meet nothing but what it reads itself. */
export function readFilter(reader: Reader, node: Node, scope: Scope): Flow {
  const { mark } = reader.constants
  const flow = readDecision(reader, node, scope)
  reader.constants.settle(mark)
  return flow
}

/** A value that decides what becomes of others. */
function readDecision(reader: Reader, node: Node, scope: Scope): Flow {
  const choice = as(node, 'CaseExpr')
  const flow = choice ? readCase(reader, choice, scope, true) : readExpression(reader, node, scope)
  compareDecision(reader, node, flow, scope)
  return flow
}

/** CASE: with an operand each WHEN is compared with it; without one each WHEN decides. `decides`: so does what it gives. */
function readCase(reader: Reader, node: CaseExpr, scope: Scope, decides: boolean): Flow {
  const read = decides ? readDecision : readExpression
  const operand = node.arg ? readExpression(reader, node.arg, scope) : undefined
  let flow = operand ?? nothing
  for (const one of node.args ?? []) {
    const when = as(one, 'CaseWhen')
    if (when?.expr) {
      if (operand === undefined) flow = union(flow, readDecision(reader, when.expr, scope))
      else {
        const value = readExpression(reader, when.expr, scope)
        compare(reader, 'equal', sideOf(reader, node.arg, operand, scope), sideOf(reader, when.expr, value, scope))
        flow = union(flow, value)
      }
    }
    if (when?.result) flow = union(flow, read(reader, when.result, scope))
  }
  return node.defresult ? union(flow, read(reader, node.defresult, scope)) : flow
}

export function readExpressions(reader: Reader, nodes: readonly (Node | undefined)[] | undefined, scope: Scope): Flow {
  let flow = nothing
  for (const node of nodes ?? []) if (node) flow = union(flow, readExpression(reader, node, scope))
  return flow
}

/** Any other kind of node depends on all that is in it. */
function readParts(reader: Reader, value: unknown, scope: Scope): Flow {
  if (typeof value !== 'object' || value === null) return nothing
  let flow = nothing
  if (Array.isArray(value)) {
    for (const item of value) flow = union(flow, readPart(reader, item, scope))
    return flow
  }
  for (const [key, part] of Object.entries(value)) {
    if (key === 'typeName') readType(reader, part as TypeName)
    else if (typeof part === 'object') flow = union(flow, readPart(reader, part, scope))
  }
  return flow
}

function readPart(reader: Reader, value: unknown, scope: Scope): Flow {
  if (typeof value !== 'object' || value === null) return nothing
  if (Array.isArray(value)) return readParts(reader, value, scope)
  const keys = Object.keys(value)
  const [first] = keys
  // a node is an object with its tag, which starts with a capital, as only key; anything else is a plain struct
  if (keys.length === 1 && first !== undefined && /^[A-Z]/.test(first))
    return readExpression(reader, value as Node, scope)
  return readParts(reader, value, scope)
}

function readColumn(reader: Reader, ref: ColumnRef, scope: Scope): Flow {
  const fields = ref.fields ?? []
  const names = namesOf(fields)
  const last = fields.at(-1)
  if (last && tagOf(last) === 'A_Star') return rowNamed(reader, names.slice(0, -1), scope) ?? unresolved(reader, names)
  const [name = ''] = names
  if (names.length === 1) return findName(name, scope) ?? rowNamed(reader, names, scope) ?? unresolved(reader, names)
  const columnName = names.at(-1) ?? ''
  const item = findItem(reader, names.slice(0, -1), scope)
  if (item) {
    const column = findColumn(item, columnName)
    if (column) return touch(column)
    item.touches++
    if (item.open) return item.open
    if (item.relation && systemColumns.has(columnName)) return nothing
    // `t.f` also calls f(t)
    const { routines, isBuiltin } = resolveRoutines(reader, [columnName], 1)
    if (routines.length > 0) return callAll(reader, routines, wholeRow(item))
    if (isBuiltin) return wholeRow(item)
    return anything
  }
  return unresolved(reader, names)
}

function unresolved(reader: Reader, names: readonly string[]): Flow {
  if (reader.inBody) return bodyName(reader, names)
  // The server will say that there is no such column. If it does not, the snapshot is old, and this is not certain.
  reader.sink.missing('column', names.join('.'))
  return anything
}

/** A name in a body that is no column: NEW or OLD, what the trigger is told of itself, or a variable. */
function bodyName(reader: Reader, names: readonly string[]): Flow {
  const { row, context } = reader
  const [first = '', second] = names
  if (row && (first === 'new' || first === 'old')) {
    const column = second === undefined || second === '' ? undefined : context.catalogue.column(row, second)
    const flow = column ? context.flowOf(column) : flowOfColumns(context, row.columns)
    reader.sink.read(flow) // a variable may take it elsewhere
    return flow
  }
  return names.length === 1 && (first.startsWith('tg_') || first === 'found') ? nothing : variable
}

/** An unqualified column name, from the innermost level outwards. */
function findName(name: string, start: Scope): Flow | undefined {
  for (let scope: Scope | null = start; scope; scope = scope.parent) {
    let flow: Flow | undefined
    let open: Flow | undefined
    for (const item of scope.items) {
      if (!item.visible) continue
      const column = findColumn(item, name)
      if (column) flow = flow ? union(flow, touch(column)) : touch(column)
      else if (item.open) open = open ? union(open, item.open) : item.open
    }
    if (flow) return flow
    if (open) {
      for (const item of scope.items) item.touches++
      return open
    }
    if (systemColumns.has(name)) {
      const tables = scope.items.filter(item => item.relation)
      for (const item of tables) item.touches++
      if (tables.length > 0) return nothing
    }
  }
  return undefined
}

/** The entry of FROM that `t`, `schema.t` or `database.schema.t` names. */
function findItem(reader: Reader, names: readonly string[], start: Scope): Item | undefined {
  const name = names.at(-1) ?? ''
  const schema = names.length > 1 ? names.at(-2) : undefined
  for (let scope: Scope | null = start; scope; scope = scope.parent) {
    for (const item of scope.items) {
      if (!item.named) continue
      if (
        schema === undefined
          ? item.name === name
          : !item.aliased && item.relation === reader.context.relation(schema, name)
      )
        return item
    }
  }
  return undefined
}

function rowNamed(reader: Reader, names: readonly string[], scope: Scope): Flow | undefined {
  if (names.length > 0) {
    const item = findItem(reader, names, scope)
    return item ? wholeRow(item) : undefined
  }
  let flow = nothing // `count(*)` has no argument at all; a bare star elsewhere is all there is
  for (const item of scope.items) if (item.visible) flow = union(flow, wholeRow(item))
  return flow
}

/** Whether an expression is a column's name and nothing more, and that column's values are as they stand in a table. */
export function isDirect(reader: Reader, node: Node, start: Scope): boolean {
  const fields = as(node, 'ColumnRef')?.fields
  if (!fields) return false
  const names = namesOf(fields)
  const name = names.at(-1) ?? ''
  if (names.length > 1) {
    const item = findItem(reader, names.slice(0, -1), start)
    return item !== undefined && findColumn(item, name)?.direct === true
  }
  for (let scope: Scope | null = start; scope; scope = scope.parent) {
    const found = scope.items.flatMap(item => (item.visible ? (findColumn(item, name) ?? []) : []))
    if (found.length > 0) return found.every(column => column.direct)
  }
  return false
}

/** `*`, `t.*`, `(row).*` in a select list; undefined for anything else. */
export function expandStar(
  reader: Reader,
  node: Node,
  scope: Scope,
): { readonly columns: readonly NamedFlow[]; readonly open: Flow | null } | undefined {
  const ref = as(node, 'ColumnRef')
  if (ref) {
    const fields = ref.fields ?? []
    const last = fields.at(-1)
    if (!last || tagOf(last) !== 'A_Star') return undefined
    const names = namesOf(fields.slice(0, -1))
    const named = names.length > 0 ? findItem(reader, names, scope) : undefined
    if (names.length > 0 && !named) return { columns: [], open: unresolved(reader, names) }
    const items = named ? [named] : scope.items.filter(item => item.visible)
    const columns: NamedFlow[] = []
    let open: Flow | null = null
    for (const item of items) {
      item.touches++
      for (const column of item.columns) columns.push({ name: column.name, flow: touch(column), direct: column.direct })
      if (item.open) open = union(open ?? nothing, item.open)
    }
    return { columns, open }
  }
  const indirection = as(node, 'A_Indirection')
  const last = indirection?.indirection?.at(-1)
  if (!indirection || !last || tagOf(last) !== 'A_Star') return undefined
  const inner = as(indirection.arg, 'ColumnRef')
  if (inner && indirection.indirection?.length === 1) {
    const names = namesOf(inner.fields)
    const item = names.length === 1 && findName(names[0] ?? '', scope) ? undefined : findItem(reader, names, scope)
    if (item && !item.open)
      return { columns: item.columns.map(column => ({ name: column.name, flow: touch(column) })), open: null }
  }
  return { columns: [], open: readIndirection(reader, indirection, scope) }
}

function readIndirection(reader: Reader, node: A_Indirection, scope: Scope): Flow {
  let flow = nothing
  for (const part of node.indirection ?? []) {
    const indices = as(part, 'A_Indices')
    if (indices) flow = union(flow, readExpressions(reader, [indices.lidx, indices.uidx], scope))
  }
  const ref = as(node.arg, 'ColumnRef')
  const [first] = node.indirection ?? []
  const field = as(first, 'String')?.sval
  if (ref && field !== undefined) {
    // `(t).column` is that column alone
    const names = namesOf(ref.fields)
    const item = names.length === 1 && findName(names[0] ?? '', scope) ? undefined : findItem(reader, names, scope)
    const column = item && findColumn(item, field)
    if (column) return union(flow, touch(column))
  }
  if (field !== undefined) {
    const { routines } = resolveRoutines(reader, [field], 1)
    if (routines.length > 0 && node.arg)
      return union(flow, callAll(reader, routines, readExpression(reader, node.arg, scope)))
  }
  return node.arg ? union(flow, readExpression(reader, node.arg, scope)) : flow
}

function readOperator(reader: Reader, expr: A_Expr, scope: Scope): Flow {
  const left = expr.lexpr ? readExpression(reader, expr.lexpr, scope) : nothing
  const right = expr.rexpr ? readExpression(reader, expr.rexpr, scope) : nothing
  compareOperator(reader, expr, left, right, scope)
  return useOperator(reader, namesOf(expr.name), union(left, right))
}

/** Operators of pg_catalog are harmless; others run a function. */
function useOperator(reader: Reader, names: readonly string[], flow: Flow): Flow {
  const found = reader.context.catalogue.operators(names.at(-1) ?? '')
  if (found.length === 0) return flow
  let result = flow
  for (const operator of found) {
    const visible = names.length > 1 ? names.at(-2) === operator.schema : reader.path.includes(operator.schema)
    const routine = visible ? reader.context.catalogue.routineByOid(operator.routine) : undefined
    if (routine) result = union(result, callRoutine(reader, routine, flow))
  }
  return result
}

function readSubLink(reader: Reader, link: SubLink, scope: Scope): Flow {
  const result = link.subselect ? readQuery(reader, link.subselect, scope) : undefined
  let flow = nothing
  if (result) {
    flow = result.filter
    if (link.subLinkType !== 'EXISTS_SUBLINK') flow = union(flow, flowOfResult(result))
  }
  const test = link.testexpr ? readExpression(reader, link.testexpr, scope) : nothing
  flow = union(flow, test)
  if (result) compareSubLink(reader, link, test, result.columns, result.open, scope)
  return useOperator(reader, namesOf(link.operName), flow)
}

function readCast(reader: Reader, cast: TypeCast, scope: Scope): Flow {
  const flow = cast.arg ? readExpression(reader, cast.arg, scope) : nothing
  compareCast(reader, cast, flow)
  return cast.typeName ? union(flow, readType(reader, cast.typeName)) : flow
}

/** Using a domain runs its constraints. */
export function readType(reader: Reader, type: TypeName): Flow {
  const names = typeNames(type)
  const { context } = reader
  let flow = nothing
  for (const named of context.catalogue.typesNamed(names.at(-1) ?? '')) {
    for (const check of named.checks) {
      const parsed = context.parse(`SELECT ${check}`)
      const select = parsed.kind === 'parsed' ? parsed.statements[0]?.stmt : undefined
      if (!select) reader.sink.unknown(`a constraint of ${named.schema}.${named.name} cannot be read`)
      else {
        const target = as(as(select, 'SelectStmt')?.targetList?.[0], 'ResTarget')?.val
        if (target) flow = union(flow, readCheck(reader, target))
      }
    }
  }
  return flow
}

// VALUE is no column of anything
function readCheck(reader: Reader, node: Node): Flow {
  const scope = new Scope(null)
  scope.outputs = null
  scope.items.push({
    name: null,
    relation: null,
    aliased: true,
    columns: [{ name: 'value', flow: nothing, column: null, owner: null, direct: false, also: null }],
    open: null,
    use: null,
    named: false,
    visible: true,
    touches: 0,
  })
  return readExpression(reader, node, scope)
}

function readCall(reader: Reader, call: FuncCall, scope: Scope): Flow {
  const names = namesOf(call.funcname)
  const name = names.at(-1) ?? ''
  const args = call.args ?? []
  const { mark } = reader.constants
  const flows = [readExpressions(reader, args, scope), readOrder(reader, call.agg_order, scope)]
  if (call.agg_filter) flows.push(readFilter(reader, call.agg_filter, scope))
  if (call.agg_distinct === true || isCount(call))
    for (const arg of args)
      compare(reader, call.agg_distinct === true ? 'group' : 'equal', sideOf(reader, arg, flows[0] ?? nothing, scope), {
        flow: nothing,
        plain: true,
      })
  const { over } = call
  if (over) {
    for (const window of [over.name, over.refname]) if (window !== undefined) flows.push(findWindow(window, scope))
    flows.push(readWindow(reader, over, scope))
  }
  const given = unionAll(flows)
  const { routines, builtin } = resolveRoutines(reader, names, args.length)
  if (!builtin && routines.length === 0) return callUnknown(reader, names, args.length, given)
  let flow = given
  if (builtin) {
    flow = callBuiltin(reader, name, builtin, given)
    if (rowMaking.has(name) || over !== undefined) flow = union(flow, madeUp)
    if (builtin.kind === 'sequence') noteSequence(reader, args[0], name)
    if (builtin.kind === 'set-config') noteSetting(reader, args, flows[0] ?? nothing, scope)
  }
  for (const routine of routines) {
    flow = union(flow, callRoutine(reader, routine, given))
    const { carries, unknown } = reader.context.routine(routine, reader.runPath)
    // it puts its arguments somewhere
    if (carries.length > 0 || unknown.length > 0) reader.constants.near(mark, anything)
  }
  return flow
}

/** PARTITION BY, ORDER BY and the frame of a window. */
export function readWindow(reader: Reader, window: WindowDef, scope: Scope): Flow {
  const flows = [readOrder(reader, window.orderClause, scope)]
  for (const node of window.partitionClause ?? []) {
    const flow = readExpression(reader, node, scope)
    compareRows(reader, 'group', { flow, direct: sideOf(reader, node, flow, scope).plain })
    flows.push(flow)
  }
  for (const offset of [window.startOffset, window.endOffset]) if (offset) flows.push(readFilter(reader, offset, scope))
  return unionAll(flows)
}

function readOrder(reader: Reader, order: readonly Node[] | undefined, scope: Scope): Flow {
  let all = nothing
  for (const node of order ?? []) {
    const flow = readExpression(reader, node, scope)
    compareRows(reader, 'sort', { flow })
    all = union(all, flow)
  }
  return all
}

function findWindow(name: string, start: Scope): Flow {
  for (let scope: Scope | null = start; scope; scope = scope.parent) {
    const flow = scope.windows?.get(name)
    if (flow) return flow
  }
  return nothing
}

function noteSequence(reader: Reader, argument: Node | undefined, name: string): void {
  const text = constantText(argument)
  const [first, second] = text === undefined ? [] : parseQualifiedName(text)
  const relation =
    first === undefined
      ? undefined
      : second === undefined
        ? reader.context.relation(undefined, first, reader.path)
        : reader.context.relation(first, second)
  reader.sink.effect({ verb: name, relation: relation ?? null })
}

function noteSetting(reader: Reader, args: readonly Node[], value: Flow, scope: Scope): void {
  const name = (constantText(args[0]) ?? settingOfRow(args[0], scope))?.toLowerCase()
  reader.sink.effect({ verb: 'set' })
  reader.sink.carry(null, 'set_config', value)
  if (name === undefined) {
    reader.sink.unknown('set_config of a setting that is only known when it runs')
    reader.sink.change('resolution')
  } else if (resolvingSettings.has(name)) {
    reader.sink.change('resolution')
    if (name === 'role' || name === 'session_authorization') reader.sink.effect({ verb: 'set-role' })
    if (reader.inBody) reader.sink.unknown(`it sets ${name}, so what follows cannot be resolved`)
  }
}

/** pg_dump: `SELECT set_config(name, …) FROM pg_settings WHERE name = '…'`. */
function settingOfRow(argument: Node | undefined, scope: Scope): string | undefined {
  const [item, ...others] = scope.items
  const condition = scope.where ? as(scope.where, 'A_Expr') : undefined
  const isName = (node: Node | undefined) => namesOf(as(node, 'ColumnRef')?.fields).join('.') === 'name'
  if (item?.relation?.ref !== 'pg_catalog.pg_settings' || others.length > 0 || !isName(argument)) return undefined
  return condition?.kind === 'AEXPR_OP' && namesOf(condition.name).join('.') === '=' && isName(condition.lexpr)
    ? constantText(condition.rexpr)
    : undefined
}

/** A type's name as a function is a cast; one argument of a table's type makes it a column. */
function callUnknown(reader: Reader, names: readonly string[], count: number, given: Flow): Flow {
  const name = names.at(-1) ?? ''
  const { catalogue } = reader.context
  if (count === 1) {
    const types = catalogue.typesNamed(name)
    if (types.length > 0 || builtinTypes.has(name))
      return union(given, readType(reader, { names: names.map(sval => ({ String: { sval } })) }))
    if (given.columns.some(column => column.relation.columns.some(other => other.name === name))) return given
  }
  reader.sink.call(names.length === 1 ? name : names.join('.'))
  reader.sink.missing('function', names.join('.'))
  reader.sink.unknown(`function ${names.join('.')} is not known`)
  return anything
}

// what casts are written as functions in practice, where a catalogue made from DDL has no types
const builtinTypes = new Set(
  `bool bpchar bytea char date float4 float8 int2 int4 int8 interval json jsonb name numeric oid text time timestamp
   timestamptz timetz uuid varchar xml regclass regtype regproc regrole regnamespace inet cidr point money`.split(
    /\s+/,
  ),
)

/** Functions of pg_catalog that make rows of their own, wherever they are called. */
const rowMaking: ReadonlySet<string> = new Set([
  'generate_series',
  'generate_subscripts',
  'unnest',
  'regexp_split_to_table',
  'string_to_table',
  'json_array_elements',
  'json_array_elements_text',
  'jsonb_array_elements',
  'jsonb_array_elements_text',
  'json_object_keys',
  'jsonb_object_keys',
])
