import type { A_Expr, FuncCall, Node, SubLink, TypeCast } from 'libpg-query'
import type { MaskUse } from '../../../policy/action.ts'
import { isDirect } from './expression-reader.ts'
import { nothing, union, unionAll } from './flow.ts'
import type { Flow } from './flow.ts'
import { as, namesOf, tagOf, typeNames } from './nodes.ts'
import type { Reader } from './reader.ts'
import type { NamedFlow, Scope } from './scope.ts'

// What tells of a value without showing it (docs/masking.md): comparing it, and letting it decide. Noted wherever it stands, as
// an error or a delay tells as much as a row.

/** One side of a comparison. */
export interface Side {
  readonly flow: Flow
  /** A column as it stands, or nothing but constants: comparing it for equality asks for one value and no part of it. */
  readonly plain: boolean
}

/** An operator other than these compares, as far as anybody knows. */
const computing: ReadonlySet<string> = new Set(['||', '+', '-', '*', '/', '%', '->', '->>', '#>', '#>>'])
const equality: ReadonlySet<string> = new Set(['=', '<>', '!='])
/** Equal texts stay equal, and nothing of them is left out. */
const sameText: ReadonlySet<string> = new Set(['lower', 'upper', 'btrim', 'ltrim', 'rtrim'])
/** Types to which any value can be cast, so that it does not tell whether it could. */
const textTypes: ReadonlySet<string> = new Set([
  'text',
  'varchar',
  'bpchar',
  'char',
  'name',
  'citext',
  'json',
  'unknown',
])
// text, bpchar, varchar, name, json, jsonb, char; 0: not known
const textOids: ReadonlySet<number> = new Set([0, 25, 1042, 1043, 19, 114, 3802, 18])

export function sideOf(reader: Reader, node: Node | undefined, flow: Flow, scope: Scope): Side {
  if (node === undefined) return { flow: nothing, plain: true }
  const inner = as(node, 'SubLink')
  const known = inner && reader.subLinks.get(inner)
  if (known) return known
  const call = as(node, 'FuncCall')
  if (call && isCount(call)) return { flow: nothing, plain: true } // noted where it is read
  return { flow, plain: isPlain(reader, node, flow, scope) }
}

const isConstant = (flow: Flow) => flow.columns.length === 0 && flow.certain && !flow.made

function isPlain(reader: Reader, node: Node, flow: Flow, scope: Scope): boolean {
  if (isConstant(flow) && !flow.variable) return true
  if (flow.made) return false
  const tag = tagOf(node)
  switch (tag) {
    case 'ColumnRef': // a variable's name stands for its value
      return (flow.variable && flow.columns.length === 0) || isDirect(reader, node, scope)
    case 'A_Const':
    case 'ParamRef':
    case 'SQLValueFunction':
      return true
    case 'CollateClause': {
      const arg = as(node, tag)?.arg
      return arg !== undefined && isPlain(reader, arg, flow, scope)
    }
    case 'TypeCast': {
      const cast = as(node, tag)
      if (cast?.arg === undefined) return false
      const inner = isPlain(reader, cast.arg, flow, scope)
      return inner && (tagOf(cast.arg) !== 'ColumnRef' || !mayFail(cast, flow))
    }
    case 'FuncCall': {
      const call = as(node, tag)
      const [arg, ...others] = call?.args ?? []
      const isSame = sameText.has(namesOf(call?.funcname).at(-1) ?? '')
      return isSame && arg !== undefined && others.length === 0 && isPlain(reader, arg, flow, scope)
    }
    case 'RowExpr':
      return (as(node, tag)?.args ?? []).every(arg => isPlain(reader, arg, flow, scope))
    case 'A_ArrayExpr':
      return (as(node, tag)?.elements ?? []).every(arg => isPlain(reader, arg, flow, scope))
    case 'List':
      return (as(node, tag)?.items ?? []).every(arg => isPlain(reader, arg, flow, scope))
    case 'SubLink': {
      const link = as(node, tag)
      return (link && reader.subLinks.get(link)?.plain) === true
    }
    default:
      return false
  }
}

export function compare(reader: Reader, use: MaskUse, left: Side, right: Side): void {
  const { sink } = reader
  const flow = union(left.flow, right.flow)
  const fixed =
    !flow.variable && !flow.made && flow.certain && (isConstant(left.flow) || isConstant(right.flow) || use === 'sort')
  const asked = (use === 'equal' || use === 'group') && !(left.plain && right.plain && !flow.made) ? 'range' : use
  sink.compare(asked, flow, fixed)
}

