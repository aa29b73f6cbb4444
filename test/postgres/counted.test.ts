import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  bindMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  frame,
  parseMessage,
  queryMessage,
  syncMessage,
} from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { cancelPacket } from '../../src/protocols/postgres/wire/startup.ts'
import { describeWith, program } from '../support/needs.ts'
import { until } from '../support/processes.ts'
import { maskOn, openMaskedTunnel } from './support/masked-tunnel.ts'
import { RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import type { TestTunnel } from './support/tunnel.ts'

// A shape that is approved with a bound on rows: each of its statements runs in a transaction that agentgate opens around it, and is
// final only where its tag is within. The client sees what it sees of the statement alone.

const run = promisify(execFile)
const cache = process.env['AGENTGATE_TEST_CACHE'] ?? path.join(os.homedir(), '.cache', 'agentgate-test')
const python = path.join(cache, 'venv', 'bin', 'python3')

const schema = `
create table items (id int primary key, n int);
insert into items select i, 0 from generate_series(1, 10) i;
create table parent (id int primary key);
create table child (id int primary key, parent int references parent deferrable initially deferred);
create table noisy (id int);
create function says() returns trigger language plpgsql as $$ begin raise notice 'row %', new.id; return new; end $$;
create trigger noisy before insert on noisy for each row execute function says();
create table heard (id int);
create function hears() returns trigger language plpgsql as $$ begin
  perform set_config('application_name', 'in ' || new.id, false); return new; end $$;
create trigger hears before insert on heard for each row execute function hears();
create table ruled (id int);
create rule ruled as on insert to ruled do also select * from items;
create table people (id int primary key, ssn text unique deferrable initially deferred);
insert into people values (1, 'secret-4711'), (2, 'other');
`

const bind = (statement: string, ...values: string[]) =>
  bindMessage({
    portal: '',
    statement,
    formats: [],
    values: values.map(value => Buffer.from(value)),
    resultFormats: [],
  })

describe.each(servers)('$name', ({ available, binaries, name }) => {
  let server: TestServer
  let tunnel: TestTunnel
  let client: RawClient
  let direct: RawClient
  let left = 0
  const asked: number[] = []

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries)
    direct = await RawClient.connect({ port: server.port, password: server.password.reveal() })
    await direct.query(schema)
    tunnel = await openMaskedTunnel(server, [], {
      decide: action =>
        action.analysed.statements.some(({ verb }) => ['insert', 'update', 'delete', 'merge'].includes(verb))
          ? {
              within: rows => {
                asked.push(rows)
                if (rows > left) return false
                left -= rows
                return true
              },
            }
          : 'allow',
    })
  })
  afterAll(async () => {
    if (!available) return
    direct.close()
    await tunnel.close()
    await server.remove()
  })
  beforeEach(async context => {
    if (!available) return context.skip()
    client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
    await direct.query(
      `update items set n = 0; delete from noisy; delete from heard; delete from child; delete from parent`,
    )
    left = 3
    asked.length = 0
    tunnel.masks = []
  })
  afterEach(() => {
    if (!available) return
    client.close()
    expect(tunnel.errors.splice(0)).toEqual([])
  })

  const changed = async () => (await direct.query('select count(*) from items where n <> 0'))[1]
  const outcomes = () =>
    tunnel.events.flatMap(event => (event.kind === 'outcome' ? [`${event.status} ${event.tag}`] : []))
  const exchange = async (messages: readonly Buffer[], readies = 1) => {
    client.send(...messages)
    return await client.until(readies)
  }

  test('a Query within is final, and looks as it does alone', async () => {
    expect(await client.query('update items set n = 1 where id <= 2')).toEqual(['C UPDATE 2', 'Z I'])
    expect(await changed()).toBe('D 2')
    expect(asked).toEqual([2])
    expect(
      await client.query(
        'merge into items i using (values (1)) v (x) on i.id = v.x when matched then update set n = 5',
      ),
    ).toEqual(['C MERGE 1', 'Z I'])
    expect(left).toBe(0)
    expect(outcomes().slice(-2)).toEqual(['ok UPDATE 2', 'ok MERGE 1'])
  })

  test('a Query above is taken back and held again, with what was found', async () => {
    expect(await client.query('update items set n = 1 where id <= 4')).toEqual([
      'E 42501 refused by agentgate: held again: changed 4 rows when it was tried, more than its approval allows: rolled back',
      'Z I',
    ])
    expect(await changed()).toBe('D 0')
    expect(outcomes().at(-1)).toBe('cancelled UPDATE 4, rolled back')
    expect(left).toBe(3)
    // And the next is as ever.
    expect(await client.query('update items set n = 1 where id = 4')).toEqual(['C UPDATE 1', 'Z I'])
  })

  test('a batch of the extended protocol, within and above', async () => {
    const messages = (upTo: string) => [
      parseMessage('', 'update items set n = 1 where id <= $1'),
      bind('', upTo),
      describeMessage('Portal', ''),
      executeMessage(''),
      syncMessage,
    ]
    expect(await exchange(messages('2'))).toEqual(['1', '2', 'n', 'C UPDATE 2', 'Z I'])
    expect(await changed()).toBe('D 2')
    const above = await exchange(messages('10'))
    expect(above).toEqual(['1', expect.stringContaining('changed 10 rows when it was tried'), 'Z I'])
    expect(await changed()).toBe('D 2')
    await exchange([parseMessage('again', 'update items set n = 1 where id = $1'), syncMessage])
    expect(await exchange([bind('again', '9'), executeMessage(''), syncMessage])).toEqual(['2', 'C UPDATE 1', 'Z I'])
    expect(await exchange([bind('again', '9'), executeMessage(''), syncMessage])).toEqual([
      expect.stringContaining('changed 1 row when'),
      'Z I',
    ])
  })

  test('what cannot be taken back by itself is held each time', async () => {
    const held = 'E 42501 refused by agentgate: held: its rows cannot be bounded'
    for (const sql of [
      'update items set n = 1 where id = 1 returning id',
      'update items set n = 1 where id = 1; select 1',
      'with x as (delete from noisy) update items set n = 1 where id = 1',
      'insert into ruled values (1)',
    ])
      expect(await client.query(sql), sql).toEqual([held, 'Z I'])
    await client.query('begin')
    expect(await client.query('update items set n = 1 where id = 1')).toEqual([held, 'Z E'])
    await client.query('rollback')
    const one = [bind('p', '1'), executeMessage('')]
    await exchange([parseMessage('p', 'update items set n = 1 where id = $1'), syncMessage])
    expect(await exchange([...one, ...one, syncMessage])).toEqual([held, 'Z I'])
    expect(await exchange([...one, flushMessage, syncMessage])).toEqual([held, 'Z I'])
    const paged = frame(0x45, '', Buffer.of(0, 0, 0, 1))
    expect(await exchange([bind('p', '1'), paged, syncMessage])).toEqual([held, 'Z I'])
    expect(await changed()).toBe('D 0')
    expect(asked).toEqual([])
  })

  test('errors: of the statement, and at the end of its transaction', async () => {
    const sqls = ['insert into items values (1, 1)', 'insert into child values (1, 99)', 'update items set n = 1 / 0']
    for (const sql of sqls) {
      const alone = await direct.query(sql)
      expect(await client.query(sql), sql).toEqual(alone)
      expect(alone[0]).toMatch(/^E /)
      const messages = [parseMessage('', sql), bind(''), describeMessage('Portal', ''), executeMessage(''), syncMessage]
      direct.send(...messages)
      expect(await exchange(messages), sql).toEqual(await direct.until())
    }
    expect(await client.query('select 1')).toContain('Z I')
    expect(outcomes().slice(-2)).toEqual(['error ERROR 22012', 'ok SELECT 1'])
  })

  test('notices and settings are the statement’s where it is final, and nobody’s where it is not', async () => {
    expect(await client.query('insert into noisy values (1), (2)')).toEqual([
      'N 00000 row 1',
      'N 00000 row 2',
      'C INSERT 0 2',
      'Z I',
    ])
    const above = await client.query('insert into noisy values (1), (2)')
    expect(above).toEqual([expect.stringContaining('changed 2 rows'), 'Z I'])
    expect(await client.query('insert into heard values (7)')).toEqual([
      'S application_name=in 7',
      'C INSERT 0 1',
      'Z I',
    ])
    const last = await client.query('insert into heard values (8)')
    expect(last.filter(line => line.includes('in 8'))).toEqual([])
    expect(await client.query('show application_name')).toContain('D in 7')
  })

  test('masks hold for what fails at the end', async () => {
    tunnel.masks = [maskOn(['people.ssn'])]
    tunnel.generation += 1
    const shown = await client.query(`update people set ssn = 'secret-' || '4711' where id = 2`)
    expect(shown.join()).not.toContain('4711')
    expect(shown[0]).toMatch(/^E (23505|42501)/)
  })

  test('Ctrl-C while it runs, a timeout, and a client that goes', async () => {
    const slow = 'update items set n = 1 where id = 1 and pg_sleep(600) is null'
    const isRunning = async () =>
      (
        await direct.query(
          `select count(*) from pg_stat_activity where state = 'active' and query like 'update items%pg_sleep%'`,
        )
      ).includes('D 1')
    client.send(queryMessage(slow))
    await until('it runs', isRunning)
    const cancel = await RawClient.bare(tunnel.port)
    cancel.send(cancelPacket(client.processId, client.key))
    expect(await client.until()).toEqual(['E 57014 canceling statement due to user request', 'Z I'])
    await client.query(`set statement_timeout = '50ms'`)
    expect(await client.query(slow)).toEqual(['E 57014 canceling statement due to statement timeout', 'Z I'])
    await client.query('reset statement_timeout')
    client.send(queryMessage(slow))
    await until('it runs', isRunning)
    client.stream.destroy()
    await direct.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and query like 'update items%pg_sleep%'`,
    )
    await until('it is over', async () => outcomes().at(-1)?.startsWith('lost') === true)
    expect(await changed()).toBe('D 0')
  })

  test('two at once do not change more together than is left', async () => {
    left = 4
    const other = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
    const both = await Promise.all([
      client.query('update items set n = 1 where id <= 3'),
      other.query('update items set n = 2 where id between 7 and 9'),
    ])
    expect(both.filter(([first]) => first === 'C UPDATE 3')).toHaveLength(1)
    expect(await changed()).toBe('D 3')
    other.close()
  })

  describeWith(`clients on ${name}`, [program('psql', 'apt-get install postgresql-client-15')], () => {
    test('psql', async () => {
      const env = { ...process.env, PGPASSWORD: tunnel.secret }
      const psql = async (sql: string) =>
        await run(
          'psql',
          ['-X', '-h', '127.0.0.1', '-p', String(tunnel.port), '-U', 'postgres', '-c', sql, 'postgres'],
          { env },
        )
      expect((await psql('update items set n = 1 where id = 1')).stdout).toBe('UPDATE 1\n')
      await expect(psql('update items set n = 1')).rejects.toMatchObject({
        stderr: expect.stringContaining('changed 10 rows'),
      })
      expect(await changed()).toBe('D 1')
    })
  })

  const venv = { name: 'psycopg', missing: existsSync(python) ? undefined : 'run test/postgres/clients/setup.sh' }
  describeWith(`python on ${name}`, [venv], () => {
    test('psycopg, by the simple and the extended protocol', async () => {
      const script = `
import psycopg
with psycopg.connect("host=127.0.0.1 port=${tunnel.port} user=postgres dbname=postgres", autocommit=True) as conn:
    print(conn.execute("update items set n = 1 where id = 1").rowcount)
    print(conn.execute("update items set n = %s where id = %s", (1, 2)).rowcount)
    for i in range(8):
        try: print(conn.execute("update items set n = %s where id <= %s", (1, 4), prepare=True).rowcount)
        except psycopg.Error as e: print(e.sqlstate, "changed 4 rows" in str(e))
    print(conn.execute("select count(*) from items where n = 1").fetchone(), conn.info.transaction_status.name)
`
      const { stdout } = await run(python, ['-c', script], { env: { ...process.env, PGPASSWORD: tunnel.secret } })
      expect(stdout.trim().split('\n')).toEqual(['1', '1', ...Array<string>(8).fill('42501 True'), '(2,) IDLE'])
    })
  })
})
