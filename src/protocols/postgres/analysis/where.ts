import type { A_Const, A_Expr, Node } from 'libpg-query'
import { as, namesOf, tagOf } from './nodes.ts'
import type { Item } from './scope.ts'

/**
 * Whether a condition holds for every row of the table, so that it is no condition. It cannot be decided in general; what
 * is found here is what people write to get past a rule that asks for a WHERE. False means: not shown to be so.
 */
export function isAlwaysTrue(node: Node, target: Item): boolean {
  return truth(node, target) === true
}

type Truth = boolean | undefined

function truth(node: Node, target: Item): Truth {
  const tag = tagOf(node)
  switch (tag) {
    case 'A_Const':
      return constantTruth(as(node, tag))
    case 'TypeCast': {
      const arg = as(node, tag)?.arg
      return arg ? truth(arg, target) : undefined
    }
    case 'BoolExpr': {
      const { boolop, args = [] } = as(node, tag) ?? {}
      const values = args.map(arg => truth(arg, target))
      if (boolop === 'NOT_EXPR') return values[0] === undefined ? undefined : !values[0]
      if (boolop === 'AND_EXPR')
        return values.includes(false) ? false : values.every(value => value === true) ? true : undefined
      if (values.includes(true) || hasOpposites(args, target)) return true
      return values.every(value => value === false) ? false : undefined
    }
    case 'NullTest': {
      const { arg, nulltesttype } = as(node, tag) ?? {}
      if (!arg) return undefined
      const isNull = as(arg, 'A_Const')?.isnull === true ? true : neverNull(arg, target) ? false : undefined
      return isNull === undefined ? undefined : nulltesttype === 'IS_NULL' ? isNull : !isNull
    }
    case 'BooleanTest': {
      const { arg, booltesttype } = as(node, tag) ?? {}
      const value = arg ? truth(arg, target) : undefined
      if (value === undefined) return undefined
      if (booltesttype === 'IS_TRUE' || booltesttype === 'IS_NOT_FALSE') return value
      if (booltesttype === 'IS_FALSE' || booltesttype === 'IS_NOT_TRUE') return !value
      return booltesttype === 'IS_NOT_UNKNOWN' ? true : undefined
    }
    case 'A_Expr':
      return comparison(as(node, tag) ?? {}, target)
    case 'CoalesceExpr': {
      const args = as(node, tag)?.args ?? []
      const values = args.map(arg => truth(arg, target))
      // COALESCE(x = 1, true) may be false; only if all are true is it
      return values.length > 0 && values.every(value => value === true) ? true : values[0]
    }
    case 'CaseExpr': {
      const { args = [], defresult } = as(node, tag) ?? {}
      const results = [...args.map(arg => as(arg, 'CaseWhen')?.result), defresult]
      return results.every(result => result && truth(result, target) === true) ? true : undefined
    }
    case 'SubLink': {
      const link = as(node, tag)
      const select = as(link?.subselect, 'SelectStmt')
      if (!select) return undefined
      const plain =
        !select.whereClause &&
        !select.havingClause &&
        !select.limitCount &&
        !select.limitOffset &&
        !select.groupClause &&
        !select.larg &&
        !select.valuesLists
      if (link?.subLinkType === 'EXISTS_SUBLINK')
        return plain && (!select.fromClause || readsTarget(select.fromClause, target)) ? true : undefined
      if (link?.subLinkType === 'ANY_SUBLINK' && plain && readsTarget(select.fromClause, target)) {
        const [output] = select.targetList ?? []
        const value = as(output, 'ResTarget')?.val
        const mine = link.testexpr ? columnOf(link.testexpr, target) : undefined
        const other = value ? as(value, 'ColumnRef') : undefined
        const theirs = other ? namesOf(other.fields).at(-1) : undefined
        return mine !== undefined && mine === theirs && notNull(mine, target) ? true : undefined
      }
      if (link?.subLinkType === 'EXPR_SUBLINK' && plain && !select.fromClause) {
        const value = as(select.targetList?.[0], 'ResTarget')?.val
        return value ? truth(value, target) : undefined
      }
      return undefined
    }
    default:
      return undefined
  }
}

