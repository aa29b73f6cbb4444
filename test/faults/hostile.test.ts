import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import tls from 'node:tls'
import { spawnSync } from 'node:child_process'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SqlClient } from '../../src/demo/sql-client.ts'
import { Secret } from '../../src/secret.ts'
import { Place, shopEnvironment, shopPolicy, type Tunnels } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { postgres18, query, startServer, type TestServer } from '../support/servers.ts'

describe('a hostile environment', () => {
  for (const options of ['--require', '--import', '--inspect', '--experimental-loader', '-r'])
    it(`cannot load code by NODE_OPTIONS=${options}`, async () => {
      const place = new Place('version: 1\n')
      const mark = path.join(place.folder, 'loaded')
      const code = path.join(place.folder, 'evil.cjs')
      writeFileSync(code, `require('node:fs').writeFileSync(${JSON.stringify(mark)}, '')`)
      const value = options === '--inspect' ? '--inspect=127.0.0.1:0' : `${options} ${code}`
      const end = await place.run(['status'], { env: { NODE_OPTIONS: value } })
      expect(end.code).toBe(2)
      expect(end.stderr).toMatch(/^error: NODE_OPTIONS holds /)
      expect(end.stderr).toMatch(/^hint: /m)
      expect(existsSync(mark)).toBe(false)
    })
})

