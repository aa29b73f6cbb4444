import { beforeAll, describe, expect, test } from 'vitest'
import type { AnalysedText, Effect, Resolution } from './analysed.ts'
import { createAnalyser, type Analyser } from './analyser.ts'
import { catalogueFromDdl } from './catalogue-ddl.ts'
import type { Catalogue } from './catalogue.ts'
import { statementWords } from './when.ts'

const ddl = `
create table customers (id int primary key, name text not null, email text, ssn text);
create table orders (id int primary key, customer_id int references customers on delete cascade, total int, note text);
create table payments (id int primary key, order_id int, amount int);
create view v_orders as select o.id, o.total, c.email from orders o join customers c on c.id = o.customer_id;
create schema other;
create table other.payments (id int);
create table "Odd.Name" ("Co""l" int);
create function wipe() returns void language plpgsql as $$ begin delete from payments; end $$;
create function secret() returns void language c as 'x', 'y';
`
let analyser: Analyser
let catalogue: Catalogue
const resolution: Resolution = {
  serverVersion: 180000,
  database: 'postgres',
  sessionUser: 'app',
  role: 'app',
  searchPath: ['pg_catalog', 'public'],
  standardConformingStrings: true,
  clientEncoding: 'UTF8',
}

beforeAll(async () => {
  analyser = await createAnalyser()
  catalogue = catalogueFromDdl(analyser.parser, ddl)
})

function read(text: string, changes: Partial<Resolution> = {}): AnalysedText {
  return analyser.analyse(text, { ...resolution, ...changes }, catalogue)
}

const line = ({ verb, relation, where, through }: Effect) =>
  [verb, relation ?? '-', ...(where === 'none' ? [] : [where]), ...through.map(step => `(${step})`)].join(' ')
const effects = (text: string, changes?: Partial<Resolution>) =>
  read(text, changes).statements.flatMap(statement => statement.effects.map(line))

describe('WHERE', () => {
  test.each([
    ['', 'missing'],
    ['where true', 'constant'],
    ['where 1 = 1', 'constant'],
    ["where 'a' = 'a'", 'constant'],
    ['where id = id', 'constant'],
    ['where payments.id = id', 'present'],
    ['where id is not null', 'constant'],
    ['where amount is not null', 'present'],
    ['where amount is null or amount is not null', 'constant'],
    ['where not false', 'constant'],
    ['where id = 5 or true', 'constant'],
    ['where id = 5 or 1 = 1', 'constant'],
    ['where id = 5 and true', 'present'],
    ['where true and 2 > 1', 'constant'],
    ['where (select true)', 'constant'],
    ['where exists (select 1)', 'constant'],
    ['where id in (select id from payments)', 'constant'],
    ['where id in (select id from payments where id < 4)', 'present'],
    ['where now() > $$2000-01-01$$', 'constant'],
    ['where $1', 'constant'],
    ['where $1 = $2', 'constant'],
    ['where random() < 2', 'constant'],
    ['where id = any (array[id])', 'constant'],
    ['where id between id and id', 'constant'],
    ['where id in (1, id)', 'constant'],
    ['where id <> 4 or id = 4', 'constant'],
    ['where coalesce(true, id = 1)', 'constant'],
    ['where case when id = 1 then true else true end', 'constant'],
    ['where id >= 5 or id < 5', 'constant'],
    ['where length(id::text) >= 0', 'constant'],
    ["where id::text like '%'", 'constant'],
    ["where id::text ~ ''", 'constant'],
    ['where id = 5', 'present'],
    ['where id = $1', 'present'],
    ['where false', 'present'],
    ['where id > 5 and amount < 3', 'present'],
    ["where ctid = '(0,1)'", 'present'],
    ['where current of c', 'present'],
  ])('delete from payments %s: %s', (where, expected) => {
    expect(read(`delete from payments ${where}`).statements[0]!.effects[0]).toMatchObject({
      verb: 'delete',
      relation: 'public.payments',
      where: expected,
    })
  })
  test('a join that asks nothing of the target takes every row', () => {
    expect(effects('update payments set amount = 1 from orders o where o.id = 3')).toContain(
      'update public.payments constant',
    )
    expect(effects('update payments p set amount = 1 from orders o where o.id = p.order_id')).toContain(
      'update public.payments present',
    )
  })
})

