/** Object identifiers of built-in types: fixed in src/include/catalog/pg_type.dat since before PostgreSQL 13. */
const classes = new Map<number, TypeClass>([
  [16, 'bool'],
  [17, 'bytea'],
  [18, 'char'],
  [19, 'text'], // name
  [20, 'int8'],
  [21, 'int2'],
  [23, 'int4'],
  [25, 'text'],
  [26, 'oid'],
  [114, 'json'],
  [142, 'text'], // xml
  [700, 'float4'],
  [701, 'float8'],
  [705, 'text'], // unknown
  [1003, 'text-array'], // name[]
  [1009, 'text-array'],
  [1014, 'text-array'], // bpchar[]
  [1015, 'text-array'], // varchar[]
  [1042, 'text'], // bpchar
  [1043, 'text'], // varchar
  [1082, 'date'],
  [1114, 'timestamp'],
  [1184, 'timestamptz'],
  [1700, 'numeric'],
  [1790, 'text'], // refcursor
  [2275, 'text'], // cstring
  [2950, 'uuid'],
  [3802, 'jsonb'],
])

/** What a marker for a type has to look like. `opaque`: only NULL is known to be valid. */
export type TypeClass =
  | 'text'
  | 'char'
  | 'text-array'
  | 'json'
  | 'jsonb'
  | 'bytea'
  | 'uuid'
  | 'bool'
  | 'int2'
  | 'int4'
  | 'int8'
  | 'oid'
  | 'float4'
  | 'float8'
  | 'numeric'
  | 'date'
  | 'timestamp'
  | 'timestamptz'
  | 'opaque'

/** First identifier that a server gives to types made by users and extensions (FirstNormalObjectId). */
export const firstUserOid = 16_384

/** @param textOids types of this database that are text to clients, such as citext. */
export function typeClassOf(oid: number, textOids: ReadonlySet<number> | undefined): TypeClass {
  return classes.get(oid) ?? (textOids?.has(oid) === true ? 'text' : 'opaque')
}

/** Values of these are too short, or of a form, to be anything that a detector knows. Card numbers fit into an int8. */
const neverFound: ReadonlySet<TypeClass> = new Set([
  'char',
  'bool',
  'int2',
  'int4',
  'oid',
  'float4',
  'float8',
  'date',
  'timestamp',
  'timestamptz',
  'uuid',
])

/** Whether detectors should look at values of this type; types made by users may hold text. */
export function mayHoldText(oid: number): boolean {
  return !neverFound.has(typeClassOf(oid, undefined))
}
