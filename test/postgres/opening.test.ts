import { existsSync } from 'node:fs'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import tls from 'node:tls'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Place, shopEnvironment, shopPolicy, type Tunnels } from '../support/agentgate.ts'
import { describeWith, program, type Need } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { runProgram } from '../support/processes.ts'
import { postgres18, query, startServer, type TestServer } from '../support/servers.ts'

// The ways in which clients open a connection, old and new (PG 18 docs §54.2).

const request = (code: number) => {
  const packet = Buffer.alloc(8)
  packet.writeUInt32BE(8)
  packet.writeUInt32BE(code, 4)
  return packet
}
const sslRequest = request(80_877_103)
const gssRequest = request(80_877_104)

const linux: Need = { name: 'Linux', missing: process.platform === 'linux' ? undefined : 'libpq is linked otherwise' }

describeWith('a connection to a tunnel', [postgres18.need], () => {
  const owned = new Owned()
  let server: TestServer
  let tunnels: Tunnels
  let port: number
  beforeAll(async () => {
    server = owned.add(await startServer(postgres18))
    tunnels = owned.add(await new Place(shopPolicy(server), shopEnvironment).connect())
    port = Number(new URL(tunnels.tunnel.url).port)
  })
  afterAll(async () => await owned.close())

  async function open(): Promise<net.Socket> {
    const socket = net.connect({ host: '127.0.0.1', port })
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    return socket
  }

  async function answerTo(socket: net.Socket, packet: Buffer): Promise<string> {
    const answered = once(socket, 'data')
    socket.write(packet)
    return ((await answered) as [Buffer])[0].toString('latin1')
  }

  it('opens with GSSENCRequest, then asks for TLS, on one socket', async () => {
    const socket = await open()
    expect(await answerTo(socket, gssRequest)).toBe('N')
    expect(await answerTo(socket, sslRequest)).toBe('S')
    const secure = tls.connect({ socket, rejectUnauthorized: false })
    await once(secure, 'secureConnect')
    expect(secure.getProtocol()).toMatch(/TLSv1\.[23]/)
    secure.destroy()
  })

  it('opens with TLS at once, as libpq 17 does', async () => {
    const secure = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['postgresql'] })
    await once(secure, 'secureConnect')
    expect(secure.alpnProtocol).toBe('postgresql')
    secure.destroy()
  })

  it('is not taken for a client of it where TLS speaks of another protocol', async () => {
    const secure = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['h2'] })
    const [end] = (await Promise.race([once(secure, 'error'), once(secure, 'close')])) as [unknown]
    expect(end).toBeDefined()
    secure.destroy()
  })

  it('takes no bytes that came before TLS for what came in it', async () => {
    // CVE-2021-23222: what an attacker puts behind the request must not be read as the client's.
    const socket = await open()
    const closed = once(socket, 'close')
    socket.write(Buffer.concat([sslRequest, Buffer.from('Q\0\0\0\x0dselect 1\0')]))
    socket.resume()
    await closed
  })

  it('cancels nothing with a key that is not its own', async () => {
    const running = query(tunnels.tunnel.url, 'select pg_sleep(1), 7 as seven')
    const socket = await open()
    const packet = Buffer.alloc(16)
    packet.writeUInt32BE(16)
    packet.writeUInt32BE(80_877_102, 4)
    packet.writeUInt32BE(1, 8)
    socket.end(packet)
    await once(socket, 'close')
    expect((await running)[0]?.['seven']).toBe(7)
  })

  describeWith('by psql', [program('psql', 'apt-get install postgresql-client-15'), linux], () => {
    const psql = async (parameters: Readonly<Record<string, string>>, newest: boolean) => {
      const url = new URL(tunnels.tunnel.url)
      for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
      const lib = path.join(server.socketDir, '..', 'server', 'lib')
      expect(existsSync(lib)).toBe(true)
      const end = await runProgram('psql', ['-X', '-At', '-c', "select 'in'", url.href], {
        env: {
          PATH: `/usr/lib/postgresql/15/bin:${process.env['PATH'] ?? ''}`,
          ...(newest ? { LD_LIBRARY_PATH: lib } : {}),
        },
      })
      return end.stdout.trim() || end.stderr
    }
    for (const [name, parameters, newest] of [
      ['libpq 15, gssencmode=prefer', { gssencmode: 'prefer' }, false],
      ['libpq 15, sslmode=require', { sslmode: 'require' }, false],
      ['libpq 15, sslmode=prefer', { sslmode: 'prefer' }, false],
      ['libpq 15, channel binding', { sslmode: 'require', channel_binding: 'require' }, false],
      ['libpq 18', {}, true],
      ['libpq 18, direct TLS', { sslmode: 'require', sslnegotiation: 'direct' }, true],
      ['libpq 18, protocol 3.2', { min_protocol_version: '3.2', max_protocol_version: 'latest' }, true],
      ['libpq 18, protocol 3.0', { max_protocol_version: '3.0' }, true],
      ['libpq 18, SCRAM only', { require_auth: 'scram-sha-256' }, true],
    ] as const)
      it(`with ${name} gets in`, async () => expect(await psql(parameters, newest)).toBe('in'))
  })
})
