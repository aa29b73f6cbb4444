import { statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import pg from 'pg'
import { Place, type Tunnels } from '../support/agentgate.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { app, postgres15, startServer, type TestServer } from '../support/servers.ts'
import { RunningBroker } from './running-broker.ts'

const roles = `select rolname from pg_roles where rolname like 'agentgate\\_%' and rolcanlogin`

async function until(what: string, holds: () => Promise<boolean>, deadlineMs = 20_000): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`never: ${what}`)
    await sleep(10)
  }
}

// One person, their own broker on its unix socket, a tunnel that never sees the administrator's URL.
describeWith('a broker of one’s own', [postgres15.need], () => {
  const owned = new Owned()
  let server: TestServer
  let broker: RunningBroker
  let client: Place
  const open: Tunnels[] = []
  const clients: pg.Client[] = []

  beforeAll(async () => {
    server = owned.add(await startServer(postgres15))
    const policy = `version: 1
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes: { read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] } }
rules:
  - { name: no orders, when: { statement: select, table: orders }, then: deny, message: orders are not yours }
`
    broker = owned.add(await RunningBroker.start(policy, { ADMIN_URL: server.superuserUrl() }, ['--grace', '6s']))
    client = new Place('version: 1\n', { AGENTGATE_BROKER: broker.unix })
  })
  afterEach(async () => {
    for (const each of clients.splice(0)) await each.end().catch(() => undefined)
    for (const each of open.splice(0)) await each.close()
    expect(await server.query(roles)).toEqual([])
  })
  afterAll(async () => await owned.close())

  const connect = async () => {
    const tunnels = await client.connect()
    open.push(tunnels)
    return tunnels
  }
  const login = async (tunnels: Tunnels) => {
    const each = new pg.Client({ connectionString: tunnels.tunnel.url })
    each.on('error', () => undefined)
    await each.connect()
    clients.push(each)
    return each
  }
  const grants = async () =>
    (await broker.administer('grants', 'list', '--json')).stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Record<string, string>)

  it('grants a session its credential and its policy, and takes the role back at its end', async () => {
    const tunnels = await connect()
    expect(await server.query(roles)).toHaveLength(1)
    const psql = await login(tunnels)
    expect((await psql.query('select count(*)::int as n from customers')).rows).toEqual([{ n: expect.any(Number) }])
    await expect(psql.query('select * from orders')).rejects.toThrow('orders are not yours')
    const [grant, ...others] = await grants()
    expect(others).toEqual([])
    expect(grant).toMatchObject({ session: tunnels.session, resource: 'shop', scope: 'read', state: 'active' })
    await tunnels.close()
    expect(await grants()).toEqual([])
    expect(await server.query(roles)).toEqual([])
    const all = await broker.administer('grants', 'list', '--all')
    expect(all.stdout).toContain('closed: closed by its tunnel')
  })

  it('keeps its store to its user', () => {
    const { mode } = statSync(path.join(broker.place.home, 'data', 'broker.db'))
    expect(mode & 0o777).toBe(0o600)
  })

  it.each([
    ['grants revoke', async () => ['grants', 'revoke', (await grants())[0]!['grant']!]],
    ['sessions kill', async () => ['sessions', 'kill', (await grants())[0]!['session']!]],
  ])('ends a running statement at once by %s, at the target and at the tunnel', async (_name, command) => {
    const tunnels = await connect()
    const psql = await login(tunnels)
    const slow = psql.query('select pg_sleep(600)').catch((error: unknown) => error)
    const running = `select from pg_stat_activity where usename like 'agentgate%' and query like '%pg_sleep%'`
    await until('it runs', async () => (await server.query(running)).length === 1)
    const ended = await broker.administer(...(await command()), '--reason', 'laptop lost')
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    // By the time that the command returns it is over.
    expect(await server.query(running)).toEqual([])
    expect(await server.query(roles)).toEqual([])
    expect(await slow).toBeInstanceOf(Error)
    const { code, stderr } = await tunnels.running.finished()
    expect(code).toBe(8)
    expect(stderr).toContain('access was ended: laptop lost')
    open.splice(0)
  })

  it('suspends a principal: what they have ends, and they get nothing more until they are resumed', async () => {
    const tunnels = await connect()
    const [grant] = await grants()
    const principal = grant!['principal']!
    const { stdout } = await broker.administer('principals', 'suspend', principal, '--reason', 'left')
    expect(stdout).toBe(`${principal}  suspended, sessions ended: 1\n`)
    expect((await tunnels.running.finished()).code).toBe(8)
    open.splice(0)
    const refused = await client.run(['connect', 'shop', '--json'])
    expect(refused.code).toBe(4)
    expect(refused.stderr).toContain(`error: ${principal} is suspended`)
    expect((await broker.administer('principals', 'list')).stdout).toContain('left')
    await broker.administer('principals', 'resume', principal)
    await connect()
  })

  it('takes its grants up again after kill -9, and its tunnels hold new actions meanwhile', async () => {
    const tunnels = await connect()
    const psql = await login(tunnels)
    const [grant] = await grants()
    await broker.kill()
    expect((await psql.query('select 1 as one')).rows).toEqual([{ one: 1 }]) // within the lease
    await until(
      'the lease is over',
      async () =>
        await psql.query('select 1').then(
          () => false,
          (error: unknown) => error instanceof Error && error.message.includes('the broker is silent'),
        ),
    )
    await broker.restart()
    await until(
      'it goes on',
      async () =>
        await psql.query('select 1').then(
          () => true,
          () => false,
        ),
    )
    expect(await grants()).toEqual([grant])
    const revoked = await broker.administer('grants', 'revoke', grant!['grant']!)
    expect(revoked.code).toBe(0)
    expect(await server.query(roles)).toEqual([])
    expect((await tunnels.running.finished()).code).toBe(8)
    open.splice(0)
  }, 60_000)

  it('ends what a killed tunnel left', async () => {
    const tunnels = await connect()
    expect(await server.query(roles)).toHaveLength(1)
    tunnels.running.child.kill('SIGKILL')
    await tunnels.running.finished()
    open.splice(0)
    await until('the role is gone', async () => (await server.query(roles)).length === 0)
    expect((await broker.administer('grants', 'list', '--all')).stdout).toContain('its tunnel has not been heard of')
  })

  it('lets no second broker onto its store', async () => {
    const { code, stderr } = await broker.place.run(['broker', ...(await broker.place.trusted())])
    expect(code).toBe(2)
    expect(stderr).toContain('a broker of yours runs already')
  })

  it('says what there is not', async () => {
    for (const args of [
      ['grants', 'revoke', 'g_0000000000'],
      ['sessions', 'kill', 's_0000000000'],
    ])
      expect(await broker.administer(...args)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('no such grant or session that is open and yours to end'),
      })
    const alone = new Place('version: 1\n')
    expect(await alone.run(['grants', 'list'])).toMatchObject({
      code: 6,
      stderr: expect.stringContaining('there is no broker here'),
    })
  })
})
