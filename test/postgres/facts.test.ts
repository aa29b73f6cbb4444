import pg from 'pg'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { matches, whenSchema } from '../../src/protocols/postgres/analysis/when.ts'
import { SeenShapes } from '../../src/tunnel/seen-shapes.ts'
import { RawClient } from './support/raw-client.ts'
import { servers } from './support/server.ts'
import { useServer } from './support/suite.ts'

const schema = `
create table big (id int primary key, kind text);
insert into big select i, 'k' || i % 10 from generate_series(1, 5000) i;
create table small (id int primary key, t text);
insert into small values (1, 'a'), (2, 'b');
create schema other;
create table other.big (id int);
create table log (n int);
create view v_big as select * from big;
create function really() returns int language plpgsql as $$ begin insert into log values (1); return 1; end $$;
-- the server lets a function that says it is immutable call one that writes
create function writes() returns int immutable language plpgsql as $$ begin return really(); end $$;
create function writes_inner() returns int immutable language sql as 'select writes()';
create function reads() returns int stable language sql as 'select max(id) from small';
create function one() returns int immutable language plpgsql as $$ begin return 1; end $$;
create function dynamic() returns int immutable language plpgsql as $$ begin execute 'select rea' || 'lly()'; return 1; end $$;
create function locks() returns int immutable language plpgsql as $$ begin perform pg_advisory_lock(4711); return 1; end $$;
create function sets() returns int immutable language plpgsql as $$ begin perform set_config('my.mark', 'set', false); return 1; end $$;
create function draws() returns int immutable language plpgsql as $$ begin return nextval('seq'); end $$;
create sequence seq;
create function "<>"(a int, b text) returns boolean immutable language plpgsql as $$ begin return really() = 1; end $$;
create operator <~> (leftarg = int, rightarg = text, function = "<>");
create domain logged as int check (writes() = value);
analyze big; analyze small; analyze other.big;
`

