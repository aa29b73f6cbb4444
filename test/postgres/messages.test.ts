import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { maskOn, openMaskedTunnel } from './support/masked-tunnel.ts'
import { RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import type { TestTunnel } from './support/tunnel.ts'

// Values of a masked column that a server quotes in what it says: each is seen to come without agentgate, and not with it.

const secret = 'maria.secret@example.org'
const schema = `
create table people (id int primary key, email text unique, age int not null default 1, city text check (city <> 'Nowhere'));
insert into people values (1, '${secret}', 30, 'Cork'), (2, '4711-secret', 40, 'Kerry');
create table visits (email text references people (email), n int);
create domain mail as text check (value like '%@%');
create function told(e text) returns int language plpgsql as $$ begin raise notice 'it is %', e; return 1; end $$;
create function failed(e text) returns int language plpgsql as
  $$ begin raise exception 'it is %', e using detail = e, hint = e, errcode = 'P0001', column = e, table = e; end $$;
create function coded(e text) returns int language plpgsql as
  $$ begin raise exception sqlstate '4711A' using message = 'x'; end $$;
create function warned() returns trigger language plpgsql as $$ begin raise warning 'row %', old; return new; end $$;
create trigger warned before update of age on people for each row execute function warned();
create function notified(e text) returns void language plpgsql as $$ begin perform pg_notify('news', e); end $$;
`

const attacks: readonly (readonly [name: string, sql: string])[] = [
  ['a unique violation', 'insert into people (id, email) select 3, email from people where id = 1'],
  [
    'a violation of a key, with the row',
    'update people set email = (select email from people where id = 1) where id = 2',
  ],
  ['a NOT NULL violation, with the row', 'update people set age = null where id = 1'],
  ['a CHECK violation, with the row', "update people set city = 'Nowhere' where id = 1"],
  ['a foreign key violation', 'delete from people where id = 1'],
  ['a cast to a number', 'select email::int from people where id = 1'],
  ['a cast by a function', 'select email::date from people where id = 1'],
  ['a cast within a condition', 'select 1 from people where id = 1 and email::int > 0'],
  ['a cast of what was aggregated', 'select string_agg(email, $$,$$)::int from people'],
  ['a cast through a sub-query', 'select (select e from (select email as e from people where id = 1) x)::uuid'],
  ['a cast to json', "select ('{\"' || email)::json from people where id = 1"],
  ['a name that is no schema', 'select quote_ident(email)::regnamespace from people where id = 1'],
  ['a name that is no database', 'select pg_database_size(email::name) from people where id = 1'],
  ['a name that is no role', "select pg_has_role(email::name, 'usage') from people where id = 1"],
  ['a name that is no table', "select has_table_privilege(quote_ident(email), 'select') from people where id = 1"],
  ['a name that is no setting', 'select current_setting(email) from people where id = 1'],
  ['a name that is no table’s', 'select email::regclass from people where id = 1'],
  ['RAISE EXCEPTION', 'select failed(email) from people where id = 1'],
  ['RAISE NOTICE', 'select told(email) from people where id = 1'],
  ['a trigger’s warning', 'update people set age = 31 where id = 1'],
  ['a notice of a DO block', 'do $do$ begin raise notice $$%$$, (select email from people where id = 1); end $do$'],
  ['an error in a DO block', 'do $do$ declare n int; begin select email into n from people where id = 1; end $do$'],
  ['a notification', "listen news; select pg_notify('news', (select email from people where id = 1))"],
  ['a notification of a function', 'listen news; select notified(email) from people where id = 1'],
  [
    'a notification of a DO block',
    'listen news; do $do$ begin perform pg_notify($$news$$, (select email from people where id = 1)); end $do$',
  ],
  [
    'a division within a CASE',
    "select case when email like 'm%' then (email || '0')::bigint end from people where id = 1",
  ],
  ['a COPY', 'copy (select email::int from people) to stdout'],
]

/** In two, or the text of an error about the text would have it too. */
const leaks = (bytes: Buffer) => bytes.includes(secret) || bytes.includes('maria.secret')

describe.each(servers)('$name', ({ available, binaries }) => {
  let server: TestServer
  let tunnel: TestTunnel

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries)
    const admin = new pg.Client({ connectionString: server.url.reveal() })
    await admin.connect()
    await admin.query(schema)
    await admin.query(`insert into visits values ('${secret}', 1)`)
    await admin.end()
    tunnel = await openMaskedTunnel(server, [maskOn(['people.email', 'visits.email'])])
  })
  afterAll(async () => {
    if (!available) return
    await tunnel.close()
    await server.remove()
  })
  beforeEach(context => {
    if (!available) context.skip()
  })

  /** Everything that the client's socket got for one text, which is undone. */
  async function said(side: 'direct' | 'tunnel', form: 'simple' | 'extended', sql: string): Promise<Buffer> {
    const client = await RawClient.connect(
      side === 'direct'
        ? { port: server.port, password: server.password.reveal() }
        : { port: tunnel.port, password: tunnel.secret },
    )
    await client.query('begin')
    const before = client.messages.length
    if (form === 'simple') {
      client.send(queryMessage(sql))
      await client.until()
    } else
      for (const part of sql.split(/; (?=select|do)/)) {
        client.send(
          parseMessage('', part),
          bindMessage({ portal: '', statement: '', formats: [], values: [], resultFormats: [] }),
          executeMessage(''),
          syncMessage,
        )
        await client.until()
      }
    // Notifications come with the end of the transaction, and only if it is kept.
    await client.query(sql.startsWith('listen') ? 'commit' : 'rollback')
    const bytes = Buffer.concat(client.messages.slice(before).map(message => message.body))
    client.close()
    return bytes
  }

  describe.each(['simple', 'extended'] as const)('by the %s protocol', form => {
    test.each(attacks)('nothing of a masked column is in %s', async (_, sql) => {
      expect(leaks(await said('direct', form, sql))).toBe(true)
      tunnel.results.length = 0
      const bytes = await said('tunnel', form, sql)
      expect(leaks(bytes)).toBe(false)
      expect(leaks(Buffer.concat(tunnel.results))).toBe(false)
    })

    test('what is said of other tables is as the server says it', async () => {
      const sql = "do $do$ begin raise notice 'one' using detail = 'two'; perform 1/0; end $do$"
      const clean = "select 'seven'::int, count(*) from pg_class"
      expect(await said('tunnel', form, clean)).toEqual(await said('direct', form, clean))
      expect((await said('tunnel', form, sql)).includes('22012')).toBe(true)
    })
  })

  test('a notification of another session has no payload', async () => {
    const client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
    await client.query('listen news')
    const admin = new pg.Client({ connectionString: server.url.reveal() })
    await admin.connect()
    await admin.query(`select pg_notify('news', '${secret}')`)
    await admin.end()
    while ((await client.next()).type !== 'A');
    expect(leaks(Buffer.concat(client.messages.map(message => message.body)))).toBe(false)
    client.close()
  })
})
