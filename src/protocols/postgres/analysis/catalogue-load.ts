import { AgentgateError } from '../../../errors.ts'
import { Catalogue, makeRelation, refOf } from './catalogue.ts'
import type {
  ColumnParts,
  ForeignKeyAction,
  NamedType,
  Relation,
  RelationKind,
  Routine,
  RowEvent,
  Rule,
  Trigger,
} from './catalogue.ts'

export type CatalogueQuery = (sql: string) => Promise<readonly (readonly (string | null)[])[]>

// Every name is qualified, operators too: the session's search_path may be anything. `x::text` of an oid is its number.
const eq = 'OPERATOR(pg_catalog.=)'
const isUsers = (oid: string) => `${oid} OPERATOR(pg_catalog.>=) 16384` // FirstNormalObjectId: not made by initdb

/**
 * One row whose value changes with any change of what `loadCatalogue` reads. Counts and transaction ids, so it costs a
 * scan of some small catalogues and no definition is printed.
 */
export const versionProbe = `SELECT pg_catalog.concat_ws(' ', ${[
  'pg_class',
  'pg_proc',
  'pg_trigger',
  'pg_rewrite',
  'pg_constraint',
  'pg_inherits',
  'pg_namespace',
  'pg_attrdef',
  'pg_type',
  'pg_operator',
  'pg_cast',
  'pg_policy',
  'pg_event_trigger',
  'pg_index',
]
  .map(table => probeOf(table))
  .join(', ')}, ${probeOf('pg_attribute', `WHERE ${isUsers('attrelid')}`)})`

function probeOf(table: string, where = ''): string {
  return `(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8)) FROM pg_catalog.${table} ${where})`
}

/**
 * Reads the snapshot for PostgreSQL 13 to 18, as any role. Changes nothing in the session, so it may run in the client's
 * own, between its statements; what only that session sees (its temporary tables, an open transaction's DDL) is then in it.
 * Gives `before` itself where nothing has changed since.
 */