describe('names', () => {
  test.each<[string, Partial<Resolution>, string]>([
    ['select * from payments', {}, 'select public.payments'],
    ['select * from PAYMENTS', {}, 'select public.payments'],
    ['select * from "payments"', {}, 'select public.payments'],
    ['select * from U&"p\\0061yments"', {}, 'select public.payments'],
    [`select * from U&"p!0061yments" uescape '!'`, {}, 'select public.payments'],
    ['select * from/**/payments--x', {}, 'select public.payments'],
    ['select * from postgres.public.payments', {}, 'select public.payments'],
    ['select * from payments', { searchPath: ['pg_catalog', 'other', 'public'] }, 'select other.payments'],
    ['set search_path = other; select * from payments', {}, 'select other.payments'],
    ['set search_path to public; select * from payments', { searchPath: ['other'] }, 'select public.payments'],
    ['select * from "Odd.Name"', {}, 'select public."Odd.Name"'],
    ['create temp table payments (id int); delete from payments', {}, 'delete pg_temp.payments missing'],
    [
      'drop table payments; delete from payments',
      { searchPath: ['pg_catalog', 'other', 'public'] },
      'delete public.payments missing',
    ],
    ['alter table orders rename to old; delete from old', {}, 'delete public.old missing'],
  ])('%s', (text, changes, expected) => {
    expect(read(text, changes).refusal).toBeNull()
    expect(effects(text, changes)).toContain(expected)
  })

  test('a CTE hides a table, a table of another name does not', () => {
    expect(effects('with payments as (select 1) select * from payments')).toEqual([])
    expect(effects('with x as (select 1) select * from x, payments')).toEqual(['select public.payments'])
    expect(effects('with payments as (select 1) delete from payments')).toEqual(['delete public.payments missing'])
  })

  test('names end after 63 bytes', () => {
    const long = 'x'.repeat(80)
    const made = catalogueFromDdl(analyser.parser, `create table ${'x'.repeat(63)} (id int)`)
    expect(analyser.analyse(`delete from ${long}`, resolution, made).statements[0]!.effects[0]?.relation).toBe(
      `public.${'x'.repeat(63)}`,
    )
  })
})

describe('what is refused whatever the policy says', () => {
  test.each<[string, string, string, Partial<Resolution>]>([
    ['what PostgreSQL cannot parse', 'selec 1', '42601', {}],
    ['an unfinished string', "select 'x", '42601', {}],
    ['a relation that is not there', 'select * from nowhere', '42P01', {}],
    ['a zero byte', 'select 1\0', '22021', {}],
    ['half a character', 'select \ud800', '22021', {}],
    ['a nesting bomb', `select ${'('.repeat(5000)}1${')'.repeat(5000)}`, '54001', {}],
    ['nested sub-selects', `select ${'(select '.repeat(1500)}1${')'.repeat(1500)}`, '54001', {}],
    ['a chain of operators', `select 1${'+1'.repeat(20_000)}`, '54001', {}],
    ['a chain of unions', `select 1${' union select 1'.repeat(20_000)}`, '54001', {}],
    ['a backslash where it may escape', String.raw`select '\'`, '0A000', { standardConformingStrings: false }],
    ['an encoding with backslashes in its characters', "select 'é'", '0A000', { clientEncoding: 'SJIS' }],
    ['a name in another encoding', 'select "é"', '0A000', { clientEncoding: 'LATIN1' }],
    ['numbers that older servers cut', 'select 1_000', '42601', { serverVersion: 150000 }],
    ['hexadecimal that older servers cut', 'select 0x10', '42601', { serverVersion: 140000 }],
  ])('%s', (_, text, sqlstate, changes) => {
    expect(read(text, changes).refusal).toMatchObject({ sqlstate })
  })

  test('what older servers read as names of columns and functions', () => {
    const older = catalogueFromDdl(analyser.parser, ddl, 150000)
    for (const text of [
      'select system_user from (select ssn as system_user from customers) x',
      "select json_value(ssn, '$') from customers",
      'select json_scalar(ssn) from customers',
      "select json_exists(ssn, '$') from customers",
    ])
      expect(analyser.analyse(text, { ...resolution, serverVersion: 150000 }, older).refusal, text).toMatchObject({
        sqlstate: '42601',
      })
    expect(read('select system_user').refusal).toBeNull()
  })

  test('the parser survives what it refuses', () => {
    for (let i = 0; i < 60; i++) read(`select 1${'+1'.repeat(2900)} -- ${i}`)
    for (let i = 0; i < 60; i++) read(`select ${'array['.repeat(480)}1${']'.repeat(480)} -- ${i}`)
    expect(read('delete from payments -- still').statements[0]!.effects[0]?.verb).toBe('delete')
  })

  test('long lists and long strings are no bombs', () => {
    const rows = Array.from({ length: 3000 }, (_, i) => `(${i}, -${i}, 'x(((((((((((')`).join(',')
    expect(read(`insert into orders(id, total, note) values ${rows}`).refusal).toBeNull()
    const many = Array.from({ length: 3000 }, (_, i) => `id = ${i}`).join(' or ')
    expect(read(`select id from orders where ${many}`).refusal).toBeNull()
    expect(read(`select '${'('.repeat(100_000)}'`).refusal).toBeNull()
    expect(read(`select $x$ ${'(['.repeat(50_000)} $x$ /* ${'('.repeat(50_000)} */`).refusal).toBeNull()
  })
})

