import type http from 'node:http'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { Mask, MaskStrategy } from '../../src/policy/action.ts'
import { parseRequest } from '../../src/protocols/http/action.ts'
import { http as protocol } from '../../src/protocols/http/http.ts'
import { until } from '../support/processes.ts'
import { bodyOf, HttpTunnel, startTarget, type Target, type TunnelOptions } from './tunnel.ts'

function detecting(detect: readonly string[], strategy: MaskStrategy = { kind: 'redact' }): Mask {
  return { name: 'secrets', place: 'agentgate.yaml:9', columns: [], fields: [], detect, with: strategy }
}
function hiding(fields: readonly string[], strategy: MaskStrategy = { kind: 'redact' }): Mask {
  return { name: 'fields', place: 'agentgate.yaml:9', columns: [], fields, detect: [], with: strategy }
}

async function answering(
  type: string,
  parts: readonly (string | Buffer)[],
  headers: http.OutgoingHttpHeaders = {},
): Promise<Target> {
  return await startTarget((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': type, ...headers })
    const next = (index: number) => {
      if (index === parts.length) response.end()
      else response.write(parts[index], () => setImmediate(() => next(index + 1)))
    }
    next(0)
  })
}

async function through(target: Target, masks: readonly Mask[], more: Partial<TunnelOptions> = {}) {
  await using tunnel = await HttpTunnel.open({ target: target.address, masks, ...more })
  const answer = await tunnel.fetch('/')
  const text = await answer.text().catch(() => 'cut off')
  await until('the outcome', () => tunnel.of('outcome').length === 1)
  const recorded = Buffer.concat(tunnel.of('result').map(event => event.bytes)).toString()
  return { status: answer.status, headers: answer.headers, text, recorded, outcome: tunnel.of('outcome')[0]! }
}

describe('detectors', () => {
  const email = detecting(['email', 'card-number'])
  const cases: [string, string, string[], string][] = [
    ['text', 'text/plain', ['mail ann@exam', 'ple.com today'], 'mail [masked:email] today'],
    [
      'JSON',
      'application/json; charset=utf-8',
      ['{"a":"x\\nann@exa', 'mple.com","b":41111111', '11111111}'],
      '{"a":"x\\n[masked:email]","b":null}',
    ],
    [
      'events',
      'text/event-stream',
      ['data: {"t":"ann\\u0040exam', 'ple.com"}\n\n'],
      'data: {"t":"[masked:email]"}\n\n',
    ],
    ['a form', 'application/x-www-form-urlencoded', ['email=ann%40example.com&x=1'], 'email=[masked:email]&x=1'],
    ['no stated type', '', ['ann@example.com'], '[masked:email]'],
    ['octets', 'application/octet-stream', ['id,mail\n1,ann@example.com\n'], 'id,mail\n1,[masked:email]\n'],
    ['a picture', 'image/png', ['ann@example.com'], 'ann@example.com'],
  ]
  it.each(cases)('look through %s', async (_, type, parts, expected) => {
    await using target = await answering(type, parts, { 'content-length': parts.join('').length })
    const { text, recorded, outcome } = await through(target, [email])
    expect(text).toBe(expected)
    expect(recorded).toBe(expected)
    expect(outcome.masked).toEqual(
      expected.includes('null') ? ['email', 'card-number'] : expected.includes('masked') ? ['email'] : [],
    )
  })

  it('show as each mask says, and look at headers too', async () => {
    await using target = await answering('text/plain', ['ann@example.com 4111111111111111'], {
      location: '/users/ann@example.com',
      'set-cookie': 'who=ann@example.com',
    })
    const masks = [
      detecting(['email'], { kind: 'partial' }),
      detecting(['card-number'], { kind: 'constant', value: '(card)' }),
    ]
    const { text, headers } = await through(target, masks)
    expect(text).toBe('a***@e***.com (card)')
    expect(headers.get('location')).toBe('/users/[masked:email]'.replace('[masked:email]', 'a***@e***.com'))
    expect(headers.get('set-cookie')).toBe('who=ann@example.com')
  })

  it('pass each word on as soon as it can be no finding any more', async () => {
    let finish = () => {}
    await using target = await startTarget((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: hello wor')
      finish = () => response.end('ld\n\n')
    })
    await using tunnel = await HttpTunnel.open({ target: target.address, masks: [email] })
    const reader = (await tunnel.fetch('/')).body!.getReader()
    expect(Buffer.from((await reader.read()).value).toString()).toBe('data: hello ')
    finish()
    expect(Buffer.from((await reader.read()).value).toString()).toBe('world\n\n')
  })

  it('ask for all of it, without encoding, and refuse what comes otherwise', async () => {
    const body = gzipSync('ann@example.com')
    await using gzipped = await answering('text/plain', [body], { 'content-encoding': 'gzip' })
    const refused = await through(gzipped, [email])
    expect(refused).toMatchObject({
      status: 403,
      text: expect.stringContaining('cannot be masked: it is encoded as gzip'),
    })
    expect(refused.recorded).toBe('')
    expect((await through(gzipped, [])).status).toBe(200)

    await using partial = await startTarget((request, response) => {
      const isWhole = request.headers.range === undefined && request.headers['if-range'] === undefined
      response.writeHead(isWhole ? 200 : 206).end(isWhole ? 'whole' : 'ann@exa')
    })
    await using tunnel = await HttpTunnel.open({ target: partial.address, masks: [email] })
    expect(await (await tunnel.fetch('/', { headers: { range: 'bytes=0-6' } })).text()).toBe('whole')
    await using always = await startTarget((_, response) => response.writeHead(206).end('ann@exa'))
    expect((await through(always, [email])).status).toBe(403)
    await using wide = await answering('text/plain; charset=UTF-16LE', [Buffer.from('ann@example.com', 'utf16le')])
    expect((await through(wide, [email])).status).toBe(403)
  })
})