export async function loadCatalogue(query: CatalogueQuery, before?: Catalogue): Promise<Catalogue> {
  const [probe] = await query(versionProbe)
  const version = probe?.[0] ?? ''
  if (before && version !== '' && before.parts.version === version) return before
  const [meta] = await query(
    `SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_database(), pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text`,
  )
  if (!meta) throw new AgentgateError('INTERNAL', 'the server gave no answer about itself')
  const serverVersion = Number(meta[0])
  const path = strings(meta[2])
  const [schemaRows, classRows, attributeRows, defaultRows, typeRows, routineRows, languageRows] = [
    await query(`SELECT oid, nspname FROM pg_catalog.pg_namespace`),
    await query(
      `SELECT oid, relname, relnamespace, relkind, CASE WHEN ${isUsers('oid')} AND (relkind ${eq} 'v' OR relkind ${eq} 'm') THEN pg_catalog.pg_get_viewdef(oid) END FROM pg_catalog.pg_class WHERE relkind ${eq} ANY ('{r,p,v,m,f,S,c,i,I}'::pg_catalog."char"[])`,
    ),
    await query(
      `SELECT attrelid, attname, attnum, atttypid, attnotnull, attgenerated FROM pg_catalog.pg_attribute WHERE attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped ORDER BY attrelid USING OPERATOR(pg_catalog.<), attnum USING OPERATOR(pg_catalog.<)`,
    ),
    await query(`SELECT adrelid, adnum, pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef`),
    await query(`SELECT oid, typname, typnamespace, typrelid, typbasetype,
            typcategory = 'S' AND typtype = 'b' AND typlen = -1 FROM pg_catalog.pg_type`),
    await query(
      `SELECT oid, proname, pronamespace, prokind, prolang, provolatile, prosecdef, proowner::pg_catalog.regrole::pg_catalog.text, pronargs, pronargdefaults, provariadic, proretset, prorettype, pg_catalog.array_to_json(proargnames)::pg_catalog.text, pg_catalog.array_to_json(proargmodes)::pg_catalog.text, CASE WHEN prokind ${eq} 'a' THEN NULL ELSE pg_catalog.pg_get_functiondef(oid) END FROM pg_catalog.pg_proc WHERE ${isUsers('oid')}`,
    ),
    await query(`SELECT oid, lanname FROM pg_catalog.pg_language`),
  ]
  const triggerRows = await query(
    `SELECT tgrelid, tgname, tgfoid, tgtype, tgenabled, pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger WHERE NOT tgisinternal`,
  )
  const ruleRows = await query(
    `SELECT ev_class, rulename, ev_type, is_instead, pg_catalog.pg_get_ruledef(oid) FROM pg_catalog.pg_rewrite WHERE ${isUsers('oid')} AND ev_type OPERATOR(pg_catalog.<>) '1'`,
  )
  const constraintRows = await query(
    `SELECT contype, conname, conrelid, contypid, confrelid, pg_catalog.array_to_json(conkey)::pg_catalog.text, pg_catalog.array_to_json(confkey)::pg_catalog.text, confdeltype, confupdtype, CASE WHEN contype ${eq} 'c' THEN pg_catalog.pg_get_expr(conbin, conrelid) END FROM pg_catalog.pg_constraint WHERE ${isUsers('oid')} AND (contype ${eq} 'f' OR contype ${eq} 'c')`,
  )
  const inheritRows = await query(`SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits`)
  const operatorRows = await query(
    `SELECT oprname, oprnamespace, oprcode::pg_catalog.oid FROM pg_catalog.pg_operator WHERE ${isUsers('oid')}`,
  )
  const castRows = await query(
    `SELECT castfunc FROM pg_catalog.pg_cast WHERE ${isUsers('oid')} AND castfunc OPERATOR(pg_catalog.<>) 0`,
  )
  const aggregateRows = await query(
    `SELECT aggfnoid::pg_catalog.oid, pg_catalog.array_to_json(ARRAY[aggtransfn::pg_catalog.oid, aggfinalfn::pg_catalog.oid, aggcombinefn::pg_catalog.oid, aggserialfn::pg_catalog.oid, aggdeserialfn::pg_catalog.oid, aggmtransfn::pg_catalog.oid, aggminvtransfn::pg_catalog.oid, aggmfinalfn::pg_catalog.oid])::pg_catalog.text FROM pg_catalog.pg_aggregate WHERE ${isUsers('aggfnoid')}`,
  )
  const extensionRows = await query(
    `SELECT d.objid, e.extname FROM pg_catalog.pg_depend d, pg_catalog.pg_extension e WHERE d.deptype ${eq} 'e' AND d.classid ${eq} 1255 AND d.refclassid ${eq} 3079 AND d.refobjid ${eq} e.oid`,
  )
  const policyRows = await query(
    `SELECT polrelid, pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid) FROM pg_catalog.pg_policy`,
  )
  const eventRows = await query(
    `SELECT evtname, evtfoid FROM pg_catalog.pg_event_trigger WHERE evtenabled OPERATOR(pg_catalog.<>) 'D'`,
  )
  const indexRows = await query(
    `SELECT indrelid, pg_catalog.pg_get_expr(indexprs, indrelid), pg_catalog.pg_get_expr(indpred, indrelid) FROM pg_catalog.pg_index WHERE ${isUsers('indrelid')} AND (indexprs IS NOT NULL OR indpred IS NOT NULL)`,
  )

  const schemas = new Map(schemaRows.map(([oid, name]) => [number(oid), text(name)]))
  const schemaOf = (oid: string | null | undefined) => schemas.get(number(oid)) ?? ''
  const languages = new Map(languageRows.map(([oid, name]) => [number(oid), text(name)]))
  const extensions = new Map(extensionRows.map(([oid, name]) => [number(oid), text(name)]))
  const aggregates = new Map(aggregateRows.map(([oid, parts]) => [number(oid), numbers(parts)]))

  const onRead = new Map<number, string[]>()
  const onWrite = new Map<number, string[]>()
  const domainChecks = new Map<number, string[]>()
  for (const [relation, using, check] of policyRows) {
    if (using != null) push(onRead, number(relation), using)
    if (check != null) push(onWrite, number(relation), check)
  }
  for (const [relation, ...expressions] of indexRows)
    for (const expression of expressions) if (expression != null) push(onWrite, number(relation), expression)
  for (const row of constraintRows) {
    const expression = row[9]
    if (row[0] !== 'c' || expression == null) continue
    if (number(row[2]) !== 0) push(onWrite, number(row[2]), expression)
    else push(domainChecks, number(row[3]), expression)
  }

  const defaults = new Map(defaultRows.map(([relation, column, sql]) => [`${relation} ${column}`, sql]))
  const columns = new Map<number, ColumnParts[]>()
  for (const [relation, name, position, type, notNull, generated] of attributeRows) {
    const expression = defaults.get(`${relation} ${position}`) ?? null
    push(columns, number(relation), {
      name: text(name),
      number: number(position),
      typeOid: number(type),
      notNull: notNull === 't',
      generated: generated === '' ? null : expression,
      default: generated === '' ? expression : null,
    })
  }
  const relations: Relation[] = []
  for (const [oidText, name, schema, kind, definition] of classRows) {
    const oid = number(oidText)
    const known = relationKinds[text(kind)]
    if (!known) continue
    relations.push(
      makeRelation(
        {
          oid,
          schema: schemaOf(schema),
          name: text(name),
          kind: known,
          partitioned: kind === 'p',
          definition: definition ?? null,
          onRead: onRead.get(oid) ?? [],
          onWrite: onWrite.get(oid) ?? [],
        },
        columns.get(oid) ?? [],
      ),
    )
  }

  const types: NamedType[] = typeRows.map(([oid, name, schema, relation, base, isText]) => ({
    oid: number(oid),
    schema: schemaOf(schema),
    name: text(name),
    relation: number(relation) || null,
    checks: domainChecks.get(number(oid)) ?? [],
    ...(number(base) === 0 ? {} : { base: number(base) }),
    ...(isText === 't' ? { isText: true } : {}),
  }))
  const relationOfType = new Map(types.map(type => [type.oid, type.relation]))

  const routines = routineRows.map((row): Routine => {
    const oid = number(row[0])
    const language = languages.get(number(row[4])) ?? '?'
    const most = number(row[8])
    const names = strings(row[13])
    const modes = strings(row[14])
    return {
      oid,
      schema: schemaOf(row[2]),
      name: text(row[1]),
      ref: refOf(schemaOf(row[2]), text(row[1])),
      kind: routineKinds[text(row[3])] ?? 'function',
      language,
      volatility: row[5] === 'i' ? 'immutable' : row[5] === 's' ? 'stable' : 'volatile',
      securityDefiner: row[6] === 't',
      owner: text(row[7]),
      least: most - number(row[9]),
      most,
      variadic: number(row[10]) !== 0,
      returnsSet: row[11] === 't',
      outNames: names.filter((_, i) => modes[i] === 'o' || modes[i] === 'b' || modes[i] === 't'),
      returnsRelation: relationOfType.get(number(row[12])) ?? null,
      definition: language === 'sql' || language === 'plpgsql' ? (row[15] ?? null) : null,
      extension: extensions.get(oid) ?? null,
      parts: (aggregates.get(oid) ?? []).filter(part => part !== 0),
    }
  })

  return new Catalogue({
    version,
    serverVersion,
    database: text(meta[1]),
    path,
    schemas: [...schemas.values()],
    relations,
    routines,
    triggers: triggerRows.map(([relation, name, routine, type, enabled, definition]): Trigger => ({
      name: text(name),
      relation: number(relation),
      routine: number(routine),
      ...triggerType(number(type)),
      enabled: enabled !== 'D',
      definition: text(definition),
    })),
    rules: ruleRows.map(([relation, name, event, instead, definition]): Rule => ({
      name: text(name),
      relation: number(relation),
      event: event === '2' ? 'update' : event === '3' ? 'insert' : 'delete',
      instead: instead === 't',
      definition: text(definition),
    })),
    foreignKeys: constraintRows
      .filter(row => row[0] === 'f')
      .map(row => ({
        name: text(row[1]),
        from: number(row[2]),
        fromColumns: numbers(row[5]),
        to: number(row[4]),
        toColumns: numbers(row[6]),
        onDelete: keyActions[text(row[7])] ?? 'cascade',
        onUpdate: keyActions[text(row[8])] ?? 'cascade',
      })),
    inherits: inheritRows.map(([child, parent]) => [number(child), number(parent)] as const),
    types,
    operators: operatorRows.map(([name, schema, routine]) => ({
      schema: schemaOf(schema),
      name: text(name),
      routine: number(routine),
    })),
    castRoutines: castRows.map(([routine]) => number(routine)),
    eventTriggers: eventRows.map(([name, routine]) => ({ name: text(name), routine: number(routine) })),
  })
}

