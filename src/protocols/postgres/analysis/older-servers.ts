import type { DefElem, FuncCall, RawStmt } from 'libpg-query'
import type { Catalogue } from './catalogue.ts'
import { as, namesOf, type Tag } from './nodes.ts'
import type { Parser } from './parser.ts'

/** What PostgreSQL 18's grammar reads in a text where an older server reads something else. */
export interface ReadOtherwise {
  readonly message: string
  readonly hint: string
}

/** Since when these words are grammar. Before, each is the name of a column, or of a function that anybody may have made. */
const grammarSince: Readonly<Partial<Record<Tag, readonly [version: number, words: string]>>> = {
  JsonObjectConstructor: [160000, 'JSON_OBJECT'],
  JsonArrayConstructor: [160000, 'JSON_ARRAY'],
  JsonArrayQueryConstructor: [160000, 'JSON_ARRAY'],
  JsonObjectAgg: [160000, 'JSON_OBJECTAGG'],
  JsonArrayAgg: [160000, 'JSON_ARRAYAGG'],
  JsonIsPredicate: [160000, 'IS JSON'],
  JsonParseExpr: [170000, 'JSON()'],
  JsonScalarExpr: [170000, 'JSON_SCALAR'],
  JsonSerializeExpr: [170000, 'JSON_SERIALIZE'],
  JsonFuncExpr: [170000, 'JSON_QUERY, JSON_VALUE or JSON_EXISTS'],
  JsonTable: [170000, 'JSON_TABLE'],
  MergeSupportFunc: [170000, 'MERGE_ACTION'],
}
const anyOfThem = /json|system_user|merge_action/i
/** `1_000`, `0x1f`: before 16 a number and an alias behind it. */
const newNumber = /\d_\d|0[xob][_\da-f]/i

/**
 * Why a server of this version would read a text in another way than its parse tree says; undefined where it reads the same, or
 * refuses it. All the differences there are among the statements, positions and words that `test/postgres/versions` tries.
 */
export function readOtherwise(
  parser: Parser,
  text: string,
  statements: readonly RawStmt[],
  serverVersion: number,
  catalogue: Catalogue,
): ReadOtherwise | undefined {
  if (serverVersion < 160000 && newNumber.test(text) && hasNewNumber(parser, text))
    return {
      message: 'trailing junk after numeric literal',
      hint: 'this version of the server reads such a number differently',
    }
  if (serverVersion >= 170000 || !anyOfThem.test(text)) return undefined
  const words = newerWords(statements, serverVersion, catalogue)
  if (words === undefined) return undefined
  return {
    message: `${words} is not known to this version of the server, which would read it differently`,
    hint: 'a name is written in double quotes',
  }
}

function newerWords(value: unknown, serverVersion: number, catalogue: Catalogue): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (Array.isArray(value)) {
    for (const item of value) {
      const found = newerWords(item, serverVersion, catalogue)
      if (found !== undefined) return found
    }
    return undefined
  }
  for (const [key, part] of Object.entries(value)) {
    const since = grammarSince[key as Tag]
    if (since !== undefined && serverVersion < since[0]) return since[1]
    const found =
      (key === 'FuncCall' ? newerCall(part as FuncCall, serverVersion, catalogue) : undefined) ??
      (key === 'DefElem' && serverVersion < 160000 ? newerOption(part as DefElem) : undefined) ??
      newerWords(part, serverVersion, catalogue)
    if (found !== undefined) return found
  }
  return undefined
}

function newerCall(
  { funcname, funcformat }: FuncCall,
  serverVersion: number,
  catalogue: Catalogue,
): string | undefined {
  if (serverVersion >= 160000) return undefined
  const name = namesOf(funcname).join('.')
  if (name === 'pg_catalog.system_user' && funcformat === 'COERCE_SQL_SYNTAX') return 'SYSTEM_USER'
  // pg_catalog's own since 16; before that, whichever function of this name suits best
  if (name === 'pg_catalog.json_object' && catalogue.routines('json_object').length > 0) return 'JSON_OBJECT'
  return undefined
}

/** `sfunc = system_user` names a function before it is a reserved word. */
function newerOption({ arg }: DefElem): string | undefined {
  return as(arg, 'String')?.sval === 'system_user' ? 'SYSTEM_USER' : undefined
}

function hasNewNumber(parser: Parser, text: string): boolean {
  const bytes = Buffer.from(text)
  const tokens = parser.scan(text)
  if (!tokens) return true
  return tokens.some(
    token =>
      (token.tokenName === 'ICONST' || token.tokenName === 'FCONST' || token.tokenName === 'PARAM') &&
      /_|^0[xob]/i.test(bytes.toString('latin1', token.start, token.end)),
  )
}
