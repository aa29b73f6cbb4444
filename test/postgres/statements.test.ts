import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  bindMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  frame,
  parseMessage,
  queryMessage,
  syncMessage,
} from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { plainAnalyser } from './support/plain-analyser.ts'
import { RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import { openTunnel, type TestTunnel } from './support/tunnel.ts'

const bind = (statement: string, values: readonly (string | null)[] = [], portal = '') =>
  bindMessage({
    portal,
    statement,
    formats: [],
    values: values.map(value => (value === null ? null : Buffer.from(value))),
    resultFormats: [],
  })
const run = (text: string, ...values: string[]) => [parseMessage('', text), bind('', values), executeMessage('')]
const copyData = (text: string) => frame(0x64, Buffer.from(text))
const copyDone = frame(0x63)
const copyFail = frame(0x66, 'no more')
const forbidden = `select 'forbidden'`
const refused = 'E 42501 refused by agentgate: no such thing here'

describe.each(servers)('$name', ({ available, binaries }) => {
  let server: TestServer
  let tunnel: TestTunnel
  let client: RawClient

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries, { max_prepared_transactions: '2' })
    tunnel = await openTunnel({
      address: `127.0.0.1:${server.port}`,
      user: server.user,
      password: server.password,
      analyser: await plainAnalyser(),
      masker: { rows: () => ({ maskedColumns: [], mask: rows => rows }), copy: () => undefined },
      decide: action =>
        /forbidden/.test(action.analysed.text) ||
        action.parameters.some(({ value }) => value?.toString() === 'forbidden') ||
        action.analysed.statements.some(
          statement => /forbidden/.test(statement.text) || statement.functions.includes('forbidden'),
        )
          ? 'deny'
          : 'allow',
    })
  })
  afterAll(async () => {
    if (!available) return
    await tunnel.close()
    await server.remove()
  })
  beforeEach(async context => {
    if (!available) return context.skip()
    client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
  })
  afterEach(() => {
    if (!available) return
    client.close()
    expect(tunnel.errors).toEqual([])
  })

  /** Sends everything in one write; what comes back, up to so many ReadyForQuery. */
  async function exchange(messages: readonly Buffer[], readies = 1): Promise<string[]> {
    client.send(...messages)
    return await client.until(readies)
  }

  describe('refusals', () => {
    test('a refused query leaves the session as an error would', async () => {
      expect(await client.query(forbidden)).toEqual([refused, 'Z I'])
      expect(await client.query('select 1')).toEqual(['T', 'D 1', 'C SELECT 1', 'Z I'])
    })

    test('inside a transaction the server aborts it', async () => {
      await client.query('create table if not exists t (a int); truncate t')
      await client.query('begin; insert into t values (1)')
      expect(await client.query(forbidden)).toEqual([refused, 'Z E'])
      expect(await client.query('select 1')).toEqual([expect.stringMatching('E 25P02'), 'Z E'])
      expect(await client.query('commit')).toEqual(['C ROLLBACK', 'Z I'])
      expect(await client.query('select count(*) from t')).toContain('D 0')
    })

    test('nothing of a string runs if one statement of it is refused', async () => {
      await client.query('drop table if exists made')
      expect(await client.query(`create table made (a int); ${forbidden}`)).toEqual([refused, 'Z I'])
      expect(await client.query(`select to_regclass('made')`)).toContain('D NULL')
    })

    test('the refused text never reaches the server', async () => {
      await client.query(`${forbidden}, 'very special'`)
      await exchange([...run(`${forbidden}, 'very special'`), syncMessage])
      expect(await client.query('select 1')).toContain('D 1')
      expect(server.log()).toContain('refused by agentgate')
      expect(server.log()).not.toContain('very special')
    })

    test('what is behind a refused Parse is passed over up to Sync', async () => {
      expect(
        await exchange(
          [...run('select 1'), ...run(forbidden), ...run('select 2'), syncMessage, ...run('select 3'), syncMessage],
          2,
        ),
      ).toEqual(['1', '2', 'D 1', 'C SELECT 1', refused, 'Z I', '1', '2', 'D 3', 'C SELECT 1', 'Z I'])
    })

    test('a refused pipeline rolls back what ran before in it', async () => {
      await client.query('create table if not exists p (a int); truncate p')
      await exchange([...run('insert into p values (1)'), ...run(forbidden), syncMessage])
      expect(await client.query('select count(*) from p')).toContain('D 0')
    })

    test('bound values are decided on', async () => {
      const messages = (value: string) => [parseMessage('v', 'select $1::text'), bind('v', [value]), executeMessage('')]
      expect(await exchange([...messages('forbidden'), syncMessage])).toEqual(['1', refused, 'Z I'])
      expect(await exchange([bind('v', ['fine']), executeMessage(''), syncMessage])).toEqual([
        '2',
        'D fine',
        'C SELECT 1',
        'Z I',
      ])
    })

    test('a prepared statement is decided on again at every run', async () => {
      await exchange([parseMessage('again', 'select 1'), syncMessage])
      const { decide } = tunnel
      try {
        tunnel.decide = () => 'deny'
        tunnel.generation += 1
        expect(await exchange([bind('again'), executeMessage(''), syncMessage])).toEqual([refused, 'Z I'])
      } finally {
        tunnel.decide = decide
        tunnel.generation += 1
      }
      expect(await exchange([bind('again'), executeMessage(''), syncMessage])).toContain('D 1')
    })

    test('the function call message is refused', async () => {
      client.send(frame(0x46, Buffer.from('000000010000000000000000', 'hex')))
      expect(await client.until()).toEqual([expect.stringMatching('E 42501'), 'Z I'])
    })

    test('an earlier error of the server makes a later refusal moot', async () => {
      expect(await exchange([...run('select 1/0'), ...run(forbidden), syncMessage])).toEqual([
        '1',
        expect.stringMatching('E 22012'), // while planning, so in place of BindComplete
        'Z I',
      ])
    })

    test('a statement that is too long is refused, and the next one works', async () => {
      const long = `select '${'x'.repeat(17 * 1024 * 1024)}'`
      expect(await exchange([queryMessage(long)])).toEqual([expect.stringMatching('E 54000'), 'Z I'])
      expect(await exchange([...run(long), syncMessage])).toEqual([expect.stringMatching('E 54000'), 'Z I'])
      expect(await client.query('select 1')).toContain('D 1')
    })

    test('a text with a zero in it ends the connection, as its end cannot be known', async () => {
      client.send(frame(0x51, Buffer.from('select 1\0; drop table t\0')))
      const { type } = await client.next()
      expect(type).toBe('E')
      await expect(client.next()).rejects.toThrow('ended')
    })

    test('bytes that are not UTF-8 are refused', async () => {
      client.send(frame(0x51, Buffer.from([0x73, 0xc3, 0x28, 0])))
      expect(await client.until()).toEqual([expect.stringMatching('E 22021'), 'Z I'])
    })
  })

  describe('names', () => {
    test('a statement that was never prepared is not executed', async () => {
      expect(await exchange([bind('ghost'), syncMessage])).toEqual([expect.stringMatching('E 26000'), 'Z I'])
      expect(await exchange([describeMessage('Portal', 'ghost'), syncMessage])).toEqual([
        expect.stringMatching('E 34000'),
        'Z I',
      ])
      expect(await exchange([executeMessage('ghost'), syncMessage])).toEqual([expect.stringMatching('E 34000'), 'Z I'])
      expect(await client.query('execute ghost')).toEqual([expect.stringMatching('E 26000'), 'Z I'])
    })

    test('PREPARE, EXECUTE and the protocol share their names', async () => {
      await client.query(`prepare sql_made as select 'by sql'`)
      expect(await exchange([bind('sql_made'), executeMessage(''), syncMessage])).toContain('D by sql')
      await exchange([parseMessage('wire_made', `select 'by wire'`), syncMessage])
      expect(await client.query('execute wire_made')).toContain('D by wire')
      await client.query('deallocate wire_made')
      expect(await exchange([bind('wire_made'), syncMessage])).toEqual([expect.stringMatching('E 26000'), 'Z I'])
    })

    test('EXECUTE is decided on as what it executes', async () => {
      const { decide } = tunnel
      await client.query(`prepare later as insert into pg_temp.t values (1)`).catch(() => undefined)
      await client.query(`create temp table pt (a int)`)
      await client.query(`prepare writes as insert into pt values (1)`)
      try {
        tunnel.decide = action =>
          action.analysed.statements.some(s => s.effects.some(({ verb }) => verb === 'insert')) ? 'deny' : 'allow'
        tunnel.generation += 1
        expect(await client.query('execute writes')).toEqual([refused, 'Z I'])
        expect(await exchange([...run('execute writes'), syncMessage])).toEqual(['1', refused, 'Z I'])
      } finally {
        tunnel.decide = decide
        tunnel.generation += 1
      }
      expect(await client.query('execute writes')).toEqual(['C INSERT 0 1', 'Z I'])
    })

    test('a name that is given anew in flight stands for what the server made of it', async () => {
      // The second Parse of the same name fails at the server: Bind, behind a Sync, then means the first.
      await exchange([parseMessage('n', `select 'first'`), syncMessage])
      expect(
        await exchange(
          [parseMessage('n', `select 'second'`), syncMessage, bind('n'), executeMessage(''), syncMessage],
          2,
        ),
      ).toEqual([expect.stringMatching('E 42P05'), 'Z I', '2', 'D first', 'C SELECT 1', 'Z I'])
    })

    test('names longer than the server keeps are cut as it cuts them', async () => {
      const long = 'n'.repeat(63)
      await exchange([parseMessage(`${long}_one`, `select 'one'`), syncMessage])
      expect(await exchange([bind(`${long}_two`), executeMessage(''), syncMessage])).toContain('D one')
    })

    test('cursors by DECLARE are portals', async () => {
      await client.query('begin')
      await client.query(`declare c cursor for select generate_series(1, 5)`)
      expect(await client.query('fetch 2 from c')).toEqual(['T', 'D 1', 'D 2', 'C FETCH 2', 'Z T'])
      expect(await exchange([executeMessage('c', 1), syncMessage])).toEqual(['D 3', 's', 'Z T'])
      expect(await client.query('move all in c; close c; commit')).toEqual([
        'C MOVE 2',
        'C CLOSE CURSOR',
        'C COMMIT',
        'Z I',
      ])
    })

    test('DISCARD ALL forgets what was prepared, and nothing else breaks', async () => {
      await exchange([parseMessage('gone', 'select 1'), syncMessage])
      expect(await client.query('discard all')).toContain('C DISCARD ALL')
      expect(await exchange([bind('gone'), syncMessage])).toEqual([expect.stringMatching('E 26000'), 'Z I'])
      expect(await client.query('select 1')).toContain('D 1')
    })
  })

  describe('shapes of exchange', () => {
    test('several statements in one string, an empty one, and rows of all', async () => {
      expect(await client.query(`select 1; ; select 2, 'x'; set application_name = 'a'`)).toEqual([
        ...['T', 'D 1', 'C SELECT 1', 'T', 'D 2|x', 'C SELECT 1', 'C SET'],
        ...['S application_name=a', 'Z I'],
      ])
      expect(await client.query('')).toEqual(['I', 'Z I'])
      expect(await client.query('-- nothing')).toEqual(['I', 'Z I'])
      expect(await exchange([...run(''), syncMessage])).toEqual(['1', '2', 'I', 'Z I'])
    })

    test('a paged portal goes on where it stopped', async () => {
      expect(
        await exchange([
          parseMessage('', 'select generate_series(1, 3)'),
          bind(''),
          describeMessage('Portal', ''),
          executeMessage('', 2),
          executeMessage('', 2),
          syncMessage,
        ]),
      ).toEqual(['1', '2', 'T', 'D 1', 'D 2', 's', 'D 3', 'C SELECT 1', 'Z I'])
    })

    test('Flush brings answers without Sync', async () => {
      client.send(...run('select 1'), flushMessage)
      const seen = [await client.next(), await client.next(), await client.next(), await client.next()].map(
        ({ type }) => type,
      )
      expect(seen).toEqual(['1', '2', 'D', 'C'])
      expect(await exchange([syncMessage])).toEqual(['Z I'])
    })

    test('COPY in, by a query and by Execute, whole and broken off', async () => {
      await client.query('create table if not exists copied (a int); truncate copied')
      client.send(queryMessage('copy copied from stdin'))
      expect((await client.next()).type).toBe('G')
      expect(await exchange([copyData('1\n2\n'), copyData('3\n'), copyDone])).toEqual(['C COPY 3', 'Z I'])
      // As libpq: Sync is sent before the copy is known, and again behind it.
      client.send(...run('copy copied from stdin'), syncMessage)
      expect([(await client.next()).type, (await client.next()).type, (await client.next()).type]).toEqual([
        '1',
        '2',
        'G',
      ])
      expect(await exchange([copyData('4\n'), copyDone, syncMessage])).toEqual(['C COPY 1', 'Z I'])
      client.send(queryMessage('copy copied from stdin'))
      await client.next()
      expect(await exchange([copyData('5\n'), copyFail])).toEqual([expect.stringMatching('E 57014'), 'Z I'])
      client.send(...run('copy copied from stdin'), syncMessage)
      expect([(await client.next()).type, (await client.next()).type, (await client.next()).type]).toContain('G')
      expect(await exchange([copyData('bad\n'), copyData('worse\n'), copyDone, syncMessage])).toEqual([
        expect.stringMatching('E 22P02'),
        'Z I',
      ])
      expect(await client.query('select count(*) from copied')).toContain('D 4')
    })

    test('two copies in one string', async () => {
      await client.query('create table if not exists copied (a int); truncate copied')
      client.send(queryMessage('copy copied from stdin; copy copied from stdin; select 7'))
      expect((await client.next()).type).toBe('G')
      client.send(copyData('1\n'), copyDone, copyData('2\n3\n'), copyDone)
      expect(await client.until()).toEqual(['C COPY 1', 'G', 'C COPY 2', 'T', 'D 7', 'C SELECT 1', 'Z I'])
    })

    test('data that comes after a copy has failed is ignored', async () => {
      expect(await exchange([queryMessage('copy nowhere from stdin'), copyData('1\n'), copyDone])).toEqual([
        expect.stringMatching('E 42P01'),
        'Z I',
      ])
      expect(await client.query('select 1')).toContain('D 1')
    })

    test('COPY out', async () => {
      client.send(queryMessage('copy (select generate_series(1, 3)) to stdout'))
      expect(await client.until()).toEqual(['H', 'd', 'd', 'd', 'c', 'C COPY 3', 'Z I'])
      expect(await exchange([...run('copy (values (1)) to stdout'), syncMessage])).toEqual([
        '1',
        '2',
        'H',
        'd',
        'c',
        'C COPY 1',
        'Z I',
      ])
    })

    test('an error that only comes at the commit', async () => {
      await client.query(
        'drop table if exists d; create table d (a int unique deferrable initially deferred); insert into d values (1)',
      )
      expect(await exchange([...run('insert into d values (1)'), syncMessage])).toEqual([
        '1',
        '2',
        'C INSERT 0 1',
        expect.stringMatching('E 23505'),
        'Z I',
      ])
    })

    test('notices and notifications come through at any time', async () => {
      const listener = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
      await listener.query('listen news')
      expect(await client.query(`do $$ begin raise notice 'hello'; end $$`)).toEqual(['N 00000 hello', 'C DO', 'Z I'])
      await client.query(`notify news, 'now'`)
      expect((await listener.next()).type).toBe('A')
      listener.close()
    })

    test('a long row and a long value pass in pieces', async () => {
      client.send(queryMessage(`select repeat('x', 3000000), 1; select repeat('y', 100)`))
      const messages: number[] = []
      for (;;) {
        const { type, body } = await client.next()
        if (type === 'D') messages.push(body.length)
        if (type === 'Z') break
      }
      expect(messages).toEqual([2 + 4 + 3_000_000 + 4 + 1, 2 + 4 + 100])
      const value = 'z'.repeat(5_000_000)
      expect(
        await exchange([parseMessage('', 'select length($1)'), bind('', [value]), executeMessage(''), syncMessage]),
      ).toContain('D 5000000')
    })
  })

  describe('how names are resolved', () => {
    test('a change of search_path is followed, also without a Sync in between, and at its rollback', async () => {
      const paths: string[][] = []
      const analyser = await plainAnalyser()
      const watched = await openTunnel({
        address: `127.0.0.1:${server.port}`,
        user: server.user,
        password: server.password,
        analyser: {
          ...analyser,
          analyse: (text, resolution, catalogue) => {
            if (text.startsWith('select')) paths.push([...resolution.searchPath])
            return analyser.analyse(text, resolution, catalogue)
          },
        },
        masker: { rows: () => ({ maskedColumns: [], mask: rows => rows }), copy: () => undefined },
      })
      const raw = await RawClient.connect({ port: watched.port, password: watched.secret })
      await raw.query('create schema if not exists other')
      await raw.query('select 1')
      await raw.query('set search_path to other')
      await raw.query('select 2')
      raw.send(...run('set search_path to public, other'), ...run('select 3'), syncMessage)
      expect((await raw.until()).filter(message => !message.startsWith('S '))).toEqual(
        ['1', '2', 'C SET', '1', '2', 'D 3', 'C SELECT 1', 'Z I'], // since 18 the server reports search_path
      )
      await raw.query('begin; set local search_path to other')
      await raw.query('select 4')
      await raw.query('rollback')
      await raw.query('select 5')
      expect(paths).toEqual([
        ['pg_catalog', 'public'],
        ['pg_catalog', 'other'],
        ['pg_catalog', 'public', 'other'],
        ['pg_catalog', 'other'],
        ['pg_catalog', 'public', 'other'],
      ])
      raw.close()
      await watched.close()
    })

    test('in a failed transaction only its end gets through', async () => {
      await client.query('begin; set local search_path to public')
      await client.query('select 1/0')
      expect(await client.query('select 1')).toEqual([expect.stringMatching('E 25P02'), 'Z E'])
      expect(await client.query('rollback')).toEqual(['C ROLLBACK', 'Z I'])
      expect(await client.query('select 1')).toContain('D 1')
    })
  })
})
