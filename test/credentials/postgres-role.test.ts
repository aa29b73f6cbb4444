import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import pg from 'pg'
import { Place } from '../support/agentgate.ts'
import { describeWith, findProgram, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { runProgram } from '../support/processes.ts'
import { app, query, serverKinds, startServer, postgres15, type TestServer } from '../support/servers.ts'

const psql = program('psql')
const admin = { user: 'ag_admin', password: 'administrator' } as const
const ownRoles = `select rolname from pg_roles where rolname like 'agentgate\\_%' and rolcanlogin order by 1`

async function until(what: string, holds: () => Promise<boolean>, deadlineMs = 15_000): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`never: ${what}`)
    await sleep(20)
  }
}

function policy(
  server: Pick<TestServer, 'address'>,
  more: { scopes?: string; credential?: string; address?: string } = {},
) {
  return `version: 1
resources:
  shop:
    kind: postgres
    address: ${more.address ?? server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}"${more.credential ?? ''} }
    scopes:
      ${more.scopes ?? 'read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] }'}
`
}

for (const kind of serverKinds)
  for (const superuser of [true, false])
    describeWith(
      `postgres-role on ${kind.name}, by ${superuser ? 'a superuser' : 'CREATEROLE'}`,
      [kind.need, psql],
      () => {
        const owned = new Owned()
        let server: TestServer
        let adminUrl: string

        beforeAll(async () => {
          server = owned.add(await startServer(kind))
          adminUrl = server.superuserUrl()
          if (superuser) return
          await server.query(`create role ${admin.user} login createrole password '${admin.password}'`)
          // What docs/postgres-role.md asks for: a member of the owner may grant what is the owner's.
          await server.query(`grant ${app.user} to ${admin.user}${kind.version >= 16 ? ' with inherit true' : ''}`)
          await server.query(`create role app_writer nologin; grant app_writer to ${admin.user} with admin option`)
          adminUrl = adminUrl.replace(/\/\/[^@]*@/, `//${admin.user}:${admin.password}@`)
        })
        beforeAll(async () => {
          if (superuser) await server.query('create role app_writer nologin')
          await server.query(
            'grant select, insert on payments to app_writer; grant create on schema public to app_writer',
          )
        })
        afterAll(async () => await owned.close())
        afterEach(async () => {
          for (const place of places.splice(0)) await place.run(['down', '--all'])
        })

        const places: Place[] = []
        const placeOf = (more: Parameters<typeof policy>[1] = {}) => {
          const place = new Place(policy(server, more), { ADMIN_URL: adminUrl })
          places.push(place)
          return place
        }
        const inTunnel = async (place: Place, sql: readonly string[], more: readonly string[] = []) =>
          await place.run([
            'connect',
            'shop',
            ...more,
            ...(await place.trusted()),
            '--',
            'psql',
            '-X',
            '-At',
            ...sql.flatMap(one => ['-c', one]),
          ])

        it('makes a role for the session, which is gone with it', async () => {
          const place = placeOf()
          const open = await place.connect()
          const [role, ...others] = await server.query(ownRoles)
          expect(others).toEqual([])
          expect(role?.['rolname']).toMatch(/^agentgate_shop_\w+_\d{8}t\d{4}z_[0-9a-f]{6}$/)
          const { stdout } = await runProgram('psql', [
            '-X',
            '-At',
            open.tunnel.url,
            '-c',
            'select current_user, session_user, count(*) from orders',
          ])
          expect(stdout).toBe(`${String(role?.['rolname'])}|${String(role?.['rolname'])}|300\n`)
          const [facts] = await server.query(
            `select rolvaliduntil > now() as lives, rolvaliduntil < now() + interval '16 minutes' as shortly, rolsuper or rolcreaterole or rolcreatedb as strong,
            shobj_description(oid, 'pg_authid') as note from pg_roles where rolname = $1`,
            [role?.['rolname']],
          )
          expect(facts).toMatchObject({ lives: true, shortly: true, strong: false })
          expect(String(facts?.['note'])).toMatch(/^agentgate grant .*"principal":/)
          const [password] = await server.query('select rolpassword from pg_authid where rolname = $1', [
            role?.['rolname'],
          ])
          expect(String(password?.['rolpassword'])).toMatch(/^SCRAM-SHA-256\$4096:/)
          await open.close()
          expect(await server.query(ownRoles)).toEqual([])
        })

        it('gives a read scope what reads, by privileges and by default', async () => {
          const place = placeOf()
          const { stdout, stderr } = await inTunnel(place, [
            'show default_transaction_read_only',
            'insert into payments select * from payments limit 1',
            'begin; set transaction read write; delete from payments; commit',
          ])
          expect(stdout).toContain('on\n')
          expect(stderr).toMatch(/cannot execute INSERT in a read-only transaction/)
          expect(stderr).toMatch(/permission denied for table payments/)
        })

        it('runs as the role that a scope names, and what it creates belongs to that', async () => {
          const place = placeOf({ scopes: 'write: { role: app_writer }' })
          const { stdout, stderr } = await inTunnel(place, [
            'create table made_in_tunnel (id int)',
            'select current_user',
            'set role none; select count(*) from payments',
          ])
          expect(stdout).toContain('app_writer\n')
          // Leaving the role leaves nothing.
          expect(stderr).toMatch(/permission denied for table payments|refused by agentgate/)
          expect(await server.query(`select tableowner from pg_tables where tablename = 'made_in_tunnel'`)).toEqual([
            { tableowner: 'app_writer' },
          ])
          await server.query('drop table made_in_tunnel')
          expect(await server.query(ownRoles)).toEqual([])
        })

        it('hands on what a role owns when it goes', async () => {
          await server.query(`grant create on schema public to ${app.user}`)
          const place = placeOf({
            scopes: 'write: { grant: [ "CREATE, USAGE ON SCHEMA public", "INSERT ON payments" ] }',
          })
          const made = await inTunnel(place, ['create table left_behind (id int)'])
          expect(made.stderr).toBe('')
          const [row] = await server.query(`select tableowner from pg_tables where tablename = 'left_behind'`)
          expect(row?.['tableowner']).toMatch(/^agentgate_scope_shop_write_[0-9a-f]{8}$/)
          await server.query('drop table left_behind')
          expect(await server.query(ownRoles)).toEqual([])
        })

        it('keeps a role for a principal, with another login each time', async () => {
          const place = placeOf({ credential: ', per: principal' })
          const user = async () =>
            (await inTunnel(place, ['select current_user, session_user'])).stdout.trim().split('|')
          const [first, second] = [await user(), await user()]
          expect(first[0]).toMatch(/^agentgate_user_/)
          expect(second[0]).toBe(first[0])
          expect(second[1]).not.toBe(first[1])
        })

        it('ends backends that do not want to end', async () => {
          const place = placeOf()
          const open = await place.connect()
          const client = new pg.Client({ connectionString: open.tunnel.url })
          client.on('error', () => undefined)
          await client.connect()
          const slow = client.query('select pg_sleep(600)').catch((error: unknown) => error)
          await until(
            'it runs',
            async () =>
              (
                await server.query(
                  `select from pg_stat_activity where query like '%pg_sleep(600)%' and usename like 'agentgate%'`,
                )
              ).length > 0,
          )
          await open.close()
          expect(await slow).toBeInstanceOf(Error)
          expect(await server.query(`select from pg_stat_activity where usename like 'agentgate%'`)).toEqual([])
          expect(await server.query(ownRoles)).toEqual([])
          await client.end().catch(() => undefined)
        })

        it('leaves nothing when the tunnel is killed: the next start sweeps', async () => {
          const place = placeOf()
          const open = await place.connect()
          const [left] = await server.query(ownRoles)
          open.running.child.kill('SIGKILL')
          await open.running.finished()
          expect(await server.query(ownRoles)).toEqual([left])
          const next = await place.connect()
          await until('the role is swept', async () =>
            (await server.query(ownRoles)).every(row => row['rolname'] !== left?.['rolname']),
          )
          expect(await server.query(ownRoles)).toHaveLength(1)
          await next.close()
          expect(await server.query(ownRoles)).toEqual([])
        })

        it('leaves live sessions of others alone, and takes away what has expired', async () => {
          await server.query(
            `create role agentgate_old login valid until '2020-01-01';
           comment on role agentgate_old is 'agentgate grant {"grant":"g_1","principal":"x","resource":"shop","scope":"read","heir":"${app.user}","place":"elsewhere","pid":1,"started":1}';
           create role agentgate_theirs login valid until '2020-01-01'`,
          )
          if (!superuser) await server.query(`grant agentgate_old to ${admin.user} with admin option`)
          const first = await placeOf().connect()
          const second = await placeOf().connect()
          await until(
            'the old one is gone',
            async () => (await server.query(`select from pg_roles where rolname = 'agentgate_old'`)).length === 0,
          )
          expect(await server.query(ownRoles)).toHaveLength(3) // two sessions, and one that is not agentgate's for all its name
          await first.close()
          await second.close()
          await server.query('drop role agentgate_theirs')
        })

        it('renews a role that is shorter than its grant, and the password that it was made with', async () => {
          const open = await placeOf({ credential: ', ttl: 12s' }).connect()
          const kept = async () => {
            const [row] = await server.query(
              `select rolname, rolpassword, rolvaliduntil::text as at from pg_authid where rolname like 'agentgate\\_shop\\_%'`,
            )
            return row
          }
          const made = await kept()
          await server.query(`alter role "${String(made?.['rolname'])}" password 'mine'`)
          const before = await kept()
          await until('it is renewed', async () => (await kept())?.['at'] !== before?.['at'])
          expect((await kept())?.['rolpassword']).not.toBe(before?.['rolpassword'])
          const client = new pg.Client({ connectionString: open.tunnel.url })
          await client.connect()
          await client.end()
          await open.close()
        }, 40_000)

        it('gives a session no password of its own choosing, and no longer time, however it asks', async () => {
          const open = await placeOf({ scopes: 'all: { grant: [ "ALL ON SCHEMA public" ] }' }).connect()
          const client = new pg.Client({ connectionString: open.tunnel.url })
          await client.connect()
          const { rows } = await client.query('select current_user::text as own')
          const own = String(rows[0].own)
          const kept = async () =>
            (await server.query(`select rolpassword, rolvaliduntil::text from pg_authid where rolname = '${own}'`))[0]
          const before = await kept()
          const asks = [
            `alter role current_user password 'mine'`,
            `alter user session_user with encrypted password 'mine'`,
            `ALTER /* so */ USER "${own}" WITH pAsSwOrD 'mine'`,
            `alter role "${own}" password null`,
            `alter role current_user valid until 'infinity'`,
            `select 1; alter role current_user password 'mine'`,
            `do $$ begin alter role current_user password 'mine'; end $$`,
            `do $$ begin execute 'alter role ' || quote_ident(current_user) || ' password ''mine'''; end $$`,
            `do $$ begin execute format('alter role %I valid until %L', current_user, 'infinity'); end $$`,
            `create function public.mine() returns void language sql as $$ alter role current_user password 'mine' $$; select public.mine()`,
            `create procedure public.mine() language plpgsql as $$ begin alter role current_user password 'mine'; end $$; call public.mine()`,
          ]
          for (const text of asks) {
            const refused = await client.query(text).catch((error: unknown) => String(error))
            expect(refused, text).toMatch(/refused by agentgate/)
            expect(await kept(), text).toEqual(before)
          }
          // As a driver prepares it.
          const prepared = client.query({ name: 'p', text: asks[0]! }).catch((error: unknown) => String(error))
          expect(await prepared).toMatch(/refused by agentgate: the password of a role/)
          expect(await kept()).toEqual(before)
          await client.query('set search_path to public') // what else it may, it may
          await client.end()
          await open.close()
        }, 40_000)

        it('says what its administrator may not grant', async () => {
          if (superuser) return
          await server.query('create table secrets_of_others (id int)')
          const { code, stderr } = await placeOf({ scopes: 'read: { grant: [ "SELECT ON secrets_of_others" ] }' }).run([
            'connect',
            'shop',
            '--json',
            ...(await placeOf({ scopes: 'read: { grant: [ "SELECT ON secrets_of_others" ] }' }).trusted()),
          ])
          expect(code).toBe(6)
          expect(stderr).toMatch(/its administrator ag_admin may not grant SELECT ON secrets_of_others/)
          expect(stderr).toMatch(/hint: .*WITH GRANT OPTION/)
          expect(await server.query(ownRoles)).toEqual([])
          await server.query('drop table secrets_of_others')
        })
      },
    )