describeWith('a server with another certificate', [program('openssl')], () => {
  it('gets nothing, whatever NODE_TLS_REJECT_UNAUTHORIZED says', async () => {
    const folder = newFolder('tls')
    const [key, certificate] = [path.join(folder, 'key'), path.join(folder, 'certificate')]
    const made = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-keyout', key, '-out', certificate],
    ])
    expect(made.status).toBe(0)
    let clear = 0
    const server = net.createServer(socket => {
      socket.on('error', () => undefined)
      socket.once('data', () => {
        socket.write('S')
        const secure = new tls.TLSSocket(socket, {
          isServer: true,
          key: readFileSync(key),
          cert: readFileSync(certificate),
        })
        secure.on('error', () => undefined)
        secure.on('data', (data: Buffer) => (clear += data.length))
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    const policy = shopPolicy({ address: `127.0.0.1:${port}` }).replace('tls: off', 'tls: verify-full')
    const place = new Place(policy, { ...shopEnvironment, NODE_TLS_REJECT_UNAUTHORIZED: '0' })
    const end = await place.run(['connect', 'shop', ...(await place.trusted())])
    server.close()
    expect(end.code).toBe(6)
    expect(end.stderr).toMatch(/^error: shop: TLS .*(certificate|CERT)/m)
    expect(clear).toBe(0)
  })
})

describeWith('a hostile program on this machine', [postgres18.need], () => {
  const owned = new Owned()
  let server: TestServer
  let tunnels: Tunnels
  beforeAll(async () => {
    server = owned.add(await startServer(postgres18))
    tunnels = owned.add(await new Place(shopPolicy(server), shopEnvironment).connect())
  })
  afterAll(async () => await owned.close())

  /** Sends bytes, and gives what came back until the other end hung up or nothing more came. */
  async function send(bytes: Buffer, waitMs = 5000): Promise<{ answer: Buffer; ended: boolean }> {
    const { hostname, port } = new URL(tunnels.tunnel.url)
    const socket = net.connect({ host: hostname, port: Number(port) })
    const chunks: Buffer[] = []
    let ended = false
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => (ended = true))
    await once(socket, 'connect')
    socket.write(bytes)
    await until('it hangs up', () => ended, waitMs).catch(() => undefined)
    socket.destroy()
    return { answer: Buffer.concat(chunks), ended }
  }

  async function stillServes(): Promise<void> {
    expect(await query(tunnels.tunnel.url, 'select 1 as one')).toEqual([{ one: 1 }])
    expect(tunnels.running.child.exitCode).toBe(null)
    expect(tunnels.running.stderr()).toBe('')
  }

  const startup = (length: number, code: number, rest = Buffer.alloc(0)) => {
    const head = Buffer.alloc(8)
    head.writeUInt32BE(length >>> 0)
    head.writeUInt32BE(code, 4)
    return Buffer.concat([head, rest])
  }
  const protocol3 = 196_608

  for (const [name, bytes] of [
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['nothing but zeroes', Buffer.alloc(64)],
    ['a start of 2 GB', startup(0x7fff_ffff, protocol3)],
    ['a start of negative length', startup(0xffff_ffff, protocol3)],
    ['a start that is too short', startup(4, protocol3)],
    ['an unknown protocol', startup(8, 0x0009_0000)],
    ['parameters without an end', startup(40, protocol3, Buffer.alloc(32, 0x61))],
    ['no user', startup(9, protocol3, Buffer.from([0]))],
    ['a query before a login', Buffer.concat([Buffer.from('Q'), startup(20, 0x7365_6c65, Buffer.from('ct 1;\0'))])],
    ['TLS that is none', Buffer.from('16030100050100000100', 'hex')],
    ['random bytes', Buffer.from(Array.from({ length: 4096 }, (_, n) => (n * 7919 + 13) & 0xff))],
  ] as const)
    it(`sends ${name}: hears an error or nothing, learns nothing, and others are served`, async () => {
      const { answer, ended } = await send(bytes, 12_000)
      expect(ended).toBe(true)
      expect(answer.toString('latin1')).not.toMatch(/node|\.js|\.ts|stack|app password|ag_/i)
      await stillServes()
    })

  it('opens connections and says nothing: others are served', async () => {
    const { hostname, port } = new URL(tunnels.tunnel.url)
    const idle = Array.from({ length: 40 }, () => net.connect({ host: hostname, port: Number(port) }))
    for (const socket of idle) socket.on('error', () => undefined)
    await Promise.all(idle.map(async socket => await once(socket, 'connect')))
    await stillServes()
    for (const socket of idle) socket.destroy()
  })

  it('knows no secret: takes no place of those that the policy has room for', { timeout: 60_000 }, async () => {
    const place = new Place(shopPolicy(server, { resource: 'limits: { connections: 1 }\n' }), shopEnvironment)
    await using limited = await place.connect()
    const { hostname, port } = new URL(limited.tunnel.url)
    const idle = Array.from({ length: 5 }, () => net.connect({ host: hostname, port: Number(port) }))
    for (const socket of idle) socket.on('error', () => undefined)
    await Promise.all(idle.map(async socket => await once(socket, 'connect')))
    const guess = new URL(limited.tunnel.url)
    guess.password = 'guess'
    await expect(query(guess.href, 'select 1')).rejects.toMatchObject({ code: '28P01' })

    const first = new pg.Client({ connectionString: limited.tunnel.url })
    await first.connect()
    expect((await first.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    await expect(query(limited.tunnel.url, 'select 1')).rejects.toThrow(/takes 1 connection at once/)
    expect((await first.query('select 2 as two')).rows).toEqual([{ two: 2 }])
    await first.end()
    let answer: unknown
    await until('the place is free', async () => {
      answer = await query(limited.tunnel.url, 'select 3 as three').catch(() => undefined)
      return answer !== undefined
    })
    expect(answer).toEqual([{ three: 3 }])
    for (const socket of idle) socket.destroy()
  })

  it('does not know the secret: is told so in its own protocol, without a word on what is right', async () => {
    const url = new URL(tunnels.tunnel.url)
    url.password = 'guess'
    await expect(query(url.href, 'select 1')).rejects.toMatchObject({ code: '28P01' })
    url.username = 'postgres'
    await expect(query(url.href, 'select 1')).rejects.toMatchObject({ code: '28P01' })
    await stillServes()
  })

  it('asks for another database: is refused', async () => {
    const url = new URL(tunnels.tunnel.url)
    url.pathname = '/postgres'
    await expect(query(url.href, 'select 1')).rejects.toThrow()
    await stillServes()
  })

  for (const [name, bytes] of [
    ['a message of 2 GB', Buffer.from([0x51, 0x7f, 0xff, 0xff, 0xff, 0x61])],
    ['a message of negative length', Buffer.from([0x51, 0xff, 0xff, 0xff, 0xff])],
    ['a message of length 3', Buffer.from([0x51, 0, 0, 0, 3])],
    ['an unknown message', Buffer.from([0x01, 0, 0, 0, 4])],
    ['a query without an end', Buffer.concat([Buffer.from([0x51, 0, 0, 0, 12]), Buffer.from('select 1')])],
    ['a parse with a count that is not there', Buffer.from([0x50, 0, 0, 0, 10, 0, 0x61, 0, 0x7f, 0xff, 0])],
    ['rows that nobody asked for', Buffer.from([0x64, 0, 0, 0, 5, 0x61, 0x44, 0, 0, 0, 6, 0, 1])],
  ] as const)
    it(`sends ${name} after its login: that connection ends or goes on by the rules, others are served`, async () => {
      const before = resident()
      const client = await rawLogin(tunnels.tunnel.url)
      client.write(bytes)
      client.end()
      await until('the connection ends', () => client.destroyed || client.readableEnded, 10_000)
      await stillServes()
      expect(resident() - before).toBeLessThan(150)
    })

  function resident(): number {
    const status = readFileSync(`/proc/${tunnels.running.child.pid ?? 0}/status`, 'utf8')
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
  }

  it('sends SIGUSR1: no inspector opens', async () => {
    tunnels.running.child.kill('SIGUSR1')
    await stillServes()
    expect(tunnels.running.stderr()).not.toMatch(/Debugger/)
  })

  it('nests a statement without end: is refused, the session goes on', { timeout: 60_000 }, async () => {
    const client = await SqlClient.connect(new Secret(tunnels.tunnel.url))
    const deep = await client.query(`select ${'('.repeat(50_000)}1${')'.repeat(50_000)}`)
    expect(deep.error?.get('C')).toMatch(/^(54|42|0A)/)
    expect((await client.query('select 1')).rows).toEqual([['1']])
    client.close()
    await stillServes()
  })
})

/** A connection that has logged in, its bytes the caller's to write. */
async function rawLogin(url: string): Promise<net.Socket> {
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  const { stream } = (client as unknown as { connection: { stream: net.Socket } }).connection
  return stream
}
