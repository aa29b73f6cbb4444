import net from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  bindMessage,
  executeMessage,
  flushMessage,
  frame,
  int32,
  parseMessage,
  queryMessage,
  syncMessage,
} from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { until } from '../support/processes.ts'
import { maskOn, openMaskedTunnel } from './support/masked-tunnel.ts'
import { RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import type { TestTunnel } from './support/tunnel.ts'

// What is not the protocol, from either end and in every state: that connection goes on by the rules or ends with a word, what it
// sent is not run, memory stays bounded, and others are served.

const header = (type: number, length: number, ...rest: Buffer[]) => {
  const head = Buffer.alloc(5)
  head.writeUInt8(type, 0)
  head.writeUInt32BE(length >>> 0, 1)
  return Buffer.concat([head, ...rest])
}
const text = (value: string) => Buffer.from(value, 'latin1')
const bind = (statement: string) => bindMessage({ portal: '', statement, formats: [], values: [], resultFormats: [] })

/** What brings a connection into a state; no answer is awaited. */
const states: readonly (readonly [name: string, messages: readonly Buffer[], readies: number])[] = [
  ['idle', [], 0],
  ['in a transaction', [queryMessage('begin')], 1],
  ['in a failed transaction', [queryMessage('begin'), queryMessage('select 1 / 0')], 2],
  ['within a batch', [parseMessage('', 'select 1'), flushMessage], 0],
  ['behind an error, before Sync', [parseMessage('', 'selec 1'), bind(''), flushMessage], 0],
  ['behind a refusal, before Sync', [parseMessage('', 'select 1 as forbidden'), flushMessage], 0],
  ['while it copies in', [queryMessage('copy canary from stdin')], 0],
  ['while it is held', [queryMessage('select 1 as held')], 0],
  [
    'with rows to come',
    [parseMessage('', 'select generate_series(1, 1000)'), bind(''), frame(0x45, '', int32(1)), flushMessage],
    0,
  ],
]

const harmful = text('delete from canary\0')
const malformed: readonly (readonly [name: string, bytes: Buffer])[] = [
  ['a length of 2 GB', header(0x51, 0x7fffffff, text('delete'))],
  ['a length below itself', header(0x51, 3)],
  ['a length of -1', header(0x51, -1)],
  ['an unknown type', header(0x7e, 8, int32(0))],
  ['type zero', header(0, 4)],
  ['a Query without its end', header(0x51, 4 + harmful.length - 1, harmful.subarray(0, -1))],
  ['a Query with more behind its end', header(0x51, 4 + harmful.length + 3, harmful, text('x\0y'))],
  ['an empty Query', header(0x51, 4)],
  ['a Parse without its counts', header(0x50, 4 + 1 + harmful.length, text('\0'), harmful)],
  [
    'a Parse that counts types that are not there',
    header(0x50, 4 + 1 + harmful.length + 2, text('\0'), harmful, Buffer.of(0x7f, 0xff)),
  ],
  ['a Bind of -2 values', header(0x42, 4 + 2 + 4, text('\0\0'), Buffer.of(0, 0, 0xff, 0xfe))],
  [
    'a Bind with a value longer than itself',
    header(0x42, 4 + 2 + 8, text('\0\0'), Buffer.of(0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff)),
  ],
  ['a Bind with a format of its own', header(0x42, 4 + 2 + 4, text('\0\0'), Buffer.of(0, 1, 0, 9))],
  ['a Describe of nothing', header(0x44, 4)],
  ['a Describe of an unknown kind', header(0x44, 6, text('X\0'))],
  ['an Execute without its count', header(0x45, 5, text('\0'))],
  ['a Close without a name', header(0x43, 5, text('S'))],
  ['a Sync with a body', header(0x53, 8, int32(1))],
  ['a Flush with a body', header(0x48, 8, int32(1))],
  ['a password', header(0x70, 9, text('abcd\0'))],
  ['a start-up packet', Buffer.concat([int32(8), int32(80877103)])],
  ['CopyDone', header(0x63, 4)],
  ['CopyData of nothing', header(0x64, 4)],
  ['a FunctionCall of lies', header(0x46, 4 + 4 + 2 + 2 + 2, int32(1), Buffer.of(0x7f, 0xff, 0x7f, 0xff, 0, 0))],
]

describe.each(servers)('$name', ({ available, binaries }) => {
  let server: TestServer
  let tunnel: TestTunnel
  let other: RawClient

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries)
    const admin = await RawClient.connect({ port: server.port, password: server.password.reveal() })
    await admin.query('create table canary (n int); insert into canary values (1)')
    admin.close()
    tunnel = await openMaskedTunnel(server, [maskOn(['people.ssn'])], {
      decide: ({ analysed }) =>
        /\bheld\b/.test(analysed.text)
          ? { hold: async () => await new Promise(() => undefined) }
          : /forbidden/.test(analysed.text)
            ? 'deny'
            : 'allow',
    })
    other = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
  })
  afterAll(async () => {
    if (!available) return
    other.close()
    await tunnel.close()
    await server.remove()
  })
  beforeEach(context => {
    if (!available) context.skip()
  })
  afterEach(async () => {
    if (!available) return
    tunnel.errors.length = 0
    expect(await other.query('select count(*) from canary')).toContain('D 1')
  })

  describe.each(states)('%s', (_, before, readies) => {
    test('every message that is none', { timeout: 60_000 }, async () => {
      const resident = process.memoryUsage.rss()
      await Promise.all(
        malformed.map(async ([name, bytes]) => {
          const client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
          const from = client.messages.length
          if (before.length > 0) client.send(...before)
          for (let left = readies; left > 0; left--) await client.until()
          client.send(bytes)
          // What still understands the protocol takes this as an end.
          client.send(frame(0x63), syncMessage, frame(0x58))
          client.stream.end()
          await until(`the connection is over after ${name}`, () => client.closed, 20_000)
          const said = client.messages.slice(from).map(({ type }) => type)
          // Nothing that it may not say, and no stack or path of ours in it.
          expect(
            said.every(type => 'ECNZ123tTDInSsGAHvR'.includes(type)),
            `${name}: ${said.join('')}`,
          ).toBe(true)
          const words = client.messages
            .slice(from)
            .map(({ body }) => body.toString('latin1'))
            .join()
          expect(words, name).not.toMatch(/node:|\.ts\b|\bat .*:\d+/)
        }),
      )
      expect(process.memoryUsage.rss() - resident).toBeLessThan(200_000_000)
    })
  })

  test('frames over the limit are thrown away as they come', { timeout: 60_000 }, async () => {
    for (const [type, bytes] of [
      [0x51, 20 * 1024 * 1024],
      [0x42, 70 * 1024 * 1024],
    ] as const) {
      const client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
      const resident = process.memoryUsage.rss()
      client.send(header(type, bytes + 4))
      const piece = Buffer.alloc(1024 * 1024, 0x20)
      for (let sent = 0; sent < bytes; sent += piece.length)
        if (!client.stream.write(piece)) await new Promise(resolve => client.stream.once('drain', resolve))
      client.send(syncMessage)
      expect((await client.until())[0]).toMatch(/^E 54000 /)
      if (type === 0x51) await client.until()
      expect(await client.query('select 1')).toContain('D 1')
      expect(process.memoryUsage.rss() - resident).toBeLessThan(100_000_000)
      client.close()
    }
  })
})

