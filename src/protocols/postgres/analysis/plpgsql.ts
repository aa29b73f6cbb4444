import { constantText, as } from './nodes.ts'
import { anything, nothing, union, variable } from './flow.ts'
import type { Flow } from './flow.ts'
import { readExpression } from './expression-reader.ts'
import type { Reader } from './reader.ts'
import { flowOfResult, Scope } from './scope.ts'
import { readStatement } from './statement-reader.ts'

/** Reads the body of a PL/pgSQL function or DO block: `text` is the whole statement that makes or runs it. */
export function readPlpgsql(reader: Reader, text: string, what: string): void {
  const tree = reader.context.parser.plpgsql(text)
  if (tree === undefined) {
    reader.sink.unknown(`${what} cannot be read`)
    reader.sink.read(anything)
    return
  }
  walk(reader, tree, what)
}

// Every kind of statement that may stand in a body (libpg_query's pg_query_json_plpgsql.c); another is not known.
const statements = new Set(
  `block assign if loop while fori fors forc foreach_a exit return return_next return_query raise assert execsql
   dynexecute dynfors getdiag open fetch close perform call commit rollback case set`.split(/\s+/),
)

function walk(reader: Reader, value: unknown, what: string): void {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) {
    for (const item of value) walk(reader, item, what)
    return
  }
  for (const [key, part] of Object.entries(value)) {
    if (key === 'cond') readCondition(reader, part, what)
    else if (key === 'PLpgSQL_expr') readPiece(reader, part as Piece, what)
    else if (key === 'PLpgSQL_stmt_dynexecute' || key === 'PLpgSQL_stmt_dynfors') {
      const { query, ...rest } = part as { query?: unknown }
      readDynamic(reader, query, what)
      walk(reader, rest, what)
    } else if (key === 'dynquery') readDynamic(reader, part, what)
    else if ((key === 'target' || key === 'var') && reader.row) readTarget(reader, part)
    else {
      if (key.startsWith('PLpgSQL_stmt_') && !statements.has(key.slice('PLpgSQL_stmt_'.length)))
        reader.sink.unknown(`${what} has a ${key}, which is not known`)
      if (key === 'PLpgSQL_stmt_return' && reader.row) readRowReturn(reader, part as RowReturn)
      walk(reader, part, what)
    }
  }
}

interface RowReturn {
  readonly retvarno?: number
  readonly expr?: { readonly PLpgSQL_expr?: Piece }
}

/** A trigger that returns another row than NEW or OLD puts that in its place. */
function readRowReturn(reader: Reader, returned: RowReturn): void {
  const query = returned.expr?.PLpgSQL_expr?.query?.toLowerCase()
  const words = query?.replaceAll(/'[^']*'/g, '').match(/[a-z_0-9"$.]+/g)
  const isOwn =
    words === undefined || words === null ? (returned.retvarno ?? 0) <= 1 : words.every(word => ownRow.has(word))
  if (!isOwn) putInRow(reader, undefined, variable)
}

// what a trigger says to return its own row: NEW, COALESCE(NEW, OLD), CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END
const ownRow = new Set([
  'new',
  'old',
  'null',
  'coalesce',
  'case',
  'when',
  'then',
  'else',
  'end',
  'tg_op',
  'in',
  'is',
  'not',
])

interface Target {
  readonly PLpgSQL_rec?: { readonly refname?: string }
  readonly PLpgSQL_row?: { readonly fields?: readonly { readonly name?: string }[] }
}

/** INTO, FOR: what is read may land in NEW. */
function readTarget(reader: Reader, target: unknown): void {
  const { PLpgSQL_rec: record, PLpgSQL_row: row } = (target ?? {}) as Target
  if (record?.refname === 'new') putInRow(reader, undefined, variable)
  for (const { name = '' } of row?.fields ?? []) assignTo(reader, name, variable)
}

/** Notes what is put into the row that a trigger is for. */
function assignTo(reader: Reader, target: string, flow: Flow): void {
  const [, column] = /^\s*"?new"?\s*(?:\.\s*"?([^".[\s]+)"?.*)?$/is.exec(target) ?? []
  if (/^\s*"?new"?\s*(?:\.|$)/i.test(target)) putInRow(reader, column, flow)
}

function putInRow(reader: Reader, name: string | undefined, flow: Flow): void {
  const { row, sink } = reader
  for (const column of row?.columns ?? [])
    if (name === undefined || column.name === name || column.name === name.toLowerCase())
      sink.carry(column, column.ref, flow)
}

interface Piece {
  readonly query?: string
  /** RawParseMode, src/include/parser/parser.h: 0 a statement, 2 an expression, from 3 on an assignment. */
  readonly parseMode?: number
}

function readPiece(reader: Reader, piece: Piece, what: string): void {
  const { query = '', parseMode = 0 } = piece
  if (parseMode >= 3) {
    const [target, value] = assignment(query)
    const reads = readText(reader, `SELECT ${target}`, what)
    assignTo(reader, target, union(readText(reader, `SELECT ${value}`, what), reads.variable ? nothing : reads))
  } else readText(reader, parseMode === 0 ? query : `SELECT ${query}`, what)
}

/** IF, WHILE, WHEN: it decides, as a WHERE does. */
function readCondition(reader: Reader, part: unknown, what: string): void {
  const query = (part as { PLpgSQL_expr?: Piece } | null)?.PLpgSQL_expr?.query
  if (query === undefined) walk(reader, part, what)
  else readText(reader, `SELECT 1 WHERE ${query}`, what)
}

function readText(reader: Reader, text: string, what: string): Flow {
  const parsed = reader.context.parse(text)
  if (parsed.kind !== 'parsed') {
    reader.sink.unknown(`${what} cannot be read`)
    reader.sink.read(anything)
    return anything
  }
  let flow = nothing
  for (const { stmt } of parsed.statements) {
    if (!stmt) continue
    const { output } = readStatement(reader, stmt)
    if (output.kind === 'result') flow = union(flow, union(flowOfResult(output.result), output.result.filter))
  }
  return flow
}

/** `target := value` as two expressions. */
function assignment(query: string): readonly [target: string, value: string] {
  let depth = 0
  let quoted = false
  for (let i = 0; i < query.length; i++) {
    const c = query[i]
    if (c === '"') quoted = !quoted
    else if (quoted) continue
    else if (c === '[' || c === '(') depth++
    else if (c === ']' || c === ')') depth--
    else if (depth === 0 && c === '=') return [query.slice(0, i), query.slice(i + 1)]
    else if (depth === 0 && c === ':' && query[i + 1] === '=') return [query.slice(0, i), query.slice(i + 2)]
  }
  return ['NULL', query]
}

/** EXECUTE of a constant is like the statement itself; of anything else it may be any statement. */
function readDynamic(reader: Reader, expression: unknown, what: string): void {
  const query = (expression as { PLpgSQL_expr?: Piece } | undefined)?.PLpgSQL_expr?.query
  const parsed = query === undefined ? undefined : reader.context.parse(`SELECT ${query}`)
  const select = parsed?.kind === 'parsed' ? as(parsed.statements[0]?.stmt, 'SelectStmt') : undefined
  const value = as(select?.targetList?.[0], 'ResTarget')?.val
  const text = select?.fromClause ? undefined : constantText(value)
  if (text !== undefined) {
    readText(reader, text, what)
    return
  }
  if (value) readExpression(reader, value, new Scope(null))
  reader.sink.unknown(`${what} runs SQL that it puts together (EXECUTE)`)
  reader.sink.read(anything)
}