describe('fields', () => {
  it('are hidden in JSON, and nothing else changes', async () => {
    await using target = await answering('application/problem+json', [
      '{"email":"ann@exa',
      'mple.com","id":12345678901234567890 }',
    ])
    const { text, outcome } = await through(target, [hiding(['email'])])
    expect(text).toBe('{"email":"[masked]","id":12345678901234567890 }')
    expect(outcome.masked).toEqual(['email'])
  })

  it('are hidden before detectors look', async () => {
    await using target = await answering('application/json', ['{"email":"ann@example.com","note":"bob@example.com"}'])
    const { text } = await through(target, [detecting(['email']), hiding(['email'], { kind: 'null' })])
    expect(text).toBe('{"email":null,"note":"[masked:email]"}')
  })

  it('are hidden line by line and event by event, as they come', async () => {
    await using lines = await answering('application/x-ndjson', ['{"email":"a"}\n{"em', 'ail":"b"}\n', '{"email":"c"}'])
    expect((await through(lines, [hiding(['email'])])).text).toBe(
      '{"email":"[masked]"}\n{"email":"[masked]"}\n{"email":"[masked]"}',
    )
    await using events = await answering('text/event-stream', [
      'event: x\ndata: {"email":"a"}\n\ndata: [DONE]\n\n',
      ': ping\n\ndata: {"email":\ndata: "b"}\nid: 4\n\nda',
      'ta: {"email":"c"}\n',
    ])
    expect((await through(events, [hiding(['email'])])).text).toBe(
      'event: x\ndata: {"email":"[masked]"}\n\ndata: [DONE]\n\n: ping\n\ndata: {"email":\ndata: "[masked]"}\nid: 4\n\ndata: {"email":"[masked]"}\n',
    )
  })

  it('are not taken on trust: what says it is JSON and is not, is refused', async () => {
    const field = [hiding(['email'])]
    await using broken = await answering('application/json', ['{"email":"ann@example.com",}'])
    expect(await through(broken, field)).toMatchObject({ status: 403, recorded: '' })
    await using disguised = await answering('text/html', ['{"email":"ann@example.com"}'])
    expect((await through(disguised, field)).text).toBe('{"email":"[masked]"}')
    await using plain = await answering('text/html', ['<p>email</p>'])
    expect((await through(plain, field)).text).toBe('<p>email</p>')
    await using events = await answering('text/event-stream', ['data: {"a":1}\n\n', 'data: {"email":"secret",}\n\n'])
    const cut = await through(events, field)
    expect(cut).toMatchObject({ text: 'cut off', outcome: { status: 'error', tag: 'DENIED' } })
    expect(cut.recorded).not.toContain('secret')
  })

  it('are refused beyond the limit', async () => {
    const chunk = `"${'x'.repeat(1 << 20)}",`
    await using target = await answering('application/json', ['[', ...Array<string>(9).fill(chunk), '1]'])
    const { status, text } = await through(target, [hiding(['email'])])
    expect([status, text]).toEqual([403, expect.stringContaining('longer than 8 MB')])
  })
})

describe('what is shown of a request', () => {
  it('hides what masks hide', () => {
    const action = parseRequest(
      'POST /users/ann@example.com?mail=bob%40example.com\n\n{"email":"x","note":"ann@example.com"}',
    )
    const view = protocol.view(action, [detecting(['email']), hiding(['email'])])
    expect(JSON.stringify(view)).not.toMatch(/example/)
    expect(view.text).toBe(
      'POST /users/[masked:email]?mail=[masked:email]\n\n{"email":"[masked]","note":"[masked:email]"}',
    )
    expect(view.summary).toBe('POST /users/[masked:email]')
  })

  it('cannot be edited where something was hidden, and reaches the target as it is', async () => {
    let received = ''
    await using target = await startTarget(
      (request, response) =>
        void bodyOf(request).then(body => {
          received = body.toString()
          response.end()
        }),
    )
    await using tunnel = await HttpTunnel.open({
      target: target.address,
      masks: [hiding(['email'])],
      decide: async (action, asker) => {
        await expect(asker.revise(action, 'POST /\n\n{}')).rejects.toThrow('cannot be edited')
        return await asker.revise(action, undefined)
      },
    })
    const answer = await tunnel.fetch('/', {
      method: 'POST',
      body: '{"email":"ann@example.com"}',
      headers: { 'content-type': 'application/json' },
    })
    await answer.text()
    expect(received).toBe('{"email":"ann@example.com"}')
  })
})