describe('what cannot be read counts as the worst', () => {
  test.each([
    'select secret()',
    'select never_heard_of()',
    'select pg_read_file($$/etc/passwd$$)',
    'select query_to_xml($$delete from payments$$, true, true, $$$$)',
    'select lo_import($$/etc/passwd$$)',
    `copy payments to program 'cat'`,
    `copy payments from '/tmp/x'`,
    `do $$ begin execute 'delete from ' || 'payments'; end $$`,
    'do language plpython3u $$ x $$',
    'load $$x$$',
    'update pg_catalog.pg_proc set prosrc = $$x$$',
    'create extension dblink',
    'select set_config(note, note, false) from orders',
    "select set_config('search_path', 'other', false); select * from payments",
    'set role someone_else; drop owned by x',
  ])('%s', text => {
    expect(read(text).statements.some(statement => statement.effect === 'unknown')).toBe(true)
  })
})

test.each<[string, string[]]>([
  ['copy payments to stdout', ['copy-out public.payments', 'select public.payments']],
  ['copy payments from stdin', ['copy-in public.payments', 'insert public.payments']],
  ['explain delete from payments', ['explain -', 'explain public.payments']],
  ['explain analyze delete from payments', ['explain -', 'delete public.payments missing']],
  ['do $$ begin perform wipe(); end $$', ['do -', 'delete public.payments missing (do block) (function public.wipe)']],
  ['truncate payments', ['truncate public.payments', 'delete public.payments missing']],
  [
    'select * from v_orders limit 1',
    [
      'select public.orders (view public.v_orders)',
      'select public.customers (view public.v_orders)',
      'select public.v_orders',
    ],
  ],
  [
    'create trigger t after insert on orders execute function wipe()',
    ['create public.orders', 'delete public.payments missing (trigger t)'],
  ],
  [
    'create function f() returns int language sql as $$ delete from payments returning 1 $$',
    ['create public.f', 'delete public.payments missing (function public.f)'],
  ],
  ['select f(x) from (select 1 as x, pg_notify($$a$$, $$b$$)) y(x)', ['notify -']],
  ['begin; savepoint a; release a; rollback to a; commit', []],
])('%s', (text, expected) => {
  expect(effects(text)).toEqual(expected)
})

test('session changes', () => {
  const kinds = (text: string) =>
    read(text).statements.flatMap(statement => statement.changes.map(change => change.kind))
  expect(kinds('set search_path = other')).toEqual(['resolution'])
  expect(kinds('set role x')).toEqual(['resolution'])
  expect(kinds('reset all')).toEqual(['resolution'])
  expect(kinds("set application_name = 'x'")).toEqual([])
  expect(kinds("select set_config('role', 'x', true)")).toEqual(['resolution'])
  expect(kinds("select set_config('app.user', 'x', true)")).toEqual([])
  expect(kinds('create table a (id int)')).toEqual(['catalogue'])
  expect(kinds('create temp table a (id int)').toSorted()).toEqual(['catalogue', 'resolution'])
  expect(kinds('prepare a as select 1')).toEqual(['prepare'])
  expect(kinds('execute a')).toEqual(['execute'])
  expect(kinds('declare c cursor for select 1')).toEqual(['declare'])
  expect(kinds('close all; deallocate all; discard all')).toEqual(['close', 'deallocate', 'resolution', 'discard'])
})

test('every word that a rule may use is what some statement is told to be', () => {
  const samples = [
    'select 1',
    'select * from orders for update',
    'copy payments to stdout',
    'copy payments from stdin',
    `copy payments to '/x'`,
    'explain select 1',
    'show all',
    'lock payments in access share mode; lock payments',
    'declare c cursor for select 1; fetch c; move c; close c',
    'listen x; unlisten x; notify x',
    'insert into payments values (1); update payments set id = 1; delete from payments; truncate payments',
    'merge into payments p using orders o on p.id = o.id when matched then delete',
    `select nextval('x'), setval('x', 1), lo_creat(1), pg_reload_conf()`,
    'create table a (id int); alter table a rename to b; drop table b; comment on table payments is $$x$$',
    'grant select on payments to x; revoke select on payments from x',
    'reindex table payments; cluster payments; vacuum payments; analyze payments; checkpoint; load $$x$$',
    'refresh materialized view v_orders',
    'security label on table payments is $$x$$',
    'import foreign schema x from server y into z',
    `set role x; prepare transaction 'x'; set a.b = 1; reset a.b; discard plans`,
    'call wipe(); do $$ begin null; end $$; prepare x as select 1; execute x; deallocate x',
    'begin; savepoint a; release a; rollback; commit',
    'create operator class x for type int using btree as storage int',
  ]
  const words = new Set(
    samples.flatMap(text =>
      read(text).statements.flatMap(statement => [statement.verb, ...statement.effects.map(effect => effect.verb)]),
    ),
  )
  const groups = ['read', 'write', 'copy', 'ddl', 'unknown']
  expect(statementWords.filter(word => !words.has(word) && !groups.includes(word))).toEqual([])
  expect([...words].filter(word => !statementWords.includes(word))).toEqual([])
})

test('the same object for the same text, resolution and catalogue', () => {
  expect(read('select 1 as same')).toBe(read('select 1 as same'))
  expect(read('select 1 as same', { searchPath: ['other'] })).not.toBe(read('select 1 as same'))
  expect(read('select 5').fingerprint).toBe(read('select 6').fingerprint)
})