describe.each(servers)('$name', kind => {
  const suite = useServer(kind, schema)
  let client: RawClient

  beforeEach(async () => {
    const { tunnel } = suite
    tunnel.asks.clear()
    tunnel.shapes.clear()
    tunnel.decide = () => 'allow'
    client?.close()
    client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
  })

  const denyWhen = (given: Record<string, unknown>) => {
    const when = whenSchema.parse(given)
    for (const key of Object.keys(given)) suite.tunnel.asks.add(key)
    suite.tunnel.decide = action => (matches(when, action, 'holds') ? 'deny' : 'allow')
  }
  const isDenied = async (sql: string) => (await client.query(sql)).some(line => line.includes('refused by agentgate'))

  describe('rows as the server estimates them', () => {
    test.each([
      'select * from big',
      'table big',
      'select * from v_big',
      'with b as (select * from big) select * from b',
      'select * from small, big',
      'select * from big where id > 10',
      'select kind from big union all select t from small',
      'update big set kind = kind',
      "update big set kind = 'x' where id > 0",
      'delete from big',
      'delete from big where id in (select id from big)',
      'insert into log select id from big',
      'with d as (delete from big returning id) select count(*) from d',
      'create temp table copied as select * from big',
      'begin; declare c cursor for select * from big',
      'copy big to stdout', // nobody can tell
      'copy (select 1) to stdout',
      'prepare p as select 1; execute p',
      'explain analyze delete from big',
      'do $$ begin delete from big; end $$',
    ])('more than is allowed: %s', async sql => {
      denyWhen({ 'estimated-rows': '> 1000' })
      expect(await isDenied(sql)).toBe(true)
      expect((await suite.admin.query('select count(*)::int as n from big')).rows).toEqual([{ n: 5000 }])
      expect(await client.query('select 1')).toContain('D 1')
    })

    // Texts that differ in a constant alone are read once, but not estimated once.
    test('of this statement, and not of others of its shape', async () => {
      denyWhen({ 'estimated-rows': '> 1000' })
      for (const from of [4999, 4998, 4997, 4996]) {
        expect(await isDenied(`select * from big where id > ${from}`)).toBe(false)
        expect(await isDenied(`update big set kind = 'k' where id > ${from} and id < 1`)).toBe(false)
      }
      expect(await isDenied('select * from big where id > 0')).toBe(true)
      expect(await isDenied(`update big set kind = 'x' where id > 0 and id < 9999`)).toBe(true)
      expect((await suite.admin.query("select count(*)::int as n from big where kind = 'x'")).rows).toEqual([{ n: 0 }])
      expect(await isDenied('select * from big where id > 4995')).toBe(false)
    })

    test.each([
      'select * from small',
      'select * from big where id = 7',
      'select * from big limit 10',
      'select count(*) from big',
      'select max(id) from v_big',
      'update big set kind = kind where id = 1',
      'insert into log values (9); delete from small where id = 99',
      'select reads()',
      'select * from big where id = one()',
      'begin; select * from small; commit',
      'set search_path = other, public; select 1',
      'show search_path',
      'explain select * from small',
    ])('no more than that: %s', async sql => {
      denyWhen({ 'estimated-rows': '> 1000' })
      if (sql.startsWith('explain')) return expect(await isDenied(sql)).toBe(true) // an EXPLAIN of it cannot be explained
      expect(await isDenied(sql)).toBe(false)
    })

    test('with the values that are bound', async () => {
      denyWhen({ 'estimated-rows': '> 1000' })
      const through = new pg.Client({
        host: '127.0.0.1',
        port: suite.tunnel.port,
        user: 'postgres',
        password: suite.tunnel.secret,
      })
      await through.connect()
      const few = await through.query({ name: 'n', text: 'select * from big where id < $1', values: [5] })
      expect(few.rowCount).toBe(4)
      await expect(
        through.query({ name: 'n', text: 'select * from big where id < $1', values: [4000] }),
      ).rejects.toThrow('refused by agentgate')
      expect((await through.query('select 1 as one')).rows).toEqual([{ one: 1 }])
      await through.end()
    })

    test('with names as this session has them', async () => {
      denyWhen({ 'estimated-rows': '> 2600' })
      expect(await isDenied('select * from big')).toBe(true)
      await client.query('set search_path = other')
      expect(await isDenied('select * from big')).toBe(false)
      // what only this session has cannot be estimated
      await client.query('create temp table mine (id int)')
      expect(await isDenied('select * from mine')).toBe(true)
    })

    test('is asked together with the rest of a rule', async () => {
      denyWhen({ 'estimated-rows': '> 1000', statement: 'delete' })
      expect(await isDenied('select * from big')).toBe(false)
      expect(await isDenied('delete from big where id > 10')).toBe(true)
    })

    const effects = async () => {
      const { rows } = await suite.admin.query(
        `select (select count(*)::int from log) as logged, (select is_called from seq) as drawn,
         (select count(*)::int from pg_locks where locktype = 'advisory') as locks`,
      )
      return rows[0] as { logged: number; drawn: boolean; locks: number }
    }
    test.each([
      'select * from big where id = writes()',
      'select * from big where id = writes_inner()',
      'select * from big where id = dynamic()',
      'select * from big where id = draws()',
      'select * from big where id = sets()',
      "select * from big where 1 <~> 'x'",
      'select * from big where id = 5::logged',
    ])('never runs what plans would: %s', async sql => {
      await suite.admin.query('delete from log')
      const before = await effects()
      // it bites: planning alone runs it
      await suite.admin.query('begin')
      await suite.admin.query(`explain ${sql}`).catch(() => undefined)
      const planned = await effects().catch(() => before)
      await suite.admin.query('rollback')
      if (!sql.includes('sets()') && !sql.includes('draws()')) expect(planned).not.toEqual(before)
      denyWhen({ 'estimated-rows': '> 1000000' })
      expect(await isDenied(sql)).toBe(true)
      expect((await effects()).logged).toBe(before.logged)
      // and nothing of it stays on the tunnel's own connection
      expect(await isDenied('select * from small')).toBe(false)
    })

    test('keeps no lock that a function takes while planning', async () => {
      denyWhen({ 'estimated-rows': '> 1000000' })
      await client.query('select * from big where id = locks()')
      await client.query('select pg_advisory_unlock_all()')
      expect((await effects()).locks).toBe(0)
    })
  })

  describe('a shape that was not seen before', () => {
    test('is seen once it was let run, whatever its constants', async () => {
      denyWhen({ 'first-seen': true })
      expect(await isDenied('select * from small where id = 1')).toBe(true)
      expect(await isDenied('select * from small where id = 1')).toBe(true) // a refused one is not
      suite.tunnel.decide = () => 'allow'
      expect(await isDenied('select * from small where id = 1')).toBe(false)
      denyWhen({ 'first-seen': true })
      expect(await isDenied('select * from small where id = 2')).toBe(false)
      expect(await isDenied('select * from small where t = $$x$$')).toBe(true)
    })

    test('is another one where names mean something else', async () => {
      suite.tunnel.asks.add('first-seen')
      expect(await isDenied('select id from big')).toBe(false)
      denyWhen({ 'first-seen': true })
      expect(await isDenied('select id from big')).toBe(false)
      await client.query('set search_path = other')
      expect(await isDenied('select id from big')).toBe(true)
    })

    test('what cannot be read is never seen; settings and transactions are no shape', async () => {
      suite.tunnel.asks.add('first-seen')
      expect(await isDenied('do $$ begin execute $x$select $x$ || 1; end $$')).toBe(false)
      denyWhen({ 'first-seen': true })
      expect(await isDenied('do $$ begin execute $x$select $x$ || 1; end $$')).toBe(true)
      expect(await isDenied('begin; set work_mem = 64; commit')).toBe(false)
    })

    test('holds for prepared statements, at each run', async () => {
      denyWhen({ 'first-seen': true })
      const through = new pg.Client({
        host: '127.0.0.1',
        port: suite.tunnel.port,
        user: 'postgres',
        password: suite.tunnel.secret,
      })
      await through.connect()
      const asked = { name: 'n', text: 'select t from small where id = $1', values: [1] }
      await expect(through.query(asked)).rejects.toThrow('refused by agentgate')
      suite.tunnel.decide = () => 'allow'
      expect((await through.query(asked)).rows).toEqual([{ t: 'a' }])
      denyWhen({ 'first-seen': true })
      expect((await through.query({ ...asked, values: [2] })).rows).toEqual([{ t: 'b' }])
      await through.end()
    })
  })
})

test('shapes outlive a session, and are known to those beside it', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-test-'))
  try {
    const file = path.join(folder, 'seen')
    const [one, other] = [new SeenShapes(file), new SeenShapes(file)]
    expect(one.has('select')).toBe(false)
    one.add('select')
    expect(other.has('select')).toBe(true)
    other.add('delete')
    expect(one.has('delete')).toBe(true)
    expect(one.has('update')).toBe(false)
    expect(new SeenShapes(file).has('delete')).toBe(true)
    // where it cannot be kept, it is known to this session alone
    const nowhere = new SeenShapes(path.join(folder, 'missing', 'seen'))
    nowhere.add('select')
    expect(nowhere.has('select')).toBe(true)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