const relationKinds: Readonly<Record<string, RelationKind>> = {
  r: 'table',
  p: 'table',
  v: 'view',
  m: 'matview',
  f: 'foreign',
  S: 'sequence',
  c: 'composite',
  i: 'index',
  I: 'index',
}
const routineKinds: Readonly<Record<string, Routine['kind']>> = {
  f: 'function',
  p: 'procedure',
  a: 'aggregate',
  w: 'window',
}
const keyActions: Readonly<Record<string, ForeignKeyAction>> = {
  a: 'none',
  r: 'none',
  c: 'cascade',
  n: 'set-null',
  d: 'set-default',
}

/** src/include/catalog/pg_trigger.h: TRIGGER_TYPE_*. */
export function triggerType(bits: number): { timing: Trigger['timing']; events: RowEvent[] } {
  const events: RowEvent[] = []
  if (bits & 4) events.push('insert')
  if (bits & 8) events.push('delete')
  if (bits & 16) events.push('update')
  if (bits & 32) events.push('truncate')
  return { timing: bits & 64 ? 'instead' : bits & 2 ? 'before' : 'after', events }
}

const number = (value: string | null | undefined) => Number(value ?? 0)
const text = (value: string | null | undefined) => value ?? ''
// array_to_json of a name[] or "char"[] is an array of strings, of an oid[] or int2[] one of numbers or of their texts
const array = (json: string | null | undefined) => (json == null ? [] : (JSON.parse(json) as unknown[]))
const strings = (json: string | null | undefined) => array(json).map(String)
const numbers = (json: string | null | undefined) => array(json).map(Number)

function push<Key, Item>(map: Map<Key, Item[]>, key: Key, item: Item): void {
  const found = map.get(key)
  if (found) found.push(item)
  else map.set(key, [item])
}