/** FROM with the target itself and nothing else: what is asked of it then holds for each of its rows. */
function readsTarget(from: readonly Node[] | undefined, target: Item): boolean {
  const range = from?.length === 1 ? as(from[0], 'RangeVar') : undefined
  return range !== undefined && range.relname === target.relation?.name
}

function constantTruth(constant: A_Const | undefined): Truth {
  if (!constant) return undefined
  if (constant.boolval) return constant.boolval.boolval === true
  if (constant.ival) return (constant.ival.ival ?? 0) !== 0
  const text = constant.sval?.sval?.trim().toLowerCase()
  if (text === undefined || text === '') return undefined
  if (['t', 'tr', 'tru', 'true', 'y', 'ye', 'yes', 'on', '1'].includes(text)) return true
  return ['f', 'false', 'n', 'no', 'of', 'off', '0'].includes(text) ? false : undefined
}

function comparison(expr: A_Expr, target: Item): Truth {
  const { kind, lexpr, rexpr } = expr
  const operator = namesOf(expr.name).at(-1) ?? ''
  if (kind === 'AEXPR_IN' || kind === 'AEXPR_BETWEEN' || kind === 'AEXPR_BETWEEN_SYM') {
    const items = as(rexpr, 'List')?.items ?? []
    if (!lexpr) return undefined
    const hits = items.map(item => same(lexpr, item))
    if (kind === 'AEXPR_IN') return operator === '=' && hits.includes(true) ? true : undefined
    return hits.length === 2 && hits.every(hit => hit === true) ? true : undefined
  }
  if (kind === 'AEXPR_OP_ANY') {
    const items = as(rexpr, 'A_ArrayExpr')?.elements ?? []
    return operator === '=' && lexpr && items.some(item => same(lexpr, item) === true) ? true : undefined
  }
  if (!lexpr || !rexpr) return undefined
  if (kind === 'AEXPR_LIKE' || kind === 'AEXPR_ILIKE' || kind === 'AEXPR_SIMILAR') {
    const pattern = as(rexpr, 'A_Const')?.sval?.sval
    return (operator === '~~' || operator === '~~*') && pattern !== undefined && /^%+$/.test(pattern) ? true : undefined
  }
  if (kind === 'AEXPR_NOT_DISTINCT') return structure(lexpr) === structure(rexpr) ? true : constantsEqual(lexpr, rexpr)
  if (kind === 'AEXPR_DISTINCT') {
    if (structure(lexpr) === structure(rexpr)) return false
    const equal = constantsEqual(lexpr, rexpr)
    if (equal !== undefined) return !equal
    // `id IS DISTINCT FROM NULL`
    return as(rexpr, 'A_Const')?.isnull === true && neverNull(lexpr, target) ? true : undefined
  }
  if (kind !== 'AEXPR_OP') return undefined
  const equal = same(lexpr, rexpr)
  if (operator === '~' || operator === '~*') {
    const pattern = as(rexpr, 'A_Const')?.sval
    return pattern && ['', '.*', '^', '$', '^.*$', '^.*'].includes(pattern.sval ?? '') ? true : undefined
  }
  const order = numbersCompared(lexpr, rexpr)
  switch (operator) {
    case '=':
      return equal
    case '<>':
      return equal === undefined ? undefined : !equal
    case '<=':
    case '>=':
      if (equal === true) return true
      return order === undefined
        ? atLeastZero(lexpr, rexpr, operator, target)
        : operator === '<='
          ? order <= 0
          : order >= 0
    case '<':
    case '>':
      if (equal === true) return false
      return order === undefined
        ? atLeastZero(lexpr, rexpr, operator, target)
        : operator === '<'
          ? order < 0
          : order > 0
    default:
      return undefined
  }
}

