import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { queryMessage } from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { ResultDecoder } from '../../src/protocols/postgres/relay/decoder.ts'
import { maskOn, openMaskedTunnel } from './support/masked-tunnel.ts'
import { errorText, RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import type { TestTunnel } from './support/tunnel.ts'

// Copies of masked columns: what comes through the tunnel, read back by the server itself, is the rows that a SELECT gives.

const secret = 'secret'
const wild = fc.oneof(
  fc.constant(null),
  fc.constantFrom(
    '',
    '\\N',
    '\\.',
    '"',
    "'",
    ',',
    '\t',
    '\n',
    '\r\n',
    '\\',
    '\\\\n',
    'a"b',
    '""',
    'N',
    'x|y',
    'é€\u{1F600}',
    ' ',
  ),
  fc.string({
    unit: fc.constantFrom('a', '"', "'", '\\', ',', '\t', '\n', '\r', '|', 'N', 'é', '\u0001', '\b', '\f', '\v', ' '),
  }),
)

const formats: readonly (readonly [options: string, again?: string])[] = [
  [''],
  ["(delimiter '|')"],
  ["(null 'none')"],
  ["(delimiter ',', null '')"],
  ['(format csv)'],
  ['(format csv, header)', '(format csv, header)'],
  ["(format csv, delimiter ';', quote '''')"],
  ["(format csv, quote '\"', escape '\\')"],
  ['(format csv, force_quote *)', '(format csv)'],
  ["(format csv, force_quote (body, hidden), null 'nil')", "(format csv, null 'nil')"],
  ["with csv header delimiter as '|' null as 'x'"],
  ['(format binary)'],
  ['with binary'],
]

describe.each(servers)('$name', ({ available, binaries }) => {
  let server: TestServer
  let tunnel: TestTunnel
  let direct: pg.Client

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries)
    direct = new pg.Client({ connectionString: server.url.reveal() })
    await direct.connect()
    await direct.query(`
      create table notes (id int primary key, body text, hidden text, n int, doc jsonb, tail text);
      create table back (like notes);
      create table kinds (t text, i int, d date, u uuid, j jsonb, b bytea, a text[], v varchar(40), c char(9));
      insert into kinds values ('secret', 4711, '1970-01-02', '00000000-0000-0000-0000-00000000beef', '{"k": "secret"}', 'secret', '{secret}', 'secret', 'secret');
      create view seen as select id, hidden as other from notes;
    `)
    tunnel = await openMaskedTunnel(server, [maskOn(['notes.hidden', 'notes.n', 'kinds.*'])])
  })
  afterAll(async () => {
    if (!available) return
    await direct.end()
    await tunnel.close()
    await server.remove()
  })
  beforeEach(context => {
    if (!available) context.skip()
  })

  const connect = async () => await RawClient.connect({ port: tunnel.port, password: tunnel.secret })

  /** The pieces of a copy, or the error in its place. */
  async function copied(client: RawClient, sql: string): Promise<Buffer[] | string> {
    const before = client.messages.length
    client.send(queryMessage(sql))
    await client.until()
    const messages = client.messages.slice(before)
    const error = messages.find(message => message.type === 'E')
    if (error !== undefined) return errorText(error.body)
    return messages.filter(message => message.type === 'd').map(message => message.body)
  }

  async function fill(rows: readonly (readonly (string | null)[])[]): Promise<void> {
    await direct.query('truncate notes; truncate back')
    await direct.query(
      `insert into notes select id, b, $4 || h, id, to_jsonb(b), t from unnest($1::int[], $2::text[], $3::text[], $5::text[]) x (id, b, h, t)`,
      [rows.map((_, id) => id), rows.map(row => row[0]), rows.map(row => row[1]), secret, rows.map(row => row[2])],
    )
  }

  /** Has the server read what was copied. */
  async function takeBack(pieces: readonly Buffer[], options: string): Promise<Record<string, unknown>[]> {
    const client = await RawClient.connect({ port: server.port, password: server.password.reveal() })
    client.send(queryMessage(`copy back from stdin ${options}`))
    while ((await client.next()).type !== 'G');
    const data = Buffer.concat(pieces)
    const head = Buffer.alloc(5)
    head.write('d')
    head.writeInt32BE(data.length + 4, 1)
    client.send(head, data, Buffer.from('6300000004', 'hex'))
    const said = await client.until()
    expect(said.filter(line => line.startsWith('E'))).toEqual([])
    client.close()
    return (await direct.query('select * from back order by id')).rows as Record<string, unknown>[]
  }

  test.each(formats)('rows of any content, COPY %s', { timeout: 60_000 }, async (...format) => {
    const [options = '', again = options] = format
    const client = await connect()
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(wild, wild, wild), { minLength: 1, maxLength: 12 }), async rows => {
        await fill(rows)
        const pieces = await copied(client, `copy notes to stdout ${options}`)
        if (typeof pieces === 'string') throw new Error(pieces)
        expect(Buffer.concat(pieces).includes(secret)).toBe(false)
        // Read back, as some options make an empty text NULL.
        const plain = await RawClient.connect({ port: server.port, password: server.password.reveal() })
        const unmasked = await copied(plain, `copy notes to stdout ${options}`)
        plain.close()
        const expected = await takeBack(unmasked as Buffer[], again)
        await direct.query('truncate back')
        const got = await takeBack(pieces, again)
        // What takes a hidden value's place is for the masking to say; whether there is one is the server's.
        const marker = got.find(row => row['hidden'] !== null)?.['hidden']
        expect(got).toEqual(expected.map(row => ({ ...row, n: null, hidden: row['hidden'] === null ? null : marker })))
      }),
      { numRuns: 6 },
    )
    client.close()
  })

  test('each row is a message of its own, as the server sends it', async () => {
    await fill([
      ['one', 'x', 'a'],
      ['t\nwo', null, 'b'],
    ])
    const client = await connect()
    for (const [options, count] of [
      ['', 2],
      ['(format csv)', 2],
      ['(format csv, header)', 3],
      ['(format binary)', 3],
    ] as const)
      expect(await copied(client, `copy notes to stdout ${options}`)).toHaveLength(count)
    client.close()
  })

  test('by whatever query or view the column comes', async () => {
    await fill([['one', 'x', 'a']])
    const client = await connect()
    for (const sql of [
      'copy (select id, hidden from notes) to stdout',
      'copy (select upper(hidden) || 1, lower(hidden) from notes) to stdout csv',
      'copy (select * from seen) to stdout (format binary)',
      'copy (select row_to_json(notes) from notes) to stdout',
      'copy (select notes from notes) to stdout csv',
      'copy (with x as (select hidden h from notes) select h, 1 from x) to stdout',
      'copy (update notes set body = body returning hidden) to stdout',
      'copy notes (id, hidden) to stdout',
    ]) {
      const pieces = await copied(client, sql)
      if (typeof pieces === 'string') throw new Error(`${sql}: ${pieces}`)
      expect(pieces.length).toBeGreaterThan(0)
      expect(Buffer.concat(pieces).toString('latin1').toLowerCase()).not.toContain(secret)
    }
    client.close()
  })

  test('by the extended protocol, and on record', async () => {
    await fill([['one', 'x', 'a']])
    const { bindMessage, executeMessage, parseMessage, syncMessage } =
      await import('../../src/protocols/postgres/wire/frontend-messages.ts')
    const client = await connect()
    tunnel.results.length = 0
    const before = client.messages.length
    client.send(
      parseMessage('', 'copy notes to stdout'),
      bindMessage({ portal: '', statement: '', formats: [], values: [], resultFormats: [] }),
      executeMessage(''),
      syncMessage,
    )
    await client.until()
    const bytes = Buffer.concat(client.messages.slice(before).map(message => message.body))
    expect(bytes.toString()).toMatch(/0\tone\t/)
    expect(bytes.includes(secret)).toBe(false)
    expect(Buffer.concat(tunnel.results).includes(secret)).toBe(false)
    expect(Buffer.concat(tunnel.results).toString()).toMatch(/0\tone\t/)
    client.close()
  })

  test.each(['', '(format csv)', '(format binary)'])('columns of every type, COPY %s', async options => {
    const client = await connect()
    const pieces = await copied(client, `copy kinds to stdout ${options}`)
    if (typeof pieces === 'string') throw new Error(pieces)
    const text = Buffer.concat(pieces).toString('latin1')
    expect(text).not.toMatch(/secret|4711|1970|beef|736563726574/)
    await direct.query('create table kinds_back (like kinds)')
    try {
      const admin = await RawClient.connect({ port: server.port, password: server.password.reveal() })
      admin.send(queryMessage(`copy kinds_back from stdin ${options}`))
      while ((await admin.next()).type !== 'G');
      const head = Buffer.alloc(5)
      head.write('d')
      head.writeInt32BE(Buffer.concat(pieces).length + 4, 1)
      admin.send(head, ...pieces, Buffer.from('6300000004', 'hex'))
      expect((await admin.until()).filter(line => line.startsWith('E'))).toEqual([])
      admin.close()
      const { rows } = await direct.query('select t, j, b, v, i from kinds_back')
      expect(rows[0]).toMatchObject({ i: null })
      expect(rows[0].t).toMatch(/masked|redacted|\*/)
      expect(rows[0].j).not.toBeNull()
    } finally {
      await direct.query('drop table kinds_back')
    }
    client.close()
  })

  test('what cannot be taken apart with certainty is refused before it runs', async () => {
    await fill([['one', 'x', 'a']])
    const client = await connect()
    for (const sql of [
      "copy notes to stdout (encoding 'SJIS')",
      "copy notes to stdout (null 'é')",
      "copy notes to stdout (null '\\')",
      'copy notes to stdout (format json)',
    ])
      expect(await copied(client, sql)).toMatch(/^42501|^22023|^0A000|^42601/)
    // What has nothing to do with a mask is not looked into.
    expect(await copied(client, "copy notes (id, body) to stdout (encoding 'LATIN1', null 'none')")).toHaveLength(1)
    expect(await client.query('select 1')).toContain('D 1')
    client.close()
  })

  test('what a client copies in is on record, unless a mask hides something of it', async () => {
    await direct.query('create table if not exists plain (a text); truncate plain, notes')
    const client = await connect()
    for (const [table, isKept] of [
      ['plain', true],
      ['notes', false],
    ] as const) {
      tunnel.results.length = 0
      client.send(queryMessage(`copy ${table} (${isKept ? 'a' : 'id, hidden'}) from stdin; select 7`))
      while ((await client.next()).type !== 'G');
      const data = Buffer.from(isKept ? 'kept data\nmore\n' : '1\tsecret data\n2\tmore\n')
      const head = Buffer.alloc(5)
      head.write('d')
      head.writeInt32BE(data.length + 4, 1)
      // Cut within the message.
      client.send(head, data.subarray(0, 4))
      await new Promise(resolve => setImmediate(resolve))
      client.send(data.subarray(4), Buffer.from('6300000004', 'hex'))
      expect(await client.until()).toEqual(['C COPY 2', 'T', 'D 7', 'C SELECT 1', 'Z I'])
      const recorded = Buffer.concat(tunnel.results)
      expect(recorded.includes(data)).toBe(isKept)
      expect(recorded.includes('secret')).toBe(false)
      const decoder = new ResultDecoder()
      const shown = [...decoder.push(recorded), ...decoder.end()].map(event => event.text)
      expect(shown.slice(0, 3)).toEqual(
        isKept ? ['(from the client:)', 'kept data\nmore', 'COPY 2'] : ['(from the client:)', 'COPY 2', '1 rows'],
      )
    }
    client.close()
  })

  test('memory stays flat', { timeout: 60_000 }, async () => {
    await direct.query('truncate notes')
    await direct.query(
      `insert into notes select n, repeat('b', 100), 'secret' || repeat('h', 100), n from generate_series(1, 100000) n`,
    )
    const client = await connect()
    // The test's own client keeps all that it gets, so that is put aside.
    tunnel.keepsResults = false
    const before = process.memoryUsage().rss
    client.messages.splice(0)
    let most = 0
    let rows = 0
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss)
      // The last one stays: it may be the end that is waited for.
      rows += client.messages.splice(0, Math.max(0, client.messages.length - 1)).length
    }, 20)
    client.send(queryMessage('copy notes to stdout csv'))
    while (client.messages.at(-1)?.type !== 'Z') await new Promise(resolve => setTimeout(resolve, 10))
    clearInterval(watch)
    tunnel.keepsResults = true
    expect(rows + client.messages.length).toBeGreaterThan(100_000)
    expect(most - before).toBeLessThan(150 * 1024 * 1024)
    client.close()
  })
})
