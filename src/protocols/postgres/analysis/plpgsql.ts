import { constantText, as } from './nodes.ts'
import { anything } from './flow.ts'
import { readExpression } from './expression-reader.ts'
import type { Reader } from './reader.ts'
import { Scope } from './scope.ts'
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
    if (key === 'PLpgSQL_expr') readPiece(reader, part as Piece, what)
    else if (key === 'PLpgSQL_stmt_dynexecute' || key === 'PLpgSQL_stmt_dynfors') {
      const { query, ...rest } = part as { query?: unknown }
      readDynamic(reader, query, what)
      walk(reader, rest, what)
    } else if (key === 'dynquery') readDynamic(reader, part, what)
    else {
      if (key.startsWith('PLpgSQL_stmt_') && !statements.has(key.slice('PLpgSQL_stmt_'.length)))
        reader.sink.unknown(`${what} has a ${key}, which is not known`)
      walk(reader, part, what)
    }
  }
}

interface Piece {
  readonly query?: string
  /** RawParseMode, src/include/parser/parser.h: 0 a statement, 2 an expression, from 3 on an assignment. */
  readonly parseMode?: number
}

function readPiece(reader: Reader, piece: Piece, what: string): void {
  const { query = '', parseMode = 0 } = piece
  const text = parseMode === 0 ? query : parseMode === 2 ? `SELECT ${query}` : `SELECT ${assignment(query)}`
  readText(reader, text, what)
}

function readText(reader: Reader, text: string, what: string): void {
  const parsed = reader.context.parser.parse(text)
  if (parsed.kind !== 'parsed') {
    reader.sink.unknown(`${what} cannot be read`)
    reader.sink.read(anything)
    return
  }
  for (const { stmt } of parsed.statements) if (stmt) readStatement(reader, stmt)
}

/** `target := value` as two expressions. */
function assignment(query: string): string {
  let depth = 0
  let quoted = false
  for (let i = 0; i < query.length; i++) {
    const c = query[i]
    if (c === '"') quoted = !quoted
    else if (quoted) continue
    else if (c === '[' || c === '(') depth++
    else if (c === ']' || c === ')') depth--
    else if (depth === 0 && c === '=') return `${query.slice(0, i)}, ${query.slice(i + 1)}`
    else if (depth === 0 && c === ':' && query[i + 1] === '=') return `${query.slice(0, i)}, ${query.slice(i + 2)}`
  }
  return query
}

/** EXECUTE of a constant is like the statement itself; of anything else it may be any statement. */
function readDynamic(reader: Reader, expression: unknown, what: string): void {
  const query = (expression as { PLpgSQL_expr?: Piece } | undefined)?.PLpgSQL_expr?.query
  const parsed = query === undefined ? undefined : reader.context.parser.parse(`SELECT ${query}`)
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