// length(x) >= 0, random() >= 0 and the like
function atLeastZero(left: Node, right: Node, operator: string, target: Item): Truth {
  const [value, bound, greater] = operator.startsWith('>')
    ? [left, right, operator]
    : [right, left, operator.replace('<', '>')]
  const call = as(value, 'FuncCall')
  const limit = call && numberOf(bound)
  if (limit === undefined || (greater === '>=' ? limit > 0 : limit >= 0)) return undefined
  const name = namesOf(call?.funcname).at(-1)
  const [arg] = call?.args ?? []
  const sizes = ['length', 'char_length', 'character_length', 'octet_length', 'abs', 'bit_length', 'cardinality']
  return name !== undefined && sizes.includes(name) && arg && neverNull(arg, target) ? true : undefined
}

/**
 * Whether both sides are equal in every row: true, false, or not known. `x = x` leaves out only rows without an x, and
 * nobody writes it to do that.
 */
function same(left: Node, right: Node): Truth {
  const constants = constantsEqual(left, right)
  if (constants !== undefined) return constants
  return tagOf(left) === tagOf(right) && structure(left) === structure(right) && isPlain(left) ? true : undefined
}

// No constant is looked at for its value where the other side has none: texts of one shape are then read alike.
function constantsEqual(left: Node, right: Node): Truth {
  if (!isConstant(left) || !isConstant(right)) return undefined
  const a = valueOf(left)
  const b = valueOf(right)
  if (a === undefined || b === undefined) return undefined
  if (a === b) return true
  const [x, y] = [Number(a), Number(b)]
  if (a !== '' && b !== '' && !Number.isNaN(x) && !Number.isNaN(y)) return x === y
  return false
}

function numbersCompared(left: Node, right: Node): number | undefined {
  if (!isConstant(left) || !isConstant(right)) return undefined
  const [a, b] = [numberOf(left), numberOf(right)]
  return a === undefined || b === undefined ? undefined : a - b
}

function numberOf(node: Node): number | undefined {
  const value = valueOf(node)
  const number = value === undefined || value === '' ? NaN : Number(value)
  return Number.isNaN(number) ? undefined : number
}

/** Made of constants only. */
function isConstant(node: Node): boolean {
  if (as(node, 'A_Const')) return true
  const cast = as(node, 'TypeCast')
  if (cast?.arg) return isConstant(cast.arg)
  const expr = as(node, 'A_Expr')
  return expr?.rexpr !== undefined && isConstant(expr.rexpr) && (expr.lexpr === undefined || isConstant(expr.lexpr))
}

/** A constant's value as text, sums of constants worked out. */
function valueOf(node: Node): string | undefined {
  const constant = as(node, 'A_Const')
  if (constant) {
    if (constant.ival) return String(constant.ival.ival ?? 0)
    if (constant.fval) return constant.fval.fval ?? '0'
    if (constant.sval) return constant.sval.sval ?? ''
    if (constant.boolval) return constant.boolval.boolval === true ? 'true' : 'false'
    return undefined
  }
  const cast = as(node, 'TypeCast')
  if (cast?.arg) return valueOf(cast.arg)
  const expr = as(node, 'A_Expr')
  if (expr?.kind !== 'AEXPR_OP' || !expr.rexpr) return undefined
  const right = numberOf(expr.rexpr)
  const left = expr.lexpr ? numberOf(expr.lexpr) : 0
  if (left === undefined || right === undefined) return undefined
  switch (namesOf(expr.name).at(-1)) {
    case '+':
      return String(left + right)
    case '-':
      return String(left - right)
    case '*':
      return String(left * right)
    default:
      return undefined
  }
}

