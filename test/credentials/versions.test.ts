import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { WarmConnections } from '../../src/credentials/warm-connections.ts'
import { PostgresRoleIssuer } from '../../src/credentials/postgres-role/issuer.ts'
import type { Credential, Kept } from '../../src/credentials/credential.ts'
import type { IssuerTarget } from '../../src/credentials/issuer-kind.ts'
import { newGrantId, type ResourceName, type ScopeName } from '../../src/ids.ts'
import { Secret } from '../../src/secret.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { app, postgres15, postgres18, postgresOf, query, startServer, type TestServer } from '../support/servers.ts'

const kinds = [postgresOf(13), postgresOf(14), postgres15, postgresOf(16), postgresOf(17), postgres18]
const roles = `select rolname from pg_roles where rolname like 'agentgate\\_shop\\_%'`
const second = 'second'

// A role's whole life on every version that is spoken to, by an administrator that may do everything and by one that may not,
// with a connection for each step and with connections that are kept.
for (const kind of kinds)
  for (const superuser of [true, false])
    describeWith(`roles on ${kind.name}, by ${superuser ? 'a superuser' : 'CREATEROLE'}`, [kind.need], () => {
      const owned = new Owned()
      const warm = new WarmConnections()
      let server: TestServer
      let admin: { user: string; password: Secret; address: undefined; database: string }

      beforeAll(async () => {
        server = owned.add(await startServer(kind))
        await server.query(`create database ${second} owner ${app.user}`)
        await query(
          server.superuserUrl(second),
          `alter schema public owner to ${app.user}; create table public.kept (id int)`,
        )
        await query(server.superuserUrl(second), `alter table public.kept owner to ${app.user}`)
        admin = { user: server.user, password: server.password, address: undefined, database: app.database }
        if (superuser) return
        await server.query(`create role ag_admin login createrole password 'administrator'`)
        await server.query(`grant ${app.user} to ag_admin${kind.version >= 16 ? ' with inherit true' : ''}`)
        await server.query(`alter schema public owner to ${app.user}`)
        admin = { ...admin, user: 'ag_admin', password: new Secret('administrator') }
      })
      afterAll(async () => {
        await warm.close()
        await owned.close()
      })

      const grants = ['SELECT ON ALL TABLES IN SCHEMA public', 'USAGE, CREATE ON SCHEMA public']
      const issuerWith = (kept: boolean, ttlSeconds = 600, more: Partial<IssuerTarget> = {}) => {
        const target: IssuerTarget = {
          name: 'shop' as ResourceName,
          kind: 'postgres',
          address: server.address,
          tls: { mode: 'off', name: undefined, ca: undefined },
          settings: { database: [app.database, second] },
          scope: { name: 'make' as ScopeName, settings: { grant: grants } },
          ...more,
        }
        return new PostgresRoleIssuer(target, admin, { ttlSeconds, perPrincipal: false, ...(kept ? { warm } : {}) })
      }
      const mint = async (issuer: PostgresRoleIssuer, keeper?: string) => {
        const grant = newGrantId()
        const credential = await issuer.mint({
          grant,
          subject: {
            principal: { name: 'maria', groups: [], source: 'os-user' },
            ...{ actor: null, confined: false, purpose: null, ticket: null },
          },
          scope: { name: 'make', settings: {} },
          ttlSeconds: 600,
          ...(keeper === undefined ? {} : { keeper }),
        })
        return { grant, credential }
      }
      const urlOf = ({ user, secret }: Credential, database: string) =>
        `postgresql://${user}:${secret?.reveal()}@${server.address}/${database}`

      for (const kept of [false, true])
        it(`made, used, renewed, ended in every database${kept ? ', over connections that are kept' : ''}`, async () => {
          const issuer = issuerWith(kept)
          const { credential } = await mint(issuer)
          for (const database of [app.database, second]) {
            const made = `create table public.made_${database} (id int)`
            await query(urlOf(credential, database), `set default_transaction_read_only = off; ${made}`)
          }
          const held = new pg.Client({ connectionString: urlOf(credential, second) })
          held.on('error', () => undefined)
          await held.connect()
          const slow = held.query('select pg_sleep(600)').catch((error: unknown) => error)
          const renewed = await issuer.renew(credential, 300)
          expect(renewed.expiresAt?.getTime()).toBeLessThan(credential.expiresAt?.getTime() ?? 0)
          await issuer.revoke(credential)
          await expect(query(urlOf(credential, second), 'select 1')).rejects.toThrow(/not permitted to log in/)
          expect(await slow).toBeInstanceOf(Error)
          await issuer.terminate(credential)
          await issuer.terminate(credential) // again, as after a crash
          expect(await server.query(roles)).toEqual([])
          expect(await server.query(`select from pg_stat_activity where usename = $1`, [credential.user])).toEqual([])
          for (const database of [app.database, second]) {
            const owner = `select tableowner::text from pg_tables where tablename = 'made_${database}'`
            const [row] = await query(server.superuserUrl(database), owner)
            expect(row?.['tableowner']).toMatch(/^agentgate_scope_/)
            await query(server.superuserUrl(database), `drop table public.made_${database}`)
          }
        })

      it('swept: what a dead keeper’s grant left, what has expired, and nothing that lives', async () => {
        const issuer = issuerWith(true)
        const [dead, lives, others] = [
          await mint(issuer, 'b_ours'),
          await mint(issuer, 'b_ours'),
          await mint(issuer, 'b_theirs'),
        ]
        const expired = await mint(issuer, 'b_theirs')
        await server.query(`alter role "${expired.credential.user}" valid until '2020-01-01'`)
        await query(urlOf(dead.credential, second), 'create table public.left_behind (id int)')
        const asked: string[] = []
        const keeper: Kept = {
          keeper: 'b_ours',
          live: async ids => {
            asked.push(...ids)
            return new Set([lives.grant])
          },
        }
        expect(await issuer.sweep(keeper)).toBe(2)
        expect(asked.sort()).toEqual([dead.grant, lives.grant].sort())
        const left = (await server.query(roles)).map(row => row['rolname'])
        expect(left.sort()).toEqual([lives.credential.user, others.credential.user].sort())
        for (const { credential } of [lives, others]) await issuer.terminate(credential)
        await query(server.superuserUrl(second), 'drop table public.left_behind')
        expect(await server.query(roles)).toEqual([])
      })

      it('made and ended by many at once, over few connections', async () => {
        const issuer = issuerWith(true)
        const all = await Promise.all(Array.from({ length: 20 }, async () => await mint(issuer)))
        const admins = `select from pg_stat_activity where usename = $1 and application_name = 'agentgate'`
        expect((await server.query(admins, [admin.user])).length).toBeLessThanOrEqual(8)
        await Promise.all(
          all.map(async ({ credential }) => {
            await issuer.revoke(credential)
            await issuer.terminate(credential)
          }),
        )
        expect(await server.query(roles)).toEqual([])
      })

      it('ended also where the kept connections were cut', async () => {
        const issuer = issuerWith(true)
        const { credential } = await mint(issuer)
        await server.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agentgate'`,
        )
        await until('they are gone', async () => {
          const left = `select from pg_stat_activity where application_name = 'agentgate'`
          return (await server.query(left)).length === 0
        })
        await issuer.revoke(credential)
        await issuer.terminate(credential)
        expect(await server.query(roles)).toEqual([])
      })
    })
