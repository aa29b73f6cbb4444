import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { MaskStrategy } from '../../src/policy/action.ts'
import { maskOn, openMaskedTunnel } from './support/masked-tunnel.ts'
import { servers, startServer, type TestServer } from './support/server.ts'

// A marker has to be a value of the column's type, or clients cannot read the row.

const strategies: readonly (readonly [MaskStrategy, RegExp])[] = [
  [{ kind: 'redact' }, /^\[masked\]$/],
  [{ kind: 'partial' }, /^M\*+/],
  [{ kind: 'hash' }, /^[\w:+/=-]{8,}$/],
  [{ kind: 'constant', value: 'somebody' }, /^somebody$/],
]

describe.each(servers)('$name', ({ available, binaries }) => {
  let server: TestServer
  let direct: pg.Client

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries)
    direct = new pg.Client({ connectionString: server.url.reveal() })
    await direct.connect()
    await direct.query(`
      create extension if not exists citext;
      create domain short as varchar(60);
      create domain shorter as short check (value <> '');
      create domain mail as citext;
      create type mood as enum ('Maria Secret', 'other');
      create table people (id int, a citext, b short, c shorter, d mail, e mood, f text, g bpchar(60));
      insert into people select 1, s, s, s, s, s::text::mood, s, s from (select 'Maria Secret'::citext) x (s);
    `)
  })
  afterAll(async () => {
    if (!available) return
    await direct.end()
    await server.remove()
  })
  beforeEach(context => {
    if (!available) context.skip()
  })

  describe.each(strategies)('%j', (strategy, expected) => {
    test.each(['a', 'b', 'c', 'd', 'f', 'g'])('a text of a type like text, column %s', async column => {
      const tunnel = await openMaskedTunnel(server, [maskOn([`people.${column}`], strategy)])
      const client = new pg.Client({
        host: '127.0.0.1',
        port: tunnel.port,
        user: 'x',
        password: tunnel.secret,
        database: 'postgres',
      })
      await client.connect()
      for (const binary of [false, true]) {
        const query = { text: `select ${column} as value from people where id = $1`, values: [1], binary }
        const { rows } = await client.query(query)
        expect(String(rows[0].value).trim()).toMatch(expected)
      }
      await client.end()
      await tunnel.close()
    })
  })

  test('an enum has no such value: NULL', async () => {
    const tunnel = await openMaskedTunnel(server, [maskOn(['people.e'])])
    const client = new pg.Client({
      host: '127.0.0.1',
      port: tunnel.port,
      user: 'x',
      password: tunnel.secret,
      database: 'postgres',
    })
    await client.connect()
    expect((await client.query('select e from people')).rows).toEqual([{ e: null }])
    await client.end()
    await tunnel.close()
  })
})
