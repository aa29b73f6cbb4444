import { afterAll, beforeAll, expect, test } from 'vitest'
import { matches, whenSchema } from '../../../src/protocols/postgres/analysis/when.ts'
import { describeWith } from '../../support/needs.ts'
import { Owned } from '../../support/owned.ts'
import { until } from '../../support/processes.ts'
import { postgres15, postgresOf, startServer, type TestServer } from '../../support/servers.ts'
import { maskOn, openMaskedTunnel } from '../support/masked-tunnel.ts'
import { RawClient } from '../support/raw-client.ts'
import type { TestTunnel } from '../support/tunnel.ts'

// Texts that 18's grammar takes for something harmless, where an older server finds a column or a function that somebody made. Each is
// seen to do its harm without agentgate first, on the versions it works on.

const secret = 'Zq7-secret-4000-1234'
const schema = `
create table customers (id int primary key, ssn text, note text);
insert into customers values (1, '${secret}', 'x');
create table payments (id int primary key);
insert into payments values (1), (2);
create table journal (id int, ssn text);
insert into journal values (1, 'nothing');
create function "json_object"(i int) returns int language plpgsql as $$ begin delete from payments; return 1; end $$;
create function "json_array"(i int) returns int language plpgsql as $$ begin delete from payments; return 1; end $$;
create function "json_scalar"(i int) returns text language sql as 'select ssn from customers where id = i';
create function "json_value"(a text, b text) returns text language sql as 'select ssn from customers';
create function "json_serialize"(i int) returns int language sql as 'delete from payments; select 1';
create function "json"(i int) returns int language sql as 'delete from payments; select 1';
create function "json_table"(a text) returns setof text language sql as 'select ssn from customers';
create function "merge_action"() returns int language sql as 'delete from payments; select 1';
create function "substring"(i int, j int) returns int language sql as 'delete from payments; select 1';
create domain public."json" as text check ("json_serialize"(1) = 1);
create table "system_user" (id int, ssn text);
insert into "system_user" values (1, '${secret}');
create view of_user as select "system_user".ssn from "system_user";
create function keeps() returns trigger language plpgsql as $$ declare s text; begin
  insert into journal values (2, 'made') returning old.ssn into s; new.note := s; return new; end $$;
create trigger keeps before update on customers for each row execute function keeps();
`

/** Up to which version each works. */
const attacks: readonly (readonly [name: string, sql: string, upTo: number])[] = [
  ['a column called system_user', `select system_user from (select ssn as system_user from customers) x`, 15],
  ['a table called system_user', 'select ssn from system_user', 15],
  ['a view of a table called system_user', 'select * from of_user', 17],
  ['json_object of another type', 'select json_object(5)', 15],
  ['json_array', 'select json_array(1)', 15],
  ['json_scalar', 'select json_scalar(1)', 16],
  ['json_value', `select json_value('a', 'b')`, 16],
  ['json_serialize', 'select json_serialize(1)', 16],
  ['json_table', `select * from json_table('a')`, 16],
  ['json as a function', 'select json(1)', 16],
  ['merge_action', 'select merge_action()', 16],
  ['a domain called json', `set search_path = public, pg_catalog; select 'a'::json`, 16],
  ['a domain called json, by its first name', `set search_path = public, pg_catalog; select json 'a'`, 16],
  ['within DO', `do $$ begin perform json_array(1); end $$`, 15],
  ['within EXECUTE', `do $$ begin execute 'select json_scalar(1)'; perform "json_serialize"(1); end $$`, 16],
  ['old of a trigger', 'update customers set id = 1 returning note', 17],
]

for (const kind of [postgresOf(13), postgresOf(14), postgres15, postgresOf(16), postgresOf(17)])
  describeWith(`what 18 reads otherwise, on ${kind.name}`, [kind.need], () => {
    const owned = new Owned()
    let server: TestServer
    let tunnel: TestTunnel
    let direct: RawClient
    let through: RawClient

    beforeAll(async () => {
      server = owned.add(await startServer(kind))
      const login = { user: server.user, password: server.password.reveal() }
      direct = await RawClient.connect({ port: server.port, ...login })
      await direct.query(schema)
      const when = whenSchema.parse({ writes: 'payments' })
      tunnel = await openMaskedTunnel(server, [maskOn(['customers.ssn', 'system_user.ssn'])], {
        decide: action => (matches(when, action, 'holds') ? 'deny' : 'allow'),
      })
      through = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
    })
    afterAll(async () => {
      direct?.close()
      through?.close()
      await tunnel?.close()
      await owned.close()
    })

    /** What it got, and how many rows it left. */
    const run = async (client: RawClient, sql: string) => {
      await client.query('begin')
      const shown = await client.query(sql)
      const left = await client.query('select count(*) from payments')
      await client.query('rollback')
      return { leaks: shown.join().includes(secret), left: left.find(line => line.startsWith('D '))?.slice(2), shown }
    }

    test.each(attacks.filter(([, , upTo]) => upTo >= kind.version))('%s', async (_, sql) => {
      const bare = await run(direct, sql)
      expect(bare.leaks || bare.left !== '2', bare.shown.join('\n')).toBe(true)
      const got = await run(through, sql)
      expect(got.leaks, got.shown.join('\n')).toBe(false)
      // within a transaction that has failed nothing is told, but nothing was done either
      expect(['2', undefined]).toContain(got.left)
      expect(await direct.query('select count(*) from payments')).toContain('D 2')
      expect(await through.query('select 1')).toContain('D 1')
    })

    test('what is read the same goes on', async () => {
      await direct.query('drop function "json_object"(int); drop domain public."json"')
      await until('the catalogue was looked at', async () =>
        (await through.query(`select json_object('{a,b}') ->> 'a', '{"a": 1}'::json ->> 'a'`)).includes('D b|1'),
      )
      expect(await through.query(`select '{"a": 1}'::pg_catalog.json ->> 'a'`)).toContain('D 1')
      expect(await through.query(`select "system_user".id from "system_user"`)).toContain('D 1')
      expect(await through.query(`select '0x1f', '1_000'`)).toContain('D 0x1f|1_000')
      expect(tunnel.errors).toEqual([])
    })
  })
