import { once } from 'node:events'
import http from 'node:http'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { parseRequest } from '../../src/protocols/http/action.ts'
import { http as protocol } from '../../src/protocols/http/http.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram, until } from '../support/processes.ts'
import { bodyOf, clientSecret, HttpTunnel, rule, startTarget, targetSecret } from './tunnel.ts'

const bearer = `Authorization: Bearer ${clientSecret}\r\n`

describe('a request', () => {
  it('reaches the target with its credential, and its answer comes back and is recorded', async () => {
    await using target = await startTarget((request, response) => {
      response.writeHead(201, { 'x-thing': 'a', 'set-cookie': ['a=1', 'b=2'] })
      response.end(`hello ${request.url ?? ''}`)
    })
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const answer = await tunnel.fetch('/v1/./things//4?x=%2f', {
      headers: { 'x-own': 'kept', 'x-forwarded-for': '1.2.3.4' },
    })
    expect(answer.status).toBe(201)
    expect(await answer.text()).toBe('hello /v1/things/4?x=%2f')
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    const [request] = target.requests
    expect(request?.headers).toMatchObject({
      authorization: `Bearer ${targetSecret}`,
      host: target.address,
      'x-own': 'kept',
      'accept-encoding': 'identity',
    })
    expect(request?.headers['x-forwarded-for']).toBeUndefined()
    expect(JSON.stringify(request?.rawHeaders)).not.toContain(clientSecret)
    await until('the outcome', () => tunnel.of('outcome').length === 1)
    expect(tunnel.of('outcome')[0]).toMatchObject({ action: 1, status: 'ok', tag: '201', masked: [] })
    expect(Buffer.concat(tunnel.of('result').map(event => event.bytes)).toString()).toBe('hello /v1/things/4?x=%2f')
    expect(JSON.stringify(tunnel.events)).not.toContain(targetSecret)
  })

  it.each([
    [{ header: 'X-Api-Key' }, null, 'x-api-key', targetSecret],
    [{ prefix: 'token ' }, null, 'authorization', `token ${targetSecret}`],
    [{}, 'svc', 'authorization', `Basic ${Buffer.from(`svc:${targetSecret}`).toString('base64')}`],
  ])('carries the credential as the resource says: %j', async (settings, user, header, expected) => {
    await using target = await startTarget((_, response) => response.end())
    await using tunnel = await HttpTunnel.open({ target: target.address, settings, user })
    await (await tunnel.fetch('/', { headers: { 'x-api-key': 'mine', x_api_key: 'mine' } })).text()
    expect(target.requests[0]?.headers[header]).toBe(expected)
    if (header !== 'authorization') expect(target.requests[0]?.headers.authorization).toBeUndefined()
    if (header === 'x-api-key') expect(target.requests[0]?.headers['x_api_key']).toBeUndefined()
  })

  it('stays below the base path', async () => {
    await using target = await startTarget((request, response) => response.end(request.url))
    await using tunnel = await HttpTunnel.open({ target: target.address, settings: { 'base-path': '/api' } })
    expect(
      await tunnel.raw(`GET /../../admin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${bearer}\r\n`),
    ).toContain('/api/admin')
  })

  it('keeps one connection to the target for many requests of one client', async () => {
    await using target = await startTarget((request, response) => {
      request.resume()
      response.end('x'.repeat(100_000))
    })
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    for (let count = 0; count < 5; count++) {
      const request = http.request(`${tunnel.url}/${count}`, {
        agent,
        method: count % 2 === 0 ? 'GET' : 'POST',
        headers: { authorization: `Bearer ${clientSecret}` },
      })
      request.end()
      const [answer] = (await once(request, 'response')) as [http.IncomingMessage]
      expect((await bodyOf(answer)).length).toBe(100_000)
    }
    agent.destroy()
    expect(target.connections()).toBe(1)
    await until('the connection is over', () => tunnel.settled === 1)
    expect(tunnel.of('outcome').map(event => event.status)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok'])
  })

  it('answers pipelined requests one after another, each decided on its own', async () => {
    await using target = await startTarget((request, response) => response.end(`<${request.url ?? ''}>`))
    await using tunnel = await HttpTunnel.open({
      target: target.address,
      decide: action => (action.target.path === '/b' ? 'deny' : 'allow'),
    })
    const request = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}${bearer}\r\n`
    const answer = await tunnel.raw(request('/a') + request('/b') + request('/c', 'Connection: close\r\n'))
    expect(answer).toMatch(/<\/a>[^]*nothing is deleted here[^]*<\/c>/)
    expect(target.requests.map(each => each.url)).toEqual(['/a', '/c'])
  })
})

describe('a refused request', () => {
  it('never reaches the target, says why, and the connection goes on', async () => {
    await using target = await startTarget((_, response) => response.end('fine'))
    await using tunnel = await HttpTunnel.open({
      target: target.address,
      decide: action => (action.method === 'DELETE' ? 'deny' : 'allow'),
    })
    const answer = await tunnel.fetch('/v1/orders/4', { method: 'DELETE' })
    expect(answer.status).toBe(403)
    expect(await answer.json()).toEqual({
      error: {
        message: 'refused by agentgate: nothing is deleted here',
        rule: `${rule.name} (${rule.place})`,
        hint: 'ask',
      },
    })
    expect(await (await tunnel.fetch('/')).text()).toBe('fine')
    expect(target.requests.length).toBe(1)
    expect(tunnel.upstreams).toBe(1)
  })

  it('is not forwarded when it cannot be recorded', async () => {
    await using target = await startTarget((_, response) => response.end('fine'))
    const { AgentgateError } = await import('../../src/errors.ts')
    await using tunnel = await HttpTunnel.open({
      target: target.address,
      commit: () => {
        throw new AgentgateError('RECORDING_FAILED', 'the disk is full')
      },
    })
    const answer = await tunnel.fetch('/')
    expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining('the disk is full')])
    expect(target.requests.length).toBe(0)
  })
})

describe('nobody but a client of ours', () => {
  const head = 'GET / HTTP/1.1\r\n'
  const cases: [string, string, number][] = [
    ['without the secret', `${head}Host: localhost\r\n\r\n`, 401],
    ['with a wrong secret', `${head}Host: localhost\r\nAuthorization: Bearer ${clientSecret}x\r\n\r\n`, 401],
    [
      'with the secret as user name',
      `${head}Host: localhost\r\nAuthorization: Basic ${btoa(`${clientSecret}:x`)}\r\n\r\n`,
      401,
    ],
    ['for another host (DNS rebinding)', `${head}Host: evil.example:8080\r\n${bearer}\r\n`, 403],
    ['for a name that only begins like ours', `${head}Host: localhost.evil.example\r\n${bearer}\r\n`, 403],
    ['with two hosts', `${head}Host: localhost\r\nHost: evil.example\r\n${bearer}\r\n`, 403],
    ['without a host', `${head}${bearer}\r\n`, 400],
    ['by a web page', `${head}Host: localhost\r\nOrigin: https://evil.example\r\n${bearer}\r\n`, 403],
    ['by a sandboxed page', `${head}Host: localhost\r\nOrigin: null\r\n${bearer}\r\n`, 403],
    ['across sites', `${head}Host: localhost\r\nSec-Fetch-Site: cross-site\r\n${bearer}\r\n`, 403],
    [
      'as a preflight',
      `OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n`,
      403,
    ],
    ['that traces', `TRACE / HTTP/1.1\r\nHost: localhost\r\n${bearer}\r\n`, 405],
    [
      'with another method in a header',
      `POST / HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\nConnection: close\r\n${bearer}\r\n`,
      400,
    ],
    [
      'with another method in a header CGI takes for it',
      `POST / HTTP/1.1\r\nHost: localhost\r\nX_HTTP_Method_Override: DELETE\r\nContent-Length: 0\r\n${bearer}\r\n`,
      400,
    ],
    ['with another path in a header', `${head}Host: localhost\r\nX-Original-URL: /admin\r\n${bearer}\r\n`, 400],
    [
      'with two lengths',
      `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n${bearer}\r\n0\r\n\r\n`,
      400,
    ],
    [
      'with two different lengths',
      `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n${bearer}\r\nabcd`,
      400,
    ],
    [
      'with a strange coding',
      `POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\nConnection: close\r\n${bearer}\r\n0\r\n\r\n`,
      400,
    ],
    [
      'with a hidden coding',
      `POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n${bearer}\r\n0\r\n\r\n`,
      400,
    ],
    ['with a folded header', `${head}Host: localhost\r\nX-A: 1\r\n X-B: 2\r\n${bearer}\r\n`, 400],
    ['with a bare line feed', `GET / HTTP/1.1\nHost: localhost\n${bearer}\n`, 400],
    [
      'for an absolute target',
      `GET http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${bearer}\r\n`,
      400,
    ],
    [
      'for an ambiguous path',
      `GET /a%2f..%2fadmin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${bearer}\r\n`,
      400,
    ],
    ['that upgrades', `${head}Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${bearer}\r\n`, 501],
    ['that connects', `CONNECT elsewhere:443 HTTP/1.1\r\nHost: localhost\r\n${bearer}\r\n`, 501],
    ['that is no HTTP', `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03`, 400],
    [
      'with headers without end',
      `${head}Host: localhost\r\n${'X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(2000)}`,
      431,
    ],
  ]
  it.each(cases)('refuses a request %s', async (_, text, status) => {
    await using target = await startTarget((_request, response) => response.end('the secret answer'))
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const answer = await tunnel.raw(text)
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(answer).not.toContain('the secret answer')
    expect(answer.toLowerCase()).not.toContain('access-control-allow')
    expect(target.requests.length).toBe(0)
    expect(tunnel.actions.length).toBe(0)
    await until('the connection is over', () => tunnel.settled === tunnel.accepted)
  })

  it('smuggles nothing behind a body', async () => {
    await using target = await startTarget((request, response) => void bodyOf(request).then(body => response.end(body)))
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const inner = `DELETE /all HTTP/1.1\r\nHost: localhost\r\n\r\n`
    const text = `POST /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ${inner.length}\r\n${bearer}\r\n${inner}`
    expect(await tunnel.raw(text)).toContain(inner)
    expect(target.requests.map(request => request.method)).toEqual(['POST'])
  })

  it('hides the credential from targets that echo it, also where it is cut in two', async () => {
    await using target = await startTarget((request, response) => {
      const text = request.headers.authorization ?? ''
      response.setHeader('x-echo', text)
      response.write(`${text} and ${text.slice(0, 15)}`)
      setTimeout(() => response.end(text.slice(15)), 20)
    })
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const answer = await tunnel.fetch('/headers')
    const stars = `Bearer ${'*'.repeat(targetSecret.length)}`
    expect(await answer.text()).toBe(`${stars} and ${stars}`)
    expect(answer.headers.get('x-echo')).toBe(stars)
    await until('the outcome', () => tunnel.of('outcome').length === 1)
    expect(tunnel.of('outcome')[0]?.masked).toEqual(['credential'])
  })
})

describe('a held request', () => {
  it('waits, then runs as an approver edited it', async () => {
    await using target = await startTarget(
      (request, response) => void bodyOf(request).then(body => response.end(`${request.url ?? ''} ${body.toString()}`)),
    )
    await using tunnel = await HttpTunnel.open({
      target: target.address,
      decide: async (action, asker) => await asker.revise(action, 'POST /v1/refunds?dry=1\n\n{"amount":1}'),
    })
    const answer = await tunnel.fetch('/v1/refunds', {
      method: 'POST',
      body: '{"amount":1000}',
      headers: { 'content-type': 'application/json' },
    })
    expect(await answer.text()).toBe('/v1/refunds?dry=1 {"amount":1}')
    expect(protocol.view(tunnel.actions[0]!, [])).toMatchObject({
      summary: 'POST /v1/refunds',
      text: 'POST /v1/refunds\n\n{"amount":1000}',
      effect: 'change',
    })
  })

  it('is withdrawn when its client leaves', async () => {
    await using target = await startTarget((_, response) => response.end('ran'))
    let withdrawn = false
    await using tunnel = await HttpTunnel.open({
      target: target.address,
      decide: async (_, asker) => {
        const signal = asker.onHold({ id: 'a_1234' as never, rule, approvers: 'dba', withinSeconds: 60 })
        await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
        withdrawn = true
        return 'deny' as const
      },
    })
    const client = http.get(tunnel.url, { agent: false, headers: { authorization: `Bearer ${clientSecret}` } })
    client.on('error', () => undefined)
    await until('the request is held', () => tunnel.actions.length === 1)
    client.destroy()
    await until('the hold is withdrawn', () => withdrawn && tunnel.settled === 1)
    expect(target.requests.length).toBe(0)
  })
})

describe('the end', () => {
  it('tells a client that waits, and closes', async () => {
    await using target = await startTarget(() => undefined)
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const answer = tunnel.fetch('/slow')
    await until('the target was asked', () => target.requests.length === 1)
    tunnel.end('access was ended: laptop lost')
    const { status } = await answer
    expect([status, await (await answer).text()]).toEqual([403, expect.stringContaining('laptop lost')])
    await until('all is closed', () => tunnel.settled === tunnel.accepted)
    expect(tunnel.of('outcome')).toMatchObject([{ status: 'cancelled' }])
  })

  it('cuts off an answer that has begun', async () => {
    await using target = await startTarget((_, response) => response.write('begun'))
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const answer = await tunnel.fetch('/stream')
    tunnel.end()
    await expect(answer.text()).rejects.toThrow()
    await until('all is closed', () => tunnel.settled === tunnel.accepted)
  })

  it('says so when the target is gone, breaks off or speaks something else', async () => {
    await using dead = await HttpTunnel.open({ target: '127.0.0.1:1' })
    const refused = await dead.fetch('/')
    expect([refused.status, await refused.text()]).toEqual([502, expect.stringContaining('cannot reach api')])
    expect(dead.of('outcome')).toMatchObject([{ status: 'lost' }])
    await using target = await startTarget(request => request.socket.destroy())
    await using tunnel = await HttpTunnel.open({ target: target.address })
    expect((await tunnel.fetch('/')).status).toBe(502)
    expect(tunnel.of('outcome')).toMatchObject([{ status: 'lost' }])
  })

  it('does not pass off half an answer as a whole one', async () => {
    await using target = await startTarget((_, response) => {
      response.write('half', () => response.socket?.destroy())
    })
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const answer = await tunnel.fetch('/')
    await expect(answer.text()).rejects.toThrow()
    await until('the outcome', () => tunnel.of('outcome').length === 1)
    expect(tunnel.of('outcome')).toMatchObject([{ status: 'lost' }])
  })
})

describe('streaming', () => {
  it('passes each part on as it comes, both ways', async () => {
    await using target = await startTarget((request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      request.pipe(response)
    })
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const up = new TransformStream<Uint8Array, Uint8Array>()
    const writer = up.writable.getWriter()
    const first = writer.write(Buffer.from('one'))
    const answer = await tunnel.fetch('/echo', { method: 'POST', body: up.readable, duplex: 'half' })
    await first
    const reader = answer.body!.getReader()
    expect(Buffer.from((await reader.read()).value).toString()).toBe('one')
    void writer.write(Buffer.from('two'))
    expect(Buffer.from((await reader.read()).value).toString()).toBe('two')
    await writer.close()
    expect((await reader.read()).done).toBe(true)
  })

  it('holds the target back when the client does not read', async () => {
    let sent = 0
    const chunk = Buffer.alloc(64 * 1024)
    await using target = await startTarget((_, response) => {
      new Readable({
        read() {
          sent += chunk.length
          this.push(sent > 512 << 20 ? null : chunk)
        },
      })
        .on('error', () => undefined)
        .pipe(response)
    })
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const request = http.get(`${tunnel.url}/big`, { headers: { authorization: `Bearer ${clientSecret}` } })
    request.on('error', () => undefined)
    const [answer] = (await once(request, 'response')) as [http.IncomingMessage]
    answer.pause()
    let before = -1
    await until('the target stands still', async () => {
      if (before === sent) return true
      before = sent
      await new Promise(resolve => setTimeout(resolve, 100))
      return false
    })
    expect(sent).toBeLessThan(64 << 20)
    request.destroy()
    await until('all is closed', () => tunnel.settled === 1)
    expect(tunnel.of('outcome')).toMatchObject([{ status: 'cancelled' }])
  })

  it('waits for a record that is behind', async () => {
    await using target = await startTarget((_, response) => response.end('x'.repeat(1 << 20)))
    let waiting = 0
    await using tunnel = await HttpTunnel.open({
      target: target.address,
      record: event => {
        if (event.kind !== 'result') return
        expect(++waiting).toBe(1)
        return new Promise(resolve => {
          setImmediate(() => {
            waiting -= 1
            resolve()
          })
        })
      },
    })
    expect((await (await tunnel.fetch('/')).text()).length).toBe(1 << 20)
  })
})

describeWith('curl', [program('curl')], () => {
  it('works with the URL that is given to clients', async () => {
    await using target = await startTarget(
      (request, response) => void bodyOf(request).then(body => response.end(`${request.method ?? ''} ${body.length}`)),
    )
    await using tunnel = await HttpTunnel.open({ target: target.address })
    const { url, shown, env } = protocol.endpoint({
      session: tunnel.context.session,
      subject: tunnel.context.subject,
      resource: tunnel.context.resource,
      host: '127.0.0.1',
      port: tunnel.port,
      unixSocket: null,
      clientSecret: tunnel.context.clientSecret,
    })
    expect(shown).not.toContain(clientSecret)
    const get = await runProgram('curl', ['-sS', `${url}/things`])
    expect(get).toMatchObject({ code: 0, stdout: 'GET 0' })
    const token = `Authorization: Bearer ${env['HTTP_TOKEN'] ?? ''}`
    const args = ['-sS', '-H', token, '--data-binary', '@-', `${env['HTTP_BASE_URL'] ?? ''}/up`]
    // Above a megabyte curl asks first, by Expect: 100-continue.
    expect(await runProgram('curl', args, { input: Buffer.alloc(2 << 20, 'a') })).toMatchObject({
      code: 0,
      stdout: 'POST 2097152',
    })
    expect(await runProgram('curl', args, { input: 'abc' })).toMatchObject({ code: 0, stdout: 'POST 3' })
    const head = await runProgram('curl', ['-sSI', `${url}/things`])
    expect(head.stdout).toMatch(/^HTTP\/1.1 200 OK/)
  })

  it('is told why it is refused, before it has sent its body', async () => {
    await using target = await startTarget((_, response) => response.end())
    await using tunnel = await HttpTunnel.open({ target: target.address, decide: () => 'deny' })
    const args = [
      '-sS',
      '-w',
      '%{http_code} %{size_upload}',
      '-o',
      '/dev/null',
      '-H',
      `Authorization: Bearer ${clientSecret}`,
    ]
    const answer = await runProgram('curl', [...args, '--data-binary', '@-', `${tunnel.url}/up`], {
      input: Buffer.alloc(8 << 20, 'a'),
    })
    expect(answer.stdout).toBe('403 0')
  })
})

describe('rules', () => {
  const matches = (when: unknown, text: string, doubt: 'holds' | 'fails' = 'holds') =>
    protocol.matches(protocol.whenSchema.parse(when), parseRequest(text), doubt)

  it('ask for method and path', () => {
    expect(matches({ method: 'delete' }, 'DELETE /a')).toBe(true)
    expect(matches({ method: ['PUT', 'POST'], path: '/v1/**' }, 'POST /v1/a/b?c')).toBe(true)
    expect(matches({ method: 'GET', path: '/v1/*' }, 'GET /v1/a/b')).toBe(false)
    expect(matches({ path: '/admin/**' }, 'GET /x/../%61dmin/users')).toBe(true)
    expect(() => protocol.whenSchema.parse({ path: 'admin' })).toThrow('starts with /')
  })

  it('count both readings of path parameters', () => {
    expect(matches({ path: '/admin/**' }, 'GET /admin;x=1/users')).toBe(true)
    expect(matches({ path: '/admin/**' }, 'GET /admin;x=1/users', 'fails')).toBe(false)
  })
})
