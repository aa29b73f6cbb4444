import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { Place, type Tunnels } from '../support/agentgate.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { app, postgres15, startServer, type TestServer } from '../support/servers.ts'
import { lines } from './team.ts'

const roles = `select rolname from pg_roles where rolname like 'agentgate\\_%' and rolcanlogin`

/** Processes of the broker that started by itself in this home. */
function brokersOf(place: Place): readonly number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0broker\0--own\0') &&
          readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`AGENTGATE_HOME=${place.home}\0`)
        )
      } catch {
        return false // it ended meanwhile
      }
    })
    .map(Number)
}

// Nobody has named or started a broker: one person, their connect, and what they would expect to work.
describeWith('a broker that starts by itself', [postgres15.need], () => {
  const owned = new Owned()
  let server: TestServer
  let place: Place
  let control: string
  const open: Tunnels[] = []

  beforeAll(async () => {
    server = owned.add(await startServer(postgres15))
    place = new Place(
      `version: 1
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes: { read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] } }
`,
      { AGENTGATE_BROKER: '', ADMIN_URL: server.superuserUrl() },
    )
    control = path.join(place.home, 'run', 'broker', 'control.sock')
  })
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close()
  })
  afterAll(async () => {
    for (const pid of brokersOf(place)) process.kill(pid, 'SIGTERM')
    await until('it is gone', () => brokersOf(place).length === 0)
    expect(existsSync(control)).toBe(false)
    await owned.close()
  })

  const connect = async () => {
    const tunnels = await place.connect()
    open.push(tunnels)
    return tunnels
  }
  const listed = async (...more: string[]) => lines((await place.run(['grants', 'list', '--json', ...more])).stdout)
  const known = async (tunnels: Tunnels) => {
    await until('it is listed', async () => (await listed()).some(each => each['session'] === tunnels.session), 60_000)
    const all = await listed()
    return all.find(each => each['session'] === tunnels.session)!
  }

  it('is started by the first session, one for all, on sockets of its user alone', async () => {
    const [one, two] = await Promise.all([connect(), connect()])
    await Promise.all([known(one), known(two)])
    await until('one is left of those that started together', () => brokersOf(place).length === 1)
    for (const name of ['control.sock', 'session.sock'])
      expect(statSync(path.join(path.dirname(control), name)).mode & 0o777).toBe(0o600)
    const environ = readFileSync(`/proc/${brokersOf(place)[0]}/environ`, 'utf8')
    expect(environ).not.toContain('ADMIN_URL')
    const log = path.join(place.home, 'state', 'log', 'own-broker.log')
    expect(readFileSync(log, 'utf8')).not.toContain(server.superuserUrl())
  }, 120_000)

  it('ends a session by word, at the tunnel and at the target', async () => {
    for (const what of ['grant', 'session'] as const) {
      const tunnels = await connect()
      const psql = new pg.Client({ connectionString: tunnels.tunnel.url })
      psql.on('error', () => undefined)
      await psql.connect()
      const slow = psql.query('select pg_sleep(600)').catch((error: unknown) => error)
      const row = await known(tunnels)
      const command = what === 'grant' ? ['grants', 'revoke'] : ['sessions', 'kill']
      const ended = await place.run([...command, row[what]!, '--reason', 'laptop lost'])
      expect(ended).toMatchObject({ code: 0, stderr: '' })
      expect(await server.query(roles)).toEqual([])
      expect(await slow).toBeInstanceOf(Error)
      const { code, stderr } = await tunnels.running.finished()
      expect(code).toBe(8)
      expect(stderr).toContain('access was ended: laptop lost')
      open.splice(0)
    }
  }, 120_000)

  it('ends what a killed tunnel left', async () => {
    const tunnels = await connect()
    await known(tunnels)
    tunnels.running.child.kill('SIGKILL')
    await tunnels.running.finished()
    open.splice(0)
    await until('the role is gone', async () => (await server.query(roles)).length === 0, 60_000)
    expect(await listed()).toEqual([])
    expect((await listed('--all')).find(each => each['session'] === tunnels.session)).toMatchObject({
      reason: 'its tunnel has not been heard of',
    })
  }, 120_000)

  it('is started again when it dies, and takes its grants up', async () => {
    const tunnels = await connect()
    const before = await known(tunnels)
    for (const pid of brokersOf(place)) process.kill(pid, 'SIGKILL')
    await until('another runs', () => brokersOf(place).length === 1, 60_000)
    expect(await known(tunnels)).toEqual(before)
    // Its tunnel went on meanwhile, and its word counts again.
    expect((await place.run(['sessions', 'kill', tunnels.session])).code).toBe(0)
    expect((await tunnels.running.finished()).code).toBe(8)
    expect(await server.query(roles)).toEqual([])
    open.splice(0)
  }, 120_000)

  it('lists nothing that was closed', async () => {
    const tunnels = await connect()
    await known(tunnels)
    await tunnels.close()
    open.splice(0)
    await until('it is not listed', async () => (await listed()).length === 0)
    expect(await server.query(roles)).toEqual([])
  }, 120_000)

  it('lets session.sock look and ask, and nothing else', async () => {
    await listed()
    const call = async (socket: string, method: string, route: string, body?: object) =>
      await new Promise<number>((resolve, reject) => {
        const socketPath = path.join(path.dirname(control), socket)
        const request = http.request({ socketPath, method, path: route }, response => {
          response.resume()
          response.on('end', () => resolve(response.statusCode ?? 0))
        })
        request.on('error', reject)
        request.end(body === undefined ? undefined : JSON.stringify(body))
      })
    for (const [method, route, body] of [
      ['POST', '/v1/sessions', {}],
      ['POST', '/v1/own/sessions', {}],
      ['POST', '/v1/own/retire', {}],
      ['POST', '/v1/approvals/a_000000', { outcome: 'approve' }],
      ['POST', '/v1/principals/suspend', { principal: 'x', reason: 'y' }],
      ['POST', '/v1/grants/g_0000000000/revoke', { reason: 'y' }],
      ['GET', '/v1/principals', undefined],
      ['GET', '/metrics', undefined],
    ] as const)
      expect({ route, status: await call('session.sock', method, route, body) }).toEqual({ route, status: 403 })
    expect(await call('session.sock', 'GET', '/v1/grants')).toBe(200)
    expect(await call('session.sock', 'GET', '/v1/own')).toBe(400) // what its owner's processes say is not said here
    expect(await call('control.sock', 'POST', '/v1/own/sessions', {})).toBe(400)
  })

  it('is not started where nobody wants one', async () => {
    for (const env of [{ CI: 'true' }, { AGENTGATE_BROKER: 'none' }]) {
      const alone = new Place('version: 1\n', { AGENTGATE_BROKER: '' })
      expect((await alone.run(['grants', 'list'], { env })).stderr).toContain('there is no broker here')
      expect(brokersOf(alone)).toEqual([])
    }
  })

  it('makes way for a newer one where it has nothing to do', async () => {
    expect((await place.run(['grants', 'list'])).code).toBe(0)
    const [before] = brokersOf(place)
    const socketPath = control
    const retired = await new Promise<string>((resolve, reject) => {
      const request = http.request({ socketPath, method: 'POST', path: '/v1/own/retire' }, response => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => resolve(text))
      })
      request.on('error', reject)
      request.end('{}')
    })
    expect(JSON.parse(retired)).toEqual({ retired: true })
    await until('it is gone', () => !brokersOf(place).includes(before!))
    const tunnels = await connect()
    await known(tunnels)
    // With something to do it stays.
    const stays = await new Promise<string>((resolve, reject) => {
      const request = http.request({ socketPath, method: 'POST', path: '/v1/own/retire' }, response => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => resolve(text))
      })
      request.on('error', reject)
      request.end('{}')
    })
    expect(JSON.parse(stays)).toEqual({ retired: false })
  }, 120_000)
})
