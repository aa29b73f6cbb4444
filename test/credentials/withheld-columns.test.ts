import { afterAll, beforeAll, expect, it } from 'vitest'
import { PostgresRoleIssuer } from '../../src/credentials/postgres-role/issuer.ts'
import type { Credential } from '../../src/credentials/credential.ts'
import { newGrantId, type ResourceName, type ScopeName } from '../../src/ids.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { app, postgres15, postgres18, postgresOf, query, startServer, type TestServer } from '../support/servers.ts'

// `enforce: grant`: the server itself does not show a session what a mask hides.

const secret = 'Zq7-secret-4711'
const schema = `
create table people (id int primary key, name text, ssn text, upper_ssn text generated always as (upper(ssn)) stored);
insert into people values (1, 'Ann', '${secret}');
create table child () inherits (people);
insert into child values (2, 'Bob', '${secret}');
create table parted (id int, ssn text) partition by list (id);
create table parted_1 partition of parted for values in (1);
insert into parted values (1, '${secret}');
create table plain (id int, note text);
insert into plain values (1, 'seen');
create view names as select id, name from people;
create view renamed as select id, ssn as other from people;
create view above as select other as more from renamed;
create view rows as select to_jsonb(p) as whole from people p;
create materialized view kept as select id, ssn as s from people;
create view plain_view as select note from plain;
`

