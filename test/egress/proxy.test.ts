import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import path from 'node:path'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { asResourceName, asScopeName, connectionId, newSessionId } from '../../src/ids.ts'
import { resourceSchema, type EgressAction } from '../../src/protocols/egress/action.ts'
import { egressBy } from '../../src/protocols/egress/egress.ts'
import type { Context, Decision } from '../../src/protocols/protocol.ts'
import type { RecordedEvent } from '../../src/recording/event.ts'
import { Secret } from '../../src/secret.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'

const secret = 'ag_proxy-secret-0123456789'
const credential = `Basic ${Buffer.from(`agentgate:${secret}`).toString('base64')}`

/** The proxy as a session would serve it, with a resolver and a decision of the test's own. */
class Proxy {
  readonly events: RecordedEvent[] = []
  readonly refused: string[] = []
  readonly asked: EgressAction[] = []
  readonly resolved: string[] = []
  readonly ended = new AbortController()
  names: Record<string, readonly string[]> = {}
  verdict: 'allow' | 'deny' = 'allow'
  port = 0
  #server: net.Server | undefined

  async open(settings: unknown): Promise<void> {
    const protocol = egressBy(async host => {
      this.resolved.push(host)
      const found = this.names[host]
      if (found === undefined) throw new Error('ENOTFOUND')
      return found
    })
    const connection = connectionId(1)
    const context: Context = {
      session: newSessionId(),
      connection,
      subject: {
        principal: { name: 'maria', groups: [], source: 'os-user' },
        actor: null,
        confined: true,
        purpose: null,
        ticket: null,
      },
      resource: {
        name: asResourceName('web')!,
        kind: 'egress',
        address: 'some hosts',
        tls: { mode: 'off', name: undefined, ca: undefined },
        settings: resourceSchema.parse(settings),
        scope: { name: asScopeName('all')!, settings: {} },
        credential: { issuer: 'none', user: null, secret: null, certificate: null, expiresAt: null },
      },
      clientSecret: new Secret(secret),
      signal: this.ended.signal,
      generation: 1,
      masks: () => [],
      commit: () => undefined,
      record: event => void this.events.push(event),
      upstream: () => Promise.reject(new Error('egress has no target of its own')),
      denies: () => false,
      asks: () => false,
      shapes: new Set<string>(),
      refuse: (_, message) => this.refused.push(message),
      decide: action => {
        this.asked.push(action as unknown as EgressAction)
        const rule = { name: 'not there', place: 'agentgate.yaml:9' }
        const decision: Decision =
          this.verdict === 'deny'
            ? { kind: 'deny', code: 'DENIED', message: 'nobody goes there', rule, hint: undefined, event: 1 }
            : { kind: 'allow', action, edited: false, approval: null, rule: null, masks: [], event: 1 }
        return decision as Decision<typeof action>
      },
    }
    this.#server = net.createServer({ allowHalfOpen: true }, client => void protocol.accept(client, context))
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
  }

  get outcomes() {
    return this.events.flatMap(event => (event.kind === 'outcome' ? [[event.status, event.tag] as const] : []))
  }

  get notes() {
    return this.events.flatMap(event => (event.kind === 'note' ? [event.text] : []))
  }

