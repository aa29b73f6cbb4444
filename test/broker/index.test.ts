import fs from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Place } from '../support/agentgate.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { app, postgres15, startServer } from '../support/servers.ts'
import { RunningBroker } from './running-broker.ts'
import { lines } from './team.ts'

// What a tunnel recorded while its broker was away is in the recording, and has to come into the index all the same.
describeWith('the index of a broker that was away', [postgres15.need], () => {
  const owned = new Owned()
  let broker: RunningBroker
  let machine: Place
  beforeAll(async () => {
    const server = owned.add(await startServer(postgres15))
    const policy = `version: 1
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes: { read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] } }
`
    broker = owned.add(await RunningBroker.start(policy, { ADMIN_URL: server.superuserUrl() }))
    machine = new Place('version: 1\n', { AGENTGATE_BROKER: broker.unix })
  }, 60_000)
  afterAll(async () => await owned.close())

  const run = async (text: string, at: string) => {
    const client = new pg.Client({ connectionString: at })
    client.on('error', () => undefined)
    await client.connect()
    await client.query(text)
    await client.end()
  }
  const found = async (text: string) =>
    lines<{ session: string; text: string }>((await machine.run(['sessions', 'search', text, '--json'])).stdout)
  const marked = (session: string) =>
    fs.existsSync(path.join(machine.home, 'data', 'recordings', session, 'unindexed.json'))

  it('hears of it from the next session on that machine, once, also where the process was killed', async () => {
    const closed = await machine.connect()
    await run(`select 'before'`, closed.tunnel.url)
    await until('it is indexed', async () => (await found('before')).length === 1)
    await broker.kill()
    await run(`select 'waffles while it was away'`, closed.tunnel.url)
    await closed.close()
    expect(marked(closed.session)).toBe(true)
    await broker.restart()
    expect(await found('waffles')).toEqual([])

    const killed = await machine.connect()
    await run(`select 'syrup before the kill'`, killed.tunnel.url)
    killed.running.child.kill('SIGKILL')
    await killed.running.finished()

    const next = await machine.connect()
    await until(
      'both are there',
      async () => (await found('waffles')).length > 0 && (await found('syrup')).length > 0,
      30_000,
    )
    expect(await found('waffles')).toMatchObject([
      { session: closed.session, text: `select 'waffles while it was away'` },
    ])
    expect(await found('syrup')).toMatchObject([{ session: killed.session }])
    expect(await found('before')).toHaveLength(2)
    await until('it is remembered', () => !marked(closed.session) && !marked(killed.session))
    await next.close()
    expect(marked(next.session)).toBe(false)
  }, 90_000)
})
