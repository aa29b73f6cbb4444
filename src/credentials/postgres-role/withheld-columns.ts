import { AgentgateError } from '../../errors.ts'
import type { AdminConnection } from './admin-connection.ts'
import { quoted } from './role-name.ts'

/**
 * Columns that patterns name (`table.column` from the right, as masks do), with what holds the same values: the column in
 * partitions, children and parents; columns generated in such a table; views and materialized views that read one, or a whole row of
 * its table, and views of those, with all that they show.
 */
const withheldColumns = `
with recursive named as (
  select c.oid, a.attname
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and exists (select from unnest($1::text[], $2::text[], $3::text[]) p (schema_name, table_name, column_name)
      where lower(n.nspname) like p.schema_name and lower(c.relname) like p.table_name and lower(a.attname) like p.column_name)
), kin as (
  select oid, attname from named
  union
  select case when i.inhparent = k.oid then i.inhrelid else i.inhparent end, k.attname
  from kin k join pg_inherits i on k.oid in (i.inhparent, i.inhrelid)
), own as (
  select a.attrelid as oid, a.attnum, a.attname from kin k
  join pg_attribute a on a.attrelid = k.oid and a.attname = k.attname and a.attnum > 0 and not a.attisdropped
  union
  select a.attrelid, a.attnum, a.attname from pg_attribute a
  where a.attgenerated <> '' and not a.attisdropped and a.attrelid in (select oid from kin)
), shown as (
  select r.ev_class as oid from own join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = own.oid
  join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid and r.rulename = '_RETURN'
  where r.ev_class <> own.oid and (d.refobjsubid = own.attnum or r.ev_action::text like '%:varattno 0 %')
  union
  select r.ev_class from shown s join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = s.oid
  join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid and r.rulename = '_RETURN'
  where r.ev_class <> s.oid
), withheld as (
  select oid, attname from own
  union
  select a.attrelid, a.attname from shown s join pg_attribute a on a.attrelid = s.oid and a.attnum > 0 and not a.attisdropped
), roles as materialized (
  select oid from pg_roles where pg_has_role($4::name, oid, 'member')
)`

/** Of each relation with such columns: which of them the role, or one that it may become, can read or watch, and which others. */
const relations = `${withheldColumns}
select format('%I.%I', n.nspname, c.relname) as name, shown.columns as shown, others.columns as others,
  exists (select from roles where has_table_privilege(roles.oid, c.oid, 'TRIGGER')
    or has_any_column_privilege(roles.oid, c.oid, 'REFERENCES')) as watched
from (select distinct oid from withheld) w join pg_class c on c.oid = w.oid join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select coalesce(array_agg(a.attname::text order by a.attnum), '{}') as columns from pg_attribute a
  where a.attrelid = c.oid and (a.attrelid, a.attname) in (select oid, attname from withheld)
    and exists (select from roles where has_column_privilege(roles.oid, c.oid, a.attnum, 'SELECT'))
) shown cross join lateral (
  select coalesce(array_agg(a.attname::text order by a.attnum), '{}') as columns from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and (a.attrelid, a.attname) not in (select oid, attname from withheld)
    and has_column_privilege($4::name, c.oid, a.attnum, 'SELECT')
) others
order by 1`

interface Found {
  readonly name: string
  readonly shown: readonly string[]
  readonly others: readonly string[]
  readonly watched: boolean
}

async function find(connection: AdminConnection, role: string, patterns: readonly string[]): Promise<readonly Found[]> {
  const parts = patterns.map(likeParts)
  const rows = await connection.query(relations, [
    parts.map(([schema]) => schema),
    parts.map(([, table]) => table),
    parts.map(([, , column]) => column),
    role,
  ])
  const found = rows.map(row => ({
    name: String(row['name']),
    shown: textsOf(row['shown']),
    others: textsOf(row['others']),
    watched: row['watched'] === true,
  }))
  return found.filter(({ shown, watched }) => shown.length > 0 || watched)
}

/** Takes away from the role what was granted to it of these columns; the others of their tables it keeps. */
export async function withholdColumns(
  connection: AdminConnection,
  role: string,
  patterns: readonly string[],
): Promise<void> {
  for (const { name, others } of await find(connection, role, patterns)) {
    await connection.query(`revoke select, references, trigger on ${name} from ${quoted(role)}`)
    if (others.length > 0)
      await connection.query(`grant select (${others.map(quoted).join(', ')}) on ${name} to ${quoted(role)}`)
  }
}

/** @throws AgentgateError TARGET_REFUSED: the role can read one of these columns all the same */
export async function requireWithheld(
  connection: AdminConnection,
  role: string,
  patterns: readonly string[],
  where: string,
): Promise<void> {
  const [first, ...others] = await find(connection, role, patterns)
  if (first === undefined) return
  const what = first.shown.length > 0 ? `read ${first.name}.${first.shown[0] ?? ''}` : `watch ${first.name}`
  const more = others.length > 0 ? `, and what is masked in ${others.length} more` : ''
  throw new AgentgateError(
    'TARGET_REFUSED',
    `${where}: a mask says enforce: grant, and its role could ${what}${more}`,
    {
      hint: 'what PUBLIC, a role of the scope or an owner has is not taken away: revoke it there, or leave enforce out',
    },
  )
}

/** Schema, table and column as LIKE has them, in lower case. */
function likeParts(pattern: string): readonly [schema: string, table: string, column: string] {
  const parts = [...pattern.matchAll(/"((?:[^"]|"")*)"|([^."]+)/g)].map(([, quotedPart, plain]) =>
    (quotedPart?.replaceAll('""', '"') ?? plain ?? '')
      .toLowerCase()
      .replaceAll(/[\\%_]/g, '\\$&')
      .replaceAll('*', '%'),
  )
  return [parts.at(-3) ?? '%', parts.at(-2) ?? '%', parts.at(-1) ?? '%']
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : []
}