const pgbouncer = findProgram('pgbouncer', '/usr/sbin')

describeWith(
  'postgres-role behind a pooler',
  [postgres15.need, { name: 'pgbouncer', missing: pgbouncer === undefined ? 'apt-get install pgbouncer' : undefined }],
  () => {
    const owned = new Owned()
    let server: TestServer
    let pooler: string

    beforeAll(async () => {
      server = owned.add(await startServer(postgres15))
      pooler = await startPooler(owned, server)
    })
    afterAll(async () => await owned.close())

    it('is refused where the administrator goes through it', async () => {
      const place = new Place(policy(server, { address: pooler }), {
        ADMIN_URL: server.superuserUrl().replace(/@[^/]*/, `@${pooler}`),
      })
      const { code, stderr } = await place.run(['connect', 'shop', '--json', ...(await place.trusted())])
      expect(code).toBe(6)
      expect(stderr).toMatch(/a connection pooler stands before the server/)
      expect(stderr).toMatch(/hint: .*the server itself/)
    })

    it('is refused where only the session goes through it, and leaves no role', async () => {
      const place = new Place(policy(server, { address: pooler }), { ADMIN_URL: server.superuserUrl() })
      const { code, stderr } = await place.run(['connect', 'shop', '--json', ...(await place.trusted())])
      expect(code).toBe(6)
      expect(stderr).toMatch(/pooler/)
      expect(await server.query(ownRoles)).toEqual([])
    })
  },
)