const alone: Side = { flow: nothing, plain: true }

/** Rows are told apart by its value, or put in its order. */
export function compareRows(reader: Reader, use: 'group' | 'sort', column: Pick<NamedFlow, 'flow' | 'direct'>): void {
  compare(reader, use, { flow: column.flow, plain: column.direct === true || isConstant(column.flow) }, alone)
}

/** An operator between what `lexpr` and `rexpr` have been read to depend on. */
export function compareOperator(reader: Reader, expr: A_Expr, left: Flow, right: Flow, scope: Scope): void {
  const name = namesOf(expr.name).at(-1) ?? ''
  const use = operatorUse(expr, name)
  if (use === undefined) {
    // a division fails where what it divides by is zero
    if (name === '/' || name === '%') reader.sink.compare('range', right, !right.variable)
    return
  }
  compare(reader, use, sideOf(reader, expr.lexpr, left, scope), sideOf(reader, expr.rexpr, right, scope))
}

function operatorUse(expr: A_Expr, name: string): MaskUse | undefined {
  switch (expr.kind) {
    case 'AEXPR_OP':
      if (expr.lexpr === undefined || computing.has(name)) return undefined
      return equality.has(name) ? 'equal' : 'range'
    case 'AEXPR_OP_ANY':
    case 'AEXPR_OP_ALL':
      return equality.has(name) ? 'equal' : 'range'
    case 'AEXPR_DISTINCT':
    case 'AEXPR_NOT_DISTINCT':
    case 'AEXPR_NULLIF':
    case 'AEXPR_IN':
      return 'equal'
    default:
      return 'range'
  }
}

/** `x IN (SELECT …)`, `x > ALL (SELECT …)`; what a sub-select in an expression gives is kept for what it is compared with. */
export function compareSubLink(
  reader: Reader,
  link: SubLink,
  test: Flow,
  columns: readonly NamedFlow[],
  open: Flow | null,
  scope: Scope,
): void {
  const flow = union(unionAll(columns.map(column => column.flow)), open ?? nothing)
  const plain =
    open === null && !flow.made && columns.every(column => column.direct === true || isConstant(column.flow))
  const name = namesOf(link.operName).at(-1) ?? '='
  if (link.subLinkType === 'ANY_SUBLINK' || link.subLinkType === 'ALL_SUBLINK') {
    compare(reader, equality.has(name) ? 'equal' : 'range', sideOf(reader, link.testexpr, test, scope), { flow, plain })
    reader.subLinks.set(link, alone) // true or false, as what was compared
  } else reader.subLinks.set(link, link.subLinkType === 'EXISTS_SUBLINK' ? alone : { flow, plain })
}

/** A value that decides by itself: WHERE, ON, HAVING, FILTER, WHEN, LIMIT. What is compared in it is noted where it is read. */
export function compareDecision(reader: Reader, node: Node, flow: Flow, scope: Scope): void {
  if (isConstant(flow) && !flow.variable) return
  const tag = tagOf(node)
  switch (tag) {
    case 'BoolExpr':
    case 'CurrentOfExpr':
    case 'CaseExpr': // its parts have been told
      return
    case 'A_Expr': {
      const expr = as(node, tag)
      if (expr && operatorUse(expr, namesOf(expr.name).at(-1) ?? '') !== undefined) return
      break
    }
    case 'NullTest':
    case 'BooleanTest': {
      const arg = tag === 'NullTest' ? as(node, tag)?.arg : as(node, tag)?.arg
      compare(reader, 'equal', sideOf(reader, arg, flow, scope), alone)
      return
    }
    default:
      break
  }
  compare(reader, 'equal', sideOf(reader, node, flow, scope), alone)
}

export function isCount(call: FuncCall): boolean {
  const names = namesOf(call.funcname)
  return names.at(-1) === 'count' && (names.length === 1 || names[0] === 'pg_catalog')
}

/** A cast that some values survive and some do not tells which one it was. */
export function compareCast(reader: Reader, cast: TypeCast, flow: Flow): void {
  if (mayFail(cast, flow)) reader.sink.compare('range', flow, !flow.variable)
}

function mayFail({ typeName }: TypeCast, flow: Flow): boolean {
  if (flow.columns.length === 0 || (typeName && textTypes.has(typeNames(typeName).at(-1) ?? ''))) return false
  return flow.columns.some(column => textOids.has(column.typeOid))
}