for (const kind of [postgresOf(13), postgresOf(14), postgres15, postgresOf(16), postgresOf(17), postgres18])
  describeWith(`enforce: grant on ${kind.name}`, [kind.need], () => {
    const owned = new Owned()
    const made: (() => Promise<void>)[] = []
    let server: TestServer

    beforeAll(async () => {
      server = owned.add(await startServer(kind))
      await query(
        server.superuserUrl(),
        `drop schema public cascade; create schema public authorization ${app.user}; ${schema}`,
      )
      await server.query(`grant usage on schema public to public`)
      await server.query(`create role reader nologin; grant select on all tables in schema public to reader`)
      await server.query(
        `create role careful nologin; grant select (id, name) on people to careful; grant select on plain to careful`,
      )
    })
    afterAll(async () => {
      for (const end of made) await end()
      await owned.close()
    })

    interface Scope {
      readonly grant?: readonly string[]
      readonly role?: string
    }
    const everything: Scope = {
      grant: ['SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public', 'USAGE ON SCHEMA public'],
    }
    const issuerOf = (settings: Scope, withheld: (name: string) => readonly string[]) =>
      new PostgresRoleIssuer(
        {
          name: 'shop' as ResourceName,
          kind: 'postgres',
          address: server.address,
          tls: { mode: 'off', name: undefined, ca: undefined },
          settings: { database: app.database },
          scope: { name: 'make' as ScopeName, settings },
          withheld: ({ principal }) => withheld(principal.name),
        },
        { user: server.user, password: server.password, address: undefined, database: app.database },
        { ttlSeconds: 600, perPrincipal: false },
      )
    const mint = async (
      settings: Scope,
      withheld = (_: string): readonly string[] => ['people.ssn', '*.ssn'],
      who = 'maria',
    ) => {
      const issuer = issuerOf(settings, withheld)
      const credential = await issuer.mint({
        grant: newGrantId(),
        subject: {
          principal: { name: who, groups: [], source: 'os-user' },
          ...{ actor: null, confined: false, purpose: null, ticket: null },
        },
        scope: { name: 'make', settings: {} },
        ttlSeconds: 600,
      })
      made.push(async () => await issuer.terminate(credential))
      return credential
    }
    const run = async ({ user, secret: password }: Credential, sql: string) =>
      await query(`postgresql://${user}:${password?.reveal()}@${server.address}/${app.database}`, sql)
    const denied = /permission denied/

    it('shows all but the columns, whichever way they are asked for', async () => {
      const credential = await mint(everything)
      expect(await run(credential, 'select id, name from people order by id')).toEqual([
        { id: 1, name: 'Ann' },
        { id: 2, name: 'Bob' },
      ])
      expect(await run(credential, 'select * from names order by id')).toHaveLength(2)
      expect(await run(credential, 'select * from plain')).toEqual([{ id: 1, note: 'seen' }])
      expect(await run(credential, 'select * from plain_view')).toEqual([{ note: 'seen' }])
      expect(await run(credential, 'select id from parted')).toEqual([{ id: 1 }])
      for (const sql of [
        'select * from people',
        'select ssn from people',
        'select upper_ssn from people',
        'select people from people',
        'select to_jsonb(p) from people p',
        'select 1 from people where ssn is not null',
        'select ssn from child',
        'select ssn from parted',
        'select ssn from parted_1',
        'select * from renamed',
        'select more from above',
        'select * from rows',
        'select s from kept',
        'update people set name = ssn',
        'delete from people where ssn is null',
        'insert into people values (9) returning ssn',
        'create temp table t as table people',
        'copy people to stdout',
        'set role reader',
      ])
        await expect(run(credential, sql), sql).rejects.toThrow(denied)
      expect(await run(credential, `select from pg_stats where attname = 'ssn'`)).toEqual([])
      await run(
        credential,
        `set default_transaction_read_only = off; insert into people (id, name, ssn) values (3, 'Eve', 'new'); update people set ssn = 'x' where id = 3; delete from people where id = 3`,
      )
    })

    it('is the same for the next session of the scope, and follows what is new', async () => {
      const [first] = [await mint(everything)]
      await server.query(`alter table plain add ssn text; create table later (id int, ssn text)`)
      const second = await mint(everything)
      expect(await run(second, 'select id from later')).toEqual([])
      await expect(run(second, 'select ssn from later')).rejects.toThrow(denied)
      await expect(run(first, 'select ssn from plain')).rejects.toThrow(denied)
      expect(await run(first, 'select id, note from plain')).toHaveLength(1)
      await server.query('drop table later; alter table plain drop ssn')
    })

    it('holds for whom the mask holds', async () => {
      const but = (name: string) => (name === 'dora' ? [] : ['people.ssn'])
      const [maria, dora] = [await mint(everything, but), await mint(everything, but, 'dora')]
      await expect(run(maria, 'select ssn from people')).rejects.toThrow(denied)
      expect(await run(dora, 'select ssn from people where id = 1')).toEqual([{ ssn: secret }])
    })

    it('is refused where it cannot hold: others give the column, too', async () => {
      await expect(mint({ role: 'reader' })).rejects.toThrow(/enforce: grant, and its role could read public\./)
      const careful = await mint({ role: 'careful' })
      expect(await run(careful, 'select name from people where id = 1')).toEqual([{ name: 'Ann' }])
      await expect(mint({ grant: ['SELECT ON plain', 'reader'] })).rejects.toThrow(/could read public\./)
      if (kind.version >= 14) await expect(mint({ grant: ['pg_read_all_data'] })).rejects.toThrow(/could read public\./)
      await server.query('grant select (ssn) on people to public')
      await expect(mint(everything)).rejects.toThrow(/could read public\.people\.ssn/)
      await server.query('revoke select (ssn) on people from public')
      const all = await mint({ grant: ['ALL ON ALL TABLES IN SCHEMA public'] })
      await expect(
        run(
          all,
          'set default_transaction_read_only = off; create trigger t before update on people for each row execute function f()',
        ),
      ).rejects.toThrow(denied)
      const some = await mint({ grant: ['SELECT (id, ssn) ON people'] })
      expect(await run(some, 'select id from people where id = 1')).toEqual([{ id: 1 }])
      await expect(run(some, 'select ssn from people')).rejects.toThrow(denied)
      await expect(run(some, 'select name from people')).rejects.toThrow(denied)
    })
  })