/** x IS NULL OR x IS NOT NULL; p OR NOT p where p is never null. */
function hasOpposites(args: readonly Node[], target: Item): boolean {
  const nulls = new Map<string, string>()
  const seen = new Set(args.map(structure))
  for (const arg of args) {
    const test = as(arg, 'NullTest')
    if (test?.arg) {
      const key = structure(test.arg)
      const before = nulls.get(key)
      if (before !== undefined && before !== test.nulltesttype) return true
      nulls.set(key, test.nulltesttype ?? '')
    }
    const negated = as(arg, 'BoolExpr')
    const [inner] = negated?.args ?? []
    if (negated?.boolop === 'NOT_EXPR' && inner && seen.has(structure(inner)) && operandsNeverNull(inner, target))
      return true
    const expr = as(arg, 'A_Expr')
    if (expr?.kind === 'AEXPR_OP' && expr.lexpr && expr.rexpr) {
      const opposite = opposites[namesOf(expr.name).at(-1) ?? '']
      for (const other of args) {
        const against = as(other, 'A_Expr')
        if (opposite === undefined || against?.kind !== 'AEXPR_OP' || !against.lexpr || !against.rexpr) continue
        if (
          opposite.includes(namesOf(against.name).at(-1) ?? '') &&
          structure(against.lexpr) === structure(expr.lexpr) &&
          structure(against.rexpr) === structure(expr.rexpr) &&
          operandsNeverNull(arg, target)
        )
          return true
      }
    }
  }
  return false
}

// a OR its opposite leaves no row out
const opposites: Readonly<Record<string, readonly string[]>> = {
  '=': ['<>'],
  '<>': ['='],
  '<': ['>='],
  '>=': ['<', '<='],
  '<=': ['>', '>='],
  '>': ['<='],
}

function operandsNeverNull(node: Node, target: Item): boolean {
  const expr = as(node, 'A_Expr')
  if (expr?.lexpr && expr.rexpr) return neverNull(expr.lexpr, target) && neverNull(expr.rexpr, target)
  return neverNull(node, target)
}

function neverNull(node: Node, target: Item): boolean {
  const name = columnOf(node, target)
  if (name !== undefined) return notNull(name, target)
  const constant = as(node, 'A_Const')
  if (constant) return constant.isnull !== true
  const cast = as(node, 'TypeCast')
  if (cast?.arg) return neverNull(cast.arg, target)
  const expr = as(node, 'A_Expr')
  if (expr?.kind === 'AEXPR_OP' && expr.rexpr)
    return (!expr.lexpr || neverNull(expr.lexpr, target)) && neverNull(expr.rexpr, target)
  const call = as(node, 'FuncCall')
  const strict = ['lower', 'upper', 'length', 'abs', 'md5', 'concat', 'char_length']
  if (call && strict.includes(namesOf(call.funcname).at(-1) ?? ''))
    return (call.args ?? []).every(arg => neverNull(arg, target))
  return false
}

function columnOf(node: Node, target: Item): string | undefined {
  const ref = as(node, 'ColumnRef')
  if (!ref) return undefined
  const names = namesOf(ref.fields)
  const name = names.at(-1)
  if (names.length > 1 && names.at(-2) !== target.name) return undefined
  return target.columns.some(column => column.name === name) ? name : undefined
}

const systemNames = ['ctid', 'tableoid', 'xmin', 'xmax', 'cmin', 'cmax']

function notNull(name: string, target: Item): boolean {
  if (systemNames.includes(name)) return true
  return target.columns.some(column => column.name === name && column.column?.notNull === true)
}

/** Nothing in it can differ between two evaluations. */
function isPlain(node: Node): boolean {
  if (as(node, 'ColumnRef') || as(node, 'A_Const')) return true
  const cast = as(node, 'TypeCast')
  if (cast?.arg) return isPlain(cast.arg)
  const expr = as(node, 'A_Expr')
  if (expr) return (!expr.lexpr || isPlain(expr.lexpr)) && (!expr.rexpr || isPlain(expr.rexpr))
  const call = as(node, 'FuncCall')
  return call !== undefined && (call.args ?? []).every(isPlain)
}

/** The tree as text without places, to compare. */
function structure(node: Node): string {
  return JSON.stringify(node, (key, value: unknown) => (key === 'location' ? undefined : value))
}
