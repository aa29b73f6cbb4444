import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { DurableRounds } from '../../src/recording/sync/durable-rounds.ts'
import { Place, type Tunnels } from '../support/agentgate.ts'
import { postgres15, startServer } from '../support/servers.ts'
import { describeWith } from '../support/needs.ts'
import { bucket, faultyProxy, s3, s3Environment, S3Server, type Fault } from './s3-server.ts'
import { readAll, temporaryFolder } from './sample.ts'

it('all who come while a round is under way are served by the next one', async () => {
  const ends: (() => void)[] = []
  const rounds = new DurableRounds(async () => await new Promise<void>(resolve => ends.push(resolve)))
  const done: string[] = []
  const wait = async (name: string) => {
    await rounds.reached()
    done.push(name)
  }
  const waiting = [wait('a')]
  await new Promise(setImmediate)
  waiting.push(wait('b'), wait('c'))
  ends[0]?.()
  await waiting[0]
  expect(done).toEqual(['a'])
  await new Promise(setImmediate)
  expect(ends).toHaveLength(2)
  ends[1]?.()
  await Promise.all(waiting)
  expect(done).toEqual(['a', 'b', 'c'])
})

describeWith('durability: bucket', [s3], () => {
  let disk: ReturnType<typeof temporaryFolder>
  let server: S3Server
  let target: http.Server
  let place: Place
  /** Parts that were in the bucket when the target was asked, for each time it was. */
  let there: string[][]
  let refuses: boolean
  let proxy: Awaited<ReturnType<typeof faultyProxy>>

  beforeAll(async () => {
    disk = temporaryFolder()
    server = await S3Server.start(disk.path)
  }, 30_000)
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    disk[Symbol.dispose]()
  })
  beforeEach(async () => {
    refuses = false
    there = []
    proxy = await faultyProxy(server.port, ({ method }): Fault => {
      return refuses && method === 'PUT' ? { kind: 'status', status: 403, code: 'AccessDenied' } : { kind: 'pass' }
    })
    target = http.createServer((_, response) => {
      there.push(segments())
      response.end('hello')
    })
    target.listen(0, '127.0.0.1')
    await new Promise(resolve => target.once('listening', resolve))
    place = new Place(
      `version: 1
resources:
  api:
    kind: http
    address: 127.0.0.1:${(target.address() as AddressInfo).port}
    tls: off
    credential: { issuer: none }
    scopes: { all: {} }
recording: { durability: bucket, sync: { to: "s3://${bucket}/durable", endpoint: "${proxy.endpoint}" } }
`,
      s3Environment,
    )
  })
  afterEach(async () => {
    await proxy[Symbol.asyncDispose]()
    target.closeAllConnections()
    await new Promise(resolve => target.close(resolve))
    fs.rmSync(place.folder, { recursive: true, force: true })
    fs.rmSync(path.join(server.folder, bucket, 'durable'), { recursive: true, force: true })
  })
  const segments = () =>
    (fs.existsSync(path.join(server.folder, bucket, 'durable'))
      ? fs.readdirSync(path.join(server.folder, bucket, 'durable'), { recursive: true, encoding: 'utf8' })
      : []
    ).filter(name => name.endsWith('.segment'))

  async function ask(tunnels: Tunnels, at: string): Promise<{ status: number; text: string }> {
    const url = new URL(`${tunnels.tunnel.url}${at}`)
    const authorization = `Basic ${Buffer.from(`${url.username}:${url.password}`).toString('base64')}`
    url.username = url.password = ''
    const response = await fetch(url, { headers: { authorization } })
    return { status: response.status, text: await response.text() }
  }

  it('has each action in the bucket before the target hears of it', async () => {
    const tunnels = await place.connect(['api'])
    for (const at of ['/one', '/two']) expect((await ask(tunnels, at)).status).toBe(200)
    // What the bucket has when the machine is gone at once: nothing is left to say goodbye.
    tunnels.running.child.kill('SIGKILL')
    await tunnels.running.finished()
    const copy = path.join(server.folder, bucket, 'durable', tunnels.session)
    const { events } = await readAll(copy)
    expect(events.flatMap(({ event }) => (event.kind === 'action' ? [event.view.summary] : []))).toEqual([
      'GET /one',
      'GET /two',
    ])
    expect(there).toHaveLength(2)
    expect(there[1]?.length).toBeGreaterThan(there[0]?.length ?? 0)
    expect(there[0]?.length).toBeGreaterThan(1)
  }, 30_000)

  it('forwards nothing while the bucket refuses, says why, and goes on once it does not', async () => {
    const tunnels = await place.connect(['api'])
    expect((await ask(tunnels, '/one')).status).toBe(200)
    refuses = true
    const refused = await ask(tunnels, '/two')
    expect(refused.status).toBe(503)
    expect(refused.text).toMatch(/cannot record in s3:.*the bucket refuses it \(403 AccessDenied\)/)
    expect(there).toHaveLength(1)
    refuses = false
    expect((await ask(tunnels, '/three')).status).toBe(200)
    await tunnels.close()
    const verified = await place.run(['sessions', 'verify', tunnels.session])
    expect(verified).toMatchObject({ code: 0 })
    const shown = await place.run(['sessions', 'show', tunnels.session])
    expect(shown.stdout).toMatch(/cancelled|not run/)
  }, 60_000)

  it('opens nothing where the bucket is not to be had', async () => {
    refuses = true
    const running = place.start(['connect', 'api', '--json', ...(await place.trusted())])
    const { code, stderr, stdout } = await running.finished()
    expect(code).not.toBe(0)
    expect(`${stdout}${stderr}`).toMatch(/cannot record in s3:.*403 AccessDenied/)
    expect(there).toEqual([])
  }, 60_000)
})