async function startPooler(owned: Owned, server: TestServer): Promise<string> {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as net.AddressInfo
  probe.close()
  // Not within the run's own folder, which another user cannot enter; and pgbouncer does not run as root.
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-pgbouncer-'))
  const url = new URL(server.superuserUrl())
  writeFileSync(path.join(folder, 'users.txt'), `"${url.username}" "${decodeURIComponent(url.password)}"\n`)
  writeFileSync(
    path.join(folder, 'pgbouncer.ini'),
    `[databases]\n* = host=127.0.0.1 port=${url.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\nauth_type = plain\nauth_file = ${folder}/users.txt\nignore_startup_parameters = options\n`,
  )
  const user = os.userInfo().uid === 0 ? { uid: 65_534, gid: 65_534 } : {}
  if (user.uid !== undefined)
    for (const file of [folder, path.join(folder, 'users.txt')]) chownSync(file, user.uid, user.gid)
  const child = spawn(pgbouncer ?? '', [path.join(folder, 'pgbouncer.ini')], { stdio: 'ignore', ...user })
  owned.add({
    [Symbol.asyncDispose]: async () => {
      const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
      child.kill('SIGKILL')
      await exited
      rmSync(folder, { recursive: true, force: true })
    },
  })
  const address = `127.0.0.1:${port}`
  const through = server.superuserUrl().replace(/@[^/]*/, `@${address}`)
  await until('pgbouncer answers', async () => {
    try {
      return (await query(through, 'select 1')).length === 1
    } catch {
      return false
    }
  })
  return address
}