// The server's answers to one statement are replaced by these; what came before it was its own.
const described = (count: number) =>
  frame(
    0x54,
    Buffer.of(0, count),
    'n',
    int32(0),
    Buffer.of(0, 0),
    int32(23),
    Buffer.of(0, 4),
    int32(-1),
    Buffer.of(0, 0),
  )
const lies: readonly (readonly [name: string, bytes: Buffer])[] = [
  ['a row of 2 GB', Buffer.concat([described(1), header(0x44, 0x7fffffff)])],
  ['a row of a length below itself', Buffer.concat([described(1), header(0x44, 2)])],
  ['a row of a length of -1', Buffer.concat([described(1), header(0x44, -1)])],
  [
    'a row with a value longer than itself',
    Buffer.concat([described(1), frame(0x44, Buffer.of(0, 1), int32(0x7fffffff))]),
  ],
  ['a row of more columns than described', Buffer.concat([described(1), frame(0x44, Buffer.of(0x7f, 0xff))])],
  ['rows of no description', frame(0x44, Buffer.of(0, 0))],
  ['a description that counts columns that are not there', described(9)],
  ['an error of 1 GB', header(0x45, 0x3ffffffe)],
  ['an error without its end', frame(0x45, text('SERROR'))],
  ['a state that there is not', frame(0x5a, text('?'))],
  ['ready without a state', frame(0x5a)],
  ['a tag without its end', Buffer.concat([frame(0x43, text('SELECT')), frame(0x5a, text('I'))])],
  ['that it wants data', frame(0x47, Buffer.of(0, 0, 0))],
  ['a copy out', frame(0x48, Buffer.of(0, 0, 0))],
  ['copied data', frame(0x64, text('x'))],
  ['that a Parse is complete', frame(0x31)],
  ['that a password is wanted', frame(0x52, int32(3))],
  ['an unknown message', frame(0x7e, int32(0))],
  ['a setting without a value', frame(0x53, text('TimeZone'))],
  ['a notice of lies', frame(0x4e, text('M'))],
  ['nothing of the protocol', text('HTTP/1.1 500 Internal Server Error\r\n\r\n')],
]