  /** Sends these bytes and gives all that comes back. */
  async raw(text: string): Promise<string> {
    const socket = net.connect(this.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(text)
    let said = ''
    socket.setEncoding('latin1').on('data', (part: string) => (said += part))
    await once(socket, 'close')
    return said
  }

  /** A tunnel through CONNECT: the socket once it stands, or the refusal's status line. */
  async connect(target: string, headers = `Host: ${target}\r\nProxy-Authorization: ${credential}\r\n`) {
    const socket = net.connect(this.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(`CONNECT ${target} HTTP/1.1\r\n${headers}\r\n`)
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    const line = chunk.toString('latin1').split('\r\n')[0] ?? ''
    if (!line.includes(' 200 ')) socket.destroy()
    return { socket, line, text: chunk.toString('latin1') }
  }

  close(): void {
    this.ended.abort()
    this.#server?.close()
  }
}

describeWith('the egress proxy', [program('openssl')], () => {
  const servers: (http.Server | net.Server)[] = []
  const ports = { plain: 0, secure: 0, other: 0 }
  let ca = ''
  let reached: string[] = []
  let proxy: Proxy

  beforeAll(async () => {
    const folder = newFolder('egress')
    execFileSync(
      'openssl',
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=good.test -addext subjectAltName=DNS:good.test,DNS:evil.test,IP:127.0.0.1'.split(
        ' ',
      ),
      { cwd: folder, stdio: 'pipe' },
    )
    ca = readFileSync(path.join(folder, 'cert.pem'), 'utf8')
    const answer: http.RequestListener = (request, response) => {
      reached.push(`${request.method ?? ''} ${request.headers.host ?? ''}${request.url ?? ''}`)
      response.setHeader('x-seen', Object.keys(request.headers).sort().join(','))
      request.pipe(response)
      if (request.method === 'GET') response.end('hello')
    }
    const listen = async (server: http.Server | net.Server) => {
      servers.push(server.listen(0, '127.0.0.1'))
      await once(server, 'listening')
      return (server.address() as AddressInfo).port
    }
    ports.plain = await listen(http.createServer(answer))
    ports.other = await listen(http.createServer(answer))
    ports.secure = await listen(
      https.createServer({ key: readFileSync(path.join(folder, 'key.pem')), cert: ca }, answer),
    )
  })
  afterAll(() => servers.forEach(server => server.close()))

  beforeEach(async () => {
    reached = []
    proxy = new Proxy()
    proxy.names = {
      'good.test': ['127.0.0.1'],
      'inside.test': ['10.0.0.1'],
      'both.test': ['1.1.1.1', '169.254.169.254'],
    }
    await proxy.open({
      hosts: [
        `good.test:${ports.secure}`,
        `good.test:${ports.plain}`,
        `127.0.0.1:${ports.secure}`,
        'inside.test',
        'both.test',
        'gone.test',
      ],
      addresses: ['127.0.0.0/8'],
    })
  })
  afterEach(() => proxy.close())

  const secure = async (socket: net.Socket, servername: string | undefined) => {
    const client = tls.connect({
      socket,
      ca,
      ...(servername === undefined ? { host: '127.0.0.1' } : { servername }),
    })
    await once(client, 'secureConnect')
    return client
  }
  const get = async (client: tls.TLSSocket, host: string) => {
    client.write(`GET /through HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    let said = ''
    for await (const part of client) said += String(part)
    return said
  }
  const plain = (target: string, host: string, more = `Proxy-Authorization: ${credential}\r\n`) =>
    proxy.raw(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`)

  describe('with CONNECT', () => {
    it('carries TLS to a listed host, and records how much', async () => {
      const { socket } = await proxy.connect(`good.test:${ports.secure}`)
      expect(await get(await secure(socket, 'good.test'), 'good.test')).toContain('hello')
      socket.destroy()
      await expect.poll(() => proxy.outcomes.length).toBe(1)
      expect(proxy.asked).toMatchObject([{ host: 'good.test', addresses: ['127.0.0.1'], request: { kind: 'tls' } }])
      expect(proxy.outcomes).toEqual([['ok', expect.stringMatching(/^\d+ bytes sent, \d+ received$/)]])
    })

    it('goes to an address that is listed as one, where TLS names nobody', async () => {
      const { socket } = await proxy.connect(`127.0.0.1:${ports.secure}`)
      expect(await get(await secure(socket, undefined), 'x')).toContain('hello')
    })

    it.each([
      ['a host that is not listed', () => 'evil.test:443', /not among the hosts/],
      ['another port', () => `good.test:${ports.other}`, /not among the hosts/],
      ['the same host by number', () => `127.0.0.1:${ports.plain}`, /not among the hosts/],
      ['a listed name that leads inside', () => 'inside.test:443', /leads to 10\.0\.0\.1/],
      ['a name of which one address is a cloud’s metadata', () => 'both.test:443', /169\.254\.169\.254/],
    ])('refuses %s', async (_, target, why) => {
      const { line, text } = await proxy.connect(target())
      expect(line).toBe('HTTP/1.1 403 Forbidden')
      expect(text).toMatch(why)
      expect(proxy.refused).toEqual([expect.stringMatching(why)])
      expect(proxy.asked).toEqual([])
    })

    it('never resolves a name that is not listed: a name itself can carry data out', async () => {
      await proxy.connect('c2VjcmV0.evil.test:443')
      expect(proxy.resolved).toEqual([])
    })

    it.each([
      ['needs its secret', () => '', /^HTTP\/1\.1 407 /],
      ['needs the right secret', () => `Proxy-Authorization: Basic ${btoa('agentgate:wrong')}\r\n`, /^HTTP\/1\.1 407 /],
      [
        'takes no Host that says otherwise',
        () => `Host: evil.test:443\r\nProxy-Authorization: ${credential}\r\n`,
        /403/,
      ],
    ])('%s', async (_, headers, status) => {
      expect((await proxy.connect(`good.test:${ports.secure}`, headers())).line).toMatch(status)
      expect(proxy.resolved).toEqual([])
    })

    it('does what the policy’s rules say', async () => {
      proxy.verdict = 'deny'
      const { line, text } = await proxy.connect(`good.test:${ports.secure}`)
      expect([line, text]).toEqual(['HTTP/1.1 403 Forbidden', expect.stringContaining('nobody goes there')])
      expect(reached).toEqual([])
    })

    it.each([
      ['TLS that names another host', 'evil.test', /names another host/],
      ['TLS that names nobody', undefined, /names no host/],
    ])('breaks off %s', async (_, servername, why) => {
      const { socket } = await proxy.connect(`good.test:${ports.secure}`)
      await expect(secure(socket, servername)).rejects.toThrow(/unrecognized name/i)
      expect(proxy.notes).toEqual([expect.stringMatching(why)])
      expect(proxy.outcomes).toMatchObject([['error', expect.stringMatching(why)]])
      expect(reached).toEqual([])
    })

    it('breaks off what is not TLS', async () => {
      const { socket } = await proxy.connect(`good.test:${ports.plain}`)
      socket.write('GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n')
      await once(socket.resume(), 'close')
      expect(reached).toEqual([])
      expect(proxy.notes).toEqual([expect.stringMatching(/must be TLS/)])
    })

    it('takes a hello byte by byte', async () => {
      const { socket } = await proxy.connect(`good.test:${ports.secure}`)
      const write = socket.write.bind(socket)
      socket.write = (chunk: Buffer, ...more: never[]) => {
        for (const byte of chunk.subarray(0, -1)) write(Buffer.from([byte]))
        return write(chunk.subarray(-1), ...more)
      }
      socket.setNoDelay(true)
      expect(await get(await secure(socket, 'good.test'), 'good.test')).toContain('hello')
    })

    it('says when nobody answers', async () => {
      expect((await proxy.connect('gone.test:443')).line).toBe('HTTP/1.1 502 Bad Gateway')
    })

    it('ends with the session', async () => {
      const { socket } = await proxy.connect(`good.test:${ports.secure}`)
      const client = await secure(socket, 'good.test')
      proxy.ended.abort()
      await once(client.resume(), 'close')
      await expect.poll(() => proxy.outcomes.length).toBe(1)
    })
  })

  describe('with plain requests', () => {
    const url = () => `http://good.test:${ports.plain}/a?b=1`
    const host = () => `good.test:${ports.plain}`

    it('passes them on to a listed host, without what is between client and proxy', async () => {
      const said = await plain(
        url(),
        host(),
        `Proxy-Authorization: ${credential}\r\nX-Mine: 1\r\nProxy-Connection: close\r\n`,
      )
      expect(said).toMatch(/^HTTP\/1\.1 200 /)
      expect(said).toContain('hello')
      expect(said).toContain('x-seen: connection,host,x-mine')
      expect(reached).toEqual([`GET ${host()}/a?b=1`])
      expect(proxy.asked).toMatchObject([{ request: { kind: 'http', method: 'GET', path: '/a?b=1' } }])
      expect(proxy.outcomes).toEqual([['ok', '200']])
    })

    it('carries bodies both ways', async () => {
      const body = 'x'.repeat(300_000)
      const said = await proxy.raw(
        `POST ${url()} HTTP/1.1\r\nHost: ${host()}\r\nProxy-Authorization: ${credential}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      )
      expect(said.match(/x{50,}/g)?.join('').length).toBeGreaterThan(290_000)
      expect(reached).toEqual([`POST ${host()}/a?b=1`])
    })

    it('decides on each request of a connection', async () => {
      const one = (name: string, last: string) =>
        `GET http://${name}/ HTTP/1.1\r\nHost: ${name}\r\nProxy-Authorization: ${credential}\r\n${last}\r\n`
      const said = await proxy.raw(one(host(), '') + one('evil.test', 'Connection: close\r\n'))
      expect(said.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 403'])
      expect(reached).toEqual([`GET ${host()}/`])
    })

    it.each<[string, () => string, () => string, RegExp]>([
      ['a host that is not listed', () => 'http://evil.test/', () => 'evil.test', /403/],
      ['a Host header that names another', url, () => 'evil.test', /403/],
      ['a Host header that names another port', url, () => `good.test:${ports.other}`, /403/],
      ['a URL with a user in it', () => `http://u@good.test:${ports.plain}/`, host, /400/],
      ['a request to itself', () => '/', host, /400/],
      ['https without CONNECT', () => `https://good.test:${ports.secure}/`, host, /400/],
    ])('refuses %s', async (_, target, name, status) => {
      expect(await plain(target(), name())).toMatch(new RegExp(`^HTTP/1\\.1 ${status.source}`))
      expect(reached).toEqual([])
    })

    it.each([
      ['two Host headers', () => `Host: ${host()}\r\nHost: evil.test\r\n`],
      ['no secret', () => ''],
      [
        'a length said twice',
        () => `Proxy-Authorization: ${credential}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n`,
      ],
      ['an upgrade', () => `Proxy-Authorization: ${credential}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`],
    ])('refuses %s', async (_, more) => {
      expect(await plain(url(), host(), more())).toMatch(/^HTTP\/1\.1 (400|403|407|501)/)
      expect(reached).toEqual([])
    })
  })
})