describeWith('durability: bucket, to a folder', [postgres15.need], () => {
  it('has each statement there before it runs, also of many clients at once and in pipelines', async () => {
    await using server = await startServer(postgres15)
    using remote = temporaryFolder()
    const place = new Place(
      `version: 1
resources:
  shop:
    kind: postgres
    address: ${server.address}
    credential: { issuer: static, url: "\${env:APP_URL}" }
    scopes: { all: {} }
recording: { durability: bucket, sync: { to: "file://${remote.path}" } }
`,
      { APP_URL: server.appUrl },
    )
    const tunnels = await place.connect()
    const clients = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const client = new pg.Client({ connectionString: tunnels.tunnel.url, ssl: { rejectUnauthorized: false } })
        client.on('error', () => undefined) // agentgate is killed under it
        await client.connect()
        return client
      }),
    )
    const answers = await Promise.all(
      clients.map(async (client, n) => {
        await client.query('begin')
        await client.query('create temp table t (a int)')
        await client.query('insert into t values ($1), (2)', [n])
        await client.query('commit')
        // Sent without waiting for each other.
        return await Promise.all(
          [1, 2, 3].map(async one => (await client.query('select sum(a) + $1 as s from t', [one])).rows),
        )
      }),
    )
    expect(answers).toEqual(clients.map((_, n) => [1, 2, 3].map(one => [{ s: String(n + 2 + one) }])))
    tunnels.running.child.kill('SIGKILL')
    await tunnels.running.finished()
    const { events } = await readAll(path.join(remote.path, tunnels.session))
    const texts = events.flatMap(({ event }) => (event.kind === 'action' ? [event.view.text] : []))
    expect(texts.filter(text => text.startsWith('select sum'))).toHaveLength(12)
    expect(texts.filter(text => text === 'commit')).toHaveLength(4)
    await Promise.all(clients.map(async client => await client.end().catch(() => undefined)))
    fs.rmSync(place.folder, { recursive: true, force: true })
  }, 60_000)
})
