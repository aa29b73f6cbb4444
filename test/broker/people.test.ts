import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { agentgateBin, type Place, type Tunnels } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { pseudoTerminal, Screen } from '../support/screen.ts'
import { app, postgres15, startServer, type TestServer } from '../support/servers.ts'
import { lines, Team } from './team.ts'

interface Asked {
  readonly request: { readonly id: string; readonly view: { readonly text: string }; readonly editable: boolean }
}

const stores: readonly [string, (server: TestServer) => Promise<Record<string, string>>][] = [
  ['SQLite', async () => ({})],
  [
    'PostgreSQL',
    async server => {
      await server.query('create database broker')
      const url = new URL(server.superuserUrl())
      url.pathname = '/broker'
      return { AGENTGATE_DATABASE_URL: url.href }
    },
  ],
]

// Two people and a CI job, each with a state folder of their own, on one broker over TCP and TLS.
for (const [store, storeEnvironment] of stores)
  describeWith(
    `people and a job on one broker over ${store}`,
    [postgres15.need, program('openssl'), pseudoTerminal],
    () => {
      const owned = new Owned()
      let server: TestServer
      let team: Team
      let maria: Place
      let john: Place
      let sec: Place
      let tunnels: Tunnels
      let client: pg.Client

      beforeAll(async () => {
        server = owned.add(await startServer(postgres15))
        team = owned.add(
          await Team.start(
            `admins: { policy: { group: sec } }
access:
  - { who: { group: eng }, resources: [ shop ], scopes: [ read ] }
  - { who: { group: eng }, resources: [ shop ], scopes: [ write ], ttl: 1h, approvers: { group: dba } }
  - { who: { claims: { repository: acme/shop } }, resources: [ shop ], scopes: [ read ] }
rules:
  - { name: payments, when: { statement: [ update, delete ], table: payments }, then: approve, approvers: { group: dba, not-self: true, within: 2m } }
  - { name: no deletes, when: { statement: delete, table: orders }, then: deny, message: orders stay }
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes:
      read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] }
      write: { grant: [ "SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public" ] }
`,
            { ADMIN_URL: server.superuserUrl(), ...(await storeEnvironment(server)) },
          ),
        )
        maria = await team.machine('maria', ['eng'])
        john = await team.machine('john', ['eng', 'dba'])
        sec = await team.machine('sam', ['sec'])
      })
      afterAll(async () => {
        await client?.end().catch(() => undefined)
        await tunnels?.close()
        await owned.close()
      })

      /** The one that waits for somebody. */
      const waiting = async (who: Place) => {
        const running = who.start(['approvals', 'list', '--watch', '--json'])
        const [line] = await running.said(/\{"event":"approval",[^\n]*\n/)
        running.child.kill('SIGINT')
        await running.finished()
        return (JSON.parse(line) as Asked).request
      }
      const run = async (text: string) =>
        await client.query(text).then(
          ({ rowCount }) => rowCount,
          (error: unknown) => (error instanceof Error ? error.message : 'unknown'),
        )
      const totals = async () => await server.query('select id, status from payments where id in (1, 2) order by id')

      it('request: what one does not hold is given by another, from another machine', async () => {
        const asked = maria.start([
          'request',
          'shop',
          '-s',
          'write',
          '--for',
          '20m',
          '--reason',
          'fix',
          '--wait',
          '--json',
        ])
        const { id, view } = await waiting(john)
        expect(view.text).toBe('scope write for 20m')
        expect((await john.run(['approvals', 'approve', id])).code).toBe(0)
        expect((await asked.finished()).code).toBe(0)
        tunnels = await maria.connect(['shop'], ['--scope', 'write'])
        client = new pg.Client({ connectionString: tunnels.tunnel.url })
        client.on('error', () => undefined)
        await client.connect()
      }, 90_000)

      it('renewal: for as long as the policy gives now, and never beyond what was given on request', async () => {
        const extend = async (who: Place, session: string) =>
          await team.call('POST', `/v1/sessions/${session}/extend`, who.env['AGENTGATE_ID_TOKEN'], { seconds: null })
        const of = async (session: string) =>
          lines<{ session: string; expiresAt: string }>((await sec.run(['grants', 'list', '--json'])).stdout).find(
            each => each.session === session,
          )!.expiresAt
        const short = await maria.connect(['shop'], ['--for', '2m'])
        const before = await of(short.session)
        const { status, text } = await extend(maria, short.session)
        expect(status).toBe(200)
        expect(Date.parse((JSON.parse(text) as { expiresAt: string }).expiresAt)).toBeGreaterThan(
          Date.parse(before) + 50 * 60_000,
        )
        expect(await of(short.session)).toBe((JSON.parse(text) as { expiresAt: string }).expiresAt)
        await short.close()
        // Nobody else’s, and nothing that is over: all alike.
        const others = [
          await extend(john, tunnels.session),
          await extend(sec, tunnels.session),
          await extend(maria, short.session),
        ]
        const nothing = await extend(maria, 's_0000000000')
        for (const each of others) expect(each).toEqual(nothing)
        expect(nothing.status).toBe(404)
        await extend(maria, tunnels.session)
        const [given] = lines<{ until: string }>((await maria.run(['requests', '--json'])).stdout)
        expect(Date.parse(await of(tunnels.session))).toBeLessThan(Date.parse(given!.until) + 5000)
      }, 60_000)

      it('access: who may use what, and why, for those who may know', async () => {
        type Row = { who: string; resource: string; scope: string; how: string; place: string; people: string[] }
        const who = lines<Row>((await sec.run(['access', 'who', 'shop', '--json'])).stdout)
        expect(who).toEqual(
          expect.arrayContaining([
            expect.objectContaining({
              who: 'group eng',
              scope: 'read',
              how: 'held',
              people: expect.arrayContaining(['maria', 'john']),
            }),
            expect.objectContaining({ who: 'group eng', scope: 'write', how: 'on-request' }),
            expect.objectContaining({ who: 'repository acme/shop', scope: 'read' }),
          ]),
        )
        const own = lines<Row>((await maria.run(['access', 'of', 'me', '--json'])).stdout)
        expect(own.map(({ scope, how }) => [scope, how])).toEqual([
          ['read', 'held'],
          ['write', 'given'],
        ])
        expect(own[0]!.place).toMatch(/^agentgate.yaml:\d+$/)
        expect(lines<Row>((await sec.run(['access', 'of', 'maria', '--json'])).stdout)).toEqual(own)
        for (const args of [
          ['who', 'shop'],
          ['of', 'maria'],
          ['of', 'nobody'],
        ])
          expect((await john.run(['access', ...args])).code).toBe(4)
        const unknown = await sec.run(['access', 'of', 'nobody'])
        expect(unknown).toMatchObject({ code: 0, stderr: expect.stringContaining('has not seen') })
      }, 60_000)

      it('approve with edit: what runs is what the approver made of it, decided anew at the tunnel', async () => {
        const before = await totals()
        const answer = run(`update payments set status = 'refunded' where id in (1, 2)`)
        const { id, editable } = await waiting(john)
        expect(editable).toBe(true)
        const preview = async (text: string) => {
          const { code, stdout, stderr } = await john.run([
            'approvals',
            'edit',
            id,
            '--text',
            text,
            '--preview',
            '--json',
          ])
          return { code, verdict: lines<{ verdict?: string }>(stdout)[0]?.verdict, stderr }
        }
        expect(await preview(`update payments set status = 'refunded' where id = 1`)).toMatchObject({
          code: 0,
          verdict: 'approve',
        })
        expect(await preview('delete from orders')).toMatchObject({ verdict: 'deny' })
        expect((await preview('not sql at all')).code).toBe(4)
        // What a rule denies cannot be made of it, and it goes on waiting.
        const denied = await john.run(['approvals', 'edit', id, '--text', 'delete from orders', '--yes'])
        expect({ code: denied.code, stderr: denied.stderr }).toMatchObject({
          code: 4,
          stderr: expect.stringContaining('orders stay'),
        })
        const edited = await john.run([
          'approvals',
          'edit',
          id,
          '--text',
          `update payments set status = 'refunded' where id = 1`,
          '--reason',
          'one of them',
          '--yes',
        ])
        expect({ code: edited.code, stdout: edited.stdout }).toMatchObject({
          code: 0,
          stdout: expect.stringContaining('edited'),
        })
        expect(await answer).toBe(1)
        expect(await totals()).toEqual([{ id: 1, status: 'refunded' }, before[1]])
        // Both stand in the record, with who it was.
        const shown = lines<{
          approval: { by: string; edited: boolean } | null
          asked: string | null
          view: { text: string }
        }>((await maria.run(['sessions', 'show', tunnels.session, '--json'])).stdout).find(
          each => each.approval?.edited === true,
        )
        expect(shown).toMatchObject({
          approval: { by: 'john', edited: true },
          asked: expect.stringContaining('in (1, 2)'),
          view: { text: expect.stringContaining('id = 1') },
        })
        const late = await team.call('GET', `/v1/approvals/${id}`, john.env['AGENTGATE_ID_TOKEN'])
        expect(JSON.parse(late.text)).toMatchObject({ state: 'edited', by: 'john' })
      }, 90_000)

      it('a shape is approved with limits on times, time and rows', async () => {
        const first = run(`update payments set status = 'failed' where id in (1, 2)`)
        const { id } = await waiting(john)
        const limits = ['--times', '5', '--for', '10m', '--rows', '3']
        expect((await john.run(['approvals', 'approve', id, ...limits])).code).toBe(0)
        expect(await first).toBe(2)
        expect(await run(`update payments set status = 'settled' where id in (1, 1)`)).toBe(1)
        // Three are gone: what would be more is taken back, and asked about.
        const third = run(`update payments set status = 'refunded' where id in (2, 2)`)
        const again = await waiting(john)
        expect((await totals())[1]).toMatchObject({ status: 'failed' })
        expect((await john.run(['approvals', 'reject', again.id, '--reason', 'enough'])).code).toBe(0)
        expect(await third).toMatch(/rejected by john: enough/)
      }, 90_000)

      it('two screens: what waits is on both, one answers, the other is told who did', async () => {
        const dora = await team.machine('dora', ['dba'])
        const screens = [john, dora].map(
          who =>
            new Screen(agentgateBin, ['approvals'], { cwd: who.folder, env: { ...who.env, TERM: 'xterm-256color' } }),
        )
        const [first, second] = screens as [Screen, Screen]
        try {
          await Promise.all(screens.map(async each => await each.shows(/nothing is waiting/)))
          const answer = run(`update payments set status = 'settled' where id = 2`)
          await Promise.all(screens.map(async each => await each.shows(/where id = 2[^]*asked|asked[^]*where id = 2/)))
          await first.showsBold('[a]')
          await first.type('a')
          await first.shows(/approved/)
          await second.shows(/approved by john/)
          expect(await answer).toBe(1)
        } finally {
          for (const each of screens) await each.type('q')
          await Promise.all(screens.map(async each => await each.exited()))
        }
      }, 90_000)

      it('reject: whoever asked is told why', async () => {
        const answer = run('delete from payments where id = 1')
        const { id } = await waiting(john)
        await john.run(['approvals', 'reject', id, '--reason', 'not on a Friday'])
        expect(await answer).toMatch(/rejected by john: not on a Friday/)
      }, 60_000)

      it('a job has a session of its own by what its token claims', async () => {
        const job = await team.machine('job', [], { repository: 'acme/shop' })
        const count = ['connect', 'shop', '--', 'psql', '-X', '-At', '-c', 'select count(*) > 0 from customers']
        expect(await job.run(count)).toMatchObject({ code: 0, stdout: 't\n' })
        const stranger = await team.machine('job', [], { repository: 'acme/other' })
        expect((await stranger.run(count)).code).toBe(125)
      }, 60_000)

      it('a changed policy reaches open tunnels, and counts from the next statement', async () => {
        expect(await run('select count(*) from orders')).toBe(1)
        const changed = team.policy.replace(
          'rules:',
          'rules:\n  - { name: closed, when: { statement: select, table: orders }, then: deny, message: closed now }',
        )
        team.replacePolicy(changed)
        await tunnels.event('notice', event => String(event['text']).includes('policy changed'))
        expect(await run('select count(*) from orders')).toMatch(/closed now/)
      }, 60_000)

      it('revoke: the session ends, and what gave it with it', async () => {
        const [grant] = lines<{ grant: string }>((await sec.run(['grants', 'list', '--json'])).stdout)
        expect((await sec.run(['grants', 'revoke', grant!.grant, '--reason', 'laptop lost'])).code).toBe(0)
        expect((await tunnels.running.finished()).code).toBe(8)
        expect(tunnels.running.stderr()).toContain('laptop lost')
        expect((await maria.run(['connect', 'shop', '--scope', 'write', '--json'])).code).toBe(4)
      }, 60_000)

      it('suspend: what they have ends, and they get nothing more', async () => {
        const open = await maria.connect()
        expect((await sec.run(['principals', 'suspend', 'maria', '--reason', 'left'])).code).toBe(0)
        expect((await open.running.finished()).code).toBe(8)
        for (const args of [
          ['connect', 'shop', '--json'],
          ['request', 'shop', '-s', 'write', '--reason', 'x'],
        ])
          expect(await maria.run(args)).toMatchObject({
            code: 4,
            stderr: expect.stringContaining('maria is suspended'),
          })
        expect(
          await server.query(`select rolname from pg_roles where rolname like 'agentgate\\_%' and rolcanlogin`),
        ).toEqual([])
      }, 60_000)
    },
  )