describe('a server that lies', () => {
  const [, kind] = servers
  let server: TestServer
  let tunnel: TestTunnel
  let between: net.Server
  const sockets = new Set<net.Socket>()
  let lie: Buffer = Buffer.alloc(0)

  beforeAll(async () => {
    server = await startServer(kind.binaries)
    between = net.createServer(socket => {
      const onward = net.connect({ port: server.port, host: '127.0.0.1' })
      let lied = false
      for (const one of [socket, onward]) {
        sockets.add(one)
        one.on('error', () => undefined)
      }
      socket.on('data', (chunk: Buffer) => {
        if (chunk.includes('4711') && !lied) {
          lied = true
          socket.write(lie)
        } else if (!lied) onward.write(chunk)
      })
      onward.on('data', (chunk: Buffer) => {
        if (!lied) socket.write(chunk)
      })
      socket.on('close', () => onward.destroy())
      onward.on('close', () => socket.destroy())
    })
    await new Promise<void>(resolve => between.listen(0, '127.0.0.1', resolve))
    const { port } = between.address() as net.AddressInfo
    tunnel = await openMaskedTunnel({ port, user: server.user, password: server.password }, [maskOn(['people.ssn'])])
  })
  afterAll(async () => {
    await tunnel.close()
    for (const socket of sockets) socket.destroy()
    between.close()
    await server.remove()
  })

  test.each(lies)('says %s', { timeout: 40_000 }, async (_, bytes) => {
    const other = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
    for (const form of ['query', 'extended'] as const) {
      const client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
      const resident = process.memoryUsage.rss()
      lie = bytes
      if (form === 'query') client.send(queryMessage('select 4711 as n'))
      else client.send(parseMessage('', 'select 4711 as n'), bind(''), executeMessage(''), syncMessage)
      const from = client.messages.length
      // A lie that only makes one wait is ended by the client.
      await until('it is over', () => client.closed || client.messages.length > from, 500).catch(() => undefined)
      client.stream.destroy()
      for (const message of client.messages.slice(from))
        expect(message.body.toString('latin1')).not.toMatch(/node:|\.ts\b|\bat .*:\d+/)
      expect(process.memoryUsage.rss() - resident).toBeLessThan(150_000_000)
      expect(await other.query('select 1')).toContain('D 1')
    }
    other.close()
    await until('all is given back', () => tunnel.connections.size === 0)
    for (const error of tunnel.errors.splice(0)) expect(String(error)).toMatch(/ProtocolError|AgentgateError/)
  })
})
