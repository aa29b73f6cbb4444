import { readFileSync } from 'node:fs'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { Place, Tunnels } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { startRelay, type Relay } from '../support/relay.ts'
import { app, postgres15, startServer, type TestServer } from '../support/servers.ts'
import { RunningBroker } from './running-broker.ts'
import { lines, Team } from './team.ts'

// Two brokers on one PostgreSQL, as behind a load balancer: what is known to one is known to the other.
describeWith('two brokers on one store', [postgres15.need, program('openssl')], () => {
  const owned = new Owned()
  let server: TestServer
  let team: Team
  let other: RunningBroker
  /** Leads tunnels to the first broker, or to the other. */
  let door: Relay
  const open: Tunnels[] = []

  beforeAll(async () => {
    server = owned.add(await startServer(postgres15))
    await server.query(`create role ag_store login password 'store'`)
    await server.query('create database ag_store owner ag_store')
    const env = {
      ADMIN_URL: server.superuserUrl(),
      DATABASE_URL: `postgresql://ag_store:store@${server.address}/ag_store`,
    }
    const policy = `admins: { policy: { group: sec } }
access:
  - { who: { group: eng }, resources: [ shop ], scopes: [ read ] }
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes:
      read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] }
rules:
  - { name: four eyes, when: { statement: select, table: payments }, then: approve, approvers: { group: dba, not-self: true, within: 1m } }
`
    team = owned.add(await Team.start(policy, env, ['--metrics', '127.0.0.1:0']))
    const { place } = team.broker
    other = owned.add(
      await RunningBroker.start(
        readFileSync(place.policy, 'utf8'),
        { NODE_EXTRA_CA_CERTS: team.idp.caFile, ...env },
        team.listen,
      ),
    )
    door = await startRelay(team.broker.https.replace('https://localhost', '127.0.0.1'))
  })
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close()
  })
  afterAll(async () => {
    await door?.close()
    await owned.close()
  })

  const behindDoor = async (sub: string, groups: readonly string[]) =>
    await at(`https://localhost:${door.port}`, sub, groups)
  const at = async (https: string, sub: string, groups: readonly string[]) => {
    const machine = await team.machine(sub, groups)
    machine.env['AGENTGATE_BROKER'] = https
    return machine
  }
  const connect = async (machine: Place) => {
    const tunnels = await machine.connect()
    open.push(tunnels)
    const client = new pg.Client({ connectionString: tunnels.tunnel.url })
    client.on('error', () => undefined)
    await client.connect()
    return { tunnels, client }
  }

  it('approves at one what is held at the other', async () => {
    const maria = await connect(await behindDoor('maria', ['eng']))
    const john = await at(other.https, 'john', ['dba'])
    const answer = maria.client.query('select count(*)::int as n from payments')
    let id = ''
    await until('it waits at the other', async () => {
      const [first] = lines<{ request: { id: string } }>((await john.run(['approvals', 'list', '--json'])).stdout)
      id = first?.request.id ?? ''
      return id !== ''
    })
    // Both at once, one at each: one counts, and the other is told.
    const lena = await at(team.broker.https, 'lena', ['dba'])
    const answers = await Promise.all([john.run(['approvals', 'approve', id]), lena.run(['approvals', 'approve', id])])
    const codes = answers.map(each => each.code).sort()
    expect(codes[0]).toBe(0)
    expect([2, 5]).toContain(codes[1]) // by how much it was late
    expect((await answer).rows[0].n).toBeGreaterThan(0)
    await maria.client.end()
    await maria.tunnels.close()
  })

  it('ends at the other what one is told to end', async () => {
    const maria = await connect(await behindDoor('maria', ['eng']))
    const slow = maria.client.query('select pg_sleep(600)').catch((error: unknown) => error)
    const running = `select from pg_stat_activity where usename like 'agentgate%' and query like '%pg_sleep(600)%'`
    await until('it runs', async () => (await server.query(running)).length === 1)
    const sam = await at(other.https, 'sam', ['sec'])
    const ended = await sam.run(['sessions', 'kill', maria.tunnels.session, '--reason', 'laptop lost'])
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(await server.query(running)).toEqual([])
    expect(await slow).toBeInstanceOf(Error)
    const { code, stderr } = await maria.tunnels.running.finished()
    expect(code).toBe(8)
    expect(stderr).toContain('access was ended: laptop lost')
    open.splice(0)
  })

  it('goes on at the other when one is killed', async () => {
    const maria = await connect(await behindDoor('maria', ['eng']))
    await team.broker.kill()
    await door.close()
    door = await startRelay(other.https.replace('https://localhost', '127.0.0.1'), { port: door.port })
    // Its word counts there: what is held after it is approved, and what is ended there ends.
    const john = await at(other.https, 'john', ['dba'])
    const answer = maria.client.query('select count(*)::int as n from payments')
    answer.catch(() => undefined)
    let id = ''
    await until('it waits at the other', async () => {
      const [first] = lines<{ request: { id: string } }>((await john.run(['approvals', 'list', '--json'])).stdout)
      id = first?.request.id ?? ''
      return id !== ''
    })
    expect((await john.run(['approvals', 'approve', id])).code).toBe(0)
    expect((await answer).rows[0].n).toBeGreaterThan(0)
    const sam = await at(other.https, 'sam', ['sec'])
    expect((await sam.run(['sessions', 'kill', maria.tunnels.session])).code).toBe(0)
    expect((await maria.tunnels.running.finished()).code).toBe(8)
    open.splice(0)
    await team.broker.restart()
  }, 90_000)

  it('tells what it does, in numbers, and nothing of whom', async () => {
    const url = team.broker.ready['metrics'] as string
    const metrics = async () => await (await fetch(url)).text()
    const before = await metrics()
    expect(before).toMatch(/^agentgate_store_up 1$/m)
    const maria = await connect(await at(team.broker.https, 'maria', ['eng']))
    const text = await metrics()
    expect(text).toMatch(/^agentgate_grants\{state="active"\} 1$/m)
    expect(text).toMatch(/^agentgate_tunnels 1$/m)
    expect(text).toMatch(/^# TYPE agentgate_call_seconds histogram$/m)
    expect(text).toMatch(/^agentgate_calls_total\{call="openSession",status="200"\} 1$/m)
    expect(text).toMatch(/^agentgate_call_seconds_bucket\{call="openSession",le="\+Inf"\} 1$/m)
    await fetch(url.replace('/metrics', '/v1/grants')).then(({ status }) => expect(status).toBe(404))
    // Every line is one of the text format's (0.0.4), and no label comes from anybody.
    for (const line of text.trimEnd().split('\n'))
      expect(line).toMatch(/^(# (HELP|TYPE) agentgate_\w+ .+|agentgate_\w+(\{(\w+="[\w+.-]*",?)+\})? [0-9.e+-]+)$/)
    expect(text).not.toMatch(/maria|shop|s_[0-9A-Z]{4}|g_[0-9A-Z]{4}|Bearer|ag_store/)
    // On the network it is for those who administer or audit.
    for (const [groups, status] of [
      [['eng'], 403],
      [['sec'], 200],
    ] as const)
      expect((await team.call('GET', '/metrics', await team.token('sam', groups))).status).toBe(status)
    expect((await team.call('GET', '/metrics', undefined)).status).toBe(401)
    await maria.client.end()
    await maria.tunnels.close()
    await until('it is counted', async () => /agentgate_sessions_ended_total\{how="closed"\} 1/.test(await metrics()))
  })

  it('is not ready, refuses what changes something and sends no beats while its store is away', async () => {
    const url = (team.broker.ready['metrics'] as string).replace('/metrics', '')
    const maria = await connect(await at(team.broker.https, 'maria', ['eng']))
    expect((await fetch(`${url}/readyz`)).status).toBe(200)
    await server.query(`alter database ag_store allow_connections off`)
    const cut = `select pg_terminate_backend(pid) from pg_stat_activity where datname = 'ag_store'`
    await server.query(cut)
    await until('it is not ready', async () => (await fetch(`${url}/readyz`)).status === 503)
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/^agentgate_store_up 0$/m)
    const sam = await at(team.broker.https, 'sam', ['sec'])
    const refused = await sam.run(['sessions', 'kill', maria.tunnels.session])
    expect(refused.code).toBe(6)
    expect(refused.stderr).toMatch(/^error: the broker’s store at .* does not answer/)
    expect(refused.stderr).not.toContain('ag_store:store')
    const none = await (await at(team.broker.https, 'maria', ['eng'])).run(['connect', 'shop', '--json'])
    expect(none.code).toBe(6)
    await until(
      'new actions are held',
      async () =>
        await maria.client.query('select 1').then(
          () => false,
          (error: unknown) => error instanceof Error && error.message.includes('the broker is silent'),
        ),
    )
    await server.query(`alter database ag_store allow_connections on`)
    await until(
      'it goes on',
      async () =>
        await maria.client.query('select 1').then(
          () => true,
          () => false,
        ),
    )
    expect((await fetch(`${url}/readyz`)).status).toBe(200)
    await maria.client.end()
    await maria.tunnels.close()
    // Nothing was left of what could not be opened.
    expect(await server.query(`select rolname from pg_roles where rolname like 'agentgate\\_shop%'`)).toEqual([])
  }, 90_000)
})
