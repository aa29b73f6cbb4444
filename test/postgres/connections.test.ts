import { execFile, spawn } from 'node:child_process'
import net from 'node:net'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AgentgateError } from '../../src/errors.ts'
import {
  frame,
  parseMessage,
  bindMessage,
  executeMessage,
  queryMessage,
  syncMessage,
} from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { cancelPacket, startupPacket } from '../../src/protocols/postgres/wire/startup.ts'
import { findProgram } from '../support/needs.ts'
import { plainAnalyser } from './support/plain-analyser.ts'
import { errorText, RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import { openTunnel, type TestTunnel, type TunnelOptions } from './support/tunnel.ts'

const run = promisify(execFile)
const masker: TunnelOptions['masker'] = {
  rows: () => ({ maskedColumns: [], mask: rows => rows }),
  copy: () => undefined,
}
const held = /held/

const psqlIsHere = findProgram('psql') !== undefined

describe.each(servers)('$name', ({ available: installed, binaries }) => {
  const available = installed && psqlIsHere
  let server: TestServer
  let tunnel: TestTunnel
  let options: TunnelOptions
  /** How a held statement ends; set by each test. */
  let answer: (ask: number) => Promise<{ text?: string } | 'reject'>
  let asks = 0

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries)
    options = {
      address: `127.0.0.1:${server.port}`,
      user: server.user,
      password: server.password,
      analyser: await plainAnalyser(),
      masker,
      settings: { database: ['postgres', 'template1'] },
      decide: action =>
        held.test(action.analysed.text)
          ? { hold: async () => await answer(++asks) }
          : /forbidden/.test(action.analysed.text)
            ? 'deny'
            : 'allow',
    }
    tunnel = await openTunnel(options)
  })
  afterAll(async () => {
    if (!available) return
    await tunnel.close()
    await server.remove()
  })
  beforeEach(context => {
    if (!available) context.skip(psqlIsHere ? 'no such server is installed' : 'psql is not installed')
    answer = async () => await new Promise(() => undefined)
  })
  afterEach(() => {
    if (available) expect(tunnel.errors).toEqual([])
  })

  const connect = async (more: Partial<Parameters<typeof RawClient.connect>[0]> = {}) =>
    await RawClient.connect({ port: tunnel.port, password: tunnel.secret, ...more })
  const environment = (more: Record<string, string> = {}) => ({
    PATH: process.env['PATH'],
    PGHOST: '127.0.0.1',
    PGPORT: String(tunnel.port),
    PGUSER: 'maria',
    PGPASSWORD: tunnel.secret,
    PGDATABASE: 'postgres',
    ...more,
  })
  const psql = async (args: string[], env: Record<string, string> = {}) =>
    await run('psql', ['-X', '-v', 'ON_ERROR_STOP=1', ...args], { env: environment(env) })

  describe('who gets in', () => {
    test('whoever knows the tunnel’s secret, under any name', async () => {
      expect((await psql(['-Atc', 'select current_user'])).stdout).toBe('postgres\n')
    })

    test('nobody else, and the server is not even asked', async () => {
      await expect(psql(['-c', 'select 1'], { PGPASSWORD: 'wrong' })).rejects.toThrow(
        /FATAL: {2}password authentication failed for user "maria": it is not this tunnel's secret/,
      )
      await expect(psql(['-c', 'select 1'], { PGPASSWORD: server.password.reveal() })).rejects.toThrow('FATAL')
    })

    test('only to the databases that the policy names', async () => {
      expect((await psql(['-Atc', 'select current_database()'], { PGDATABASE: 'template1' })).stdout).toBe(
        'template1\n',
      )
      await expect(psql(['-c', 'select 1'], { PGDATABASE: 'other' })).rejects.toThrow(
        /db serves "postgres", "template1", not "other"\nHINT: {2}name the database: PGDATABASE=postgres/,
      )
    })

    test.each<Record<string, string>>([
      { PGSSLMODE: 'require' },
      { PGSSLMODE: 'require', PGCHANNELBINDING: 'require' },
      { PGSSLMODE: 'disable' },
      { PGSSLMODE: 'prefer', PGGSSENCMODE: 'prefer' },
    ])('with %j', async env => {
      expect((await psql(['-Atc', 'select 1'], env)).stdout).toBe('1\n')
    })

    test('with TLS from the first byte', async () => {
      const tls = await import('node:tls')
      const stream = tls.connect({
        port: tunnel.port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ALPNProtocols: ['postgresql'],
      })
      const client = new RawClient(stream)
      await client.logIn({ port: 0, password: tunnel.secret })
      expect(await client.query('select 1')).toContain('D 1')
      client.close()
    })

    test('bytes in clear text behind an SSL request end it', async () => {
      const socket = net.connect(tunnel.port, '127.0.0.1')
      const answer = new RawClient(socket)
      socket.write(Buffer.concat([Buffer.from('0000000804d2162f', 'hex'), startupPacket(0, [['user', 'x']])]))
      const { type, body } = await answer.next()
      expect([type, errorText(body)]).toEqual(['E', expect.stringContaining('unencrypted data')])
    })

    test.each<[string, Buffer]>([
      ['HTTP', Buffer.from('GET / HTTP/1.0\r\n\r\n')],
      ['noise', Buffer.alloc(100, 0xee)],
      ['a length too long', Buffer.from('7fffffff00030000', 'hex')],
    ])('%s on the port is turned away', async (_, bytes) => {
      const socket = net.connect(tunnel.port, '127.0.0.1')
      const client = new RawClient(socket)
      socket.write(bytes)
      await expect(
        (async () => {
          for (;;) await client.next()
        })(),
      ).rejects.toThrow('ended')
    })

    test('protocol 3.2 gets a long cancel key, a newer one and its options are bargained down', async () => {
      const three = await connect({ minor: 2 })
      expect(three.key.length).toBe(32)
      three.close()
      const newer = await connect({ minor: 9999, parameters: [['_pq_.hello', '1']] })
      expect(newer.messages[0]).toMatchObject({ type: 'v' })
      expect(newer.messages[0]!.body.readInt32BE(0)).toBe((3 << 16) | 2)
      expect(newer.key.length).toBe(32)
      newer.close()
      expect((await connect()).key.length).toBe(4)
    })

    test('replication and encodings that can hide a quote are refused', async () => {
      await expect(connect({ parameters: [['replication', 'database']] })).rejects.toThrow('42501')
      await expect(connect({ parameters: [['client_encoding', 'SJIS']] })).rejects.toThrow('22023')
      await expect(connect({ parameters: [['options', '-c client_encoding=big5']] })).rejects.toThrow('22023')
      await expect(connect({ parameters: [['options', '-c standard_conforming_strings=off']] })).rejects.toThrow(
        'standard_conforming_strings is off',
      )
    })

    test('settings in the start-up packet are decided on like statements', async () => {
      await expect(connect({ parameters: [['options', '-c my.forbidden=1']] })).rejects.toThrow('42501')
      const fine = await connect({ parameters: [['options', '-c search_path="a\\ b" -c application_name=x']] })
      expect(await fine.query('show search_path')).toContain('D "a b"')
      fine.close()
    })

    test('what the server says is passed on: no such role, no such database', async () => {
      const other = await openTunnel({ ...options, user: 'nobody_of_that_name', settings: { database: '*' } })
      await expect(RawClient.connect({ port: other.port, password: other.secret })).rejects.toThrow(/28P01|28000/)
      await other.close()
    })

    test('a server that is away is said to be', async () => {
      const other = await openTunnel({ ...options, address: '127.0.0.1:1' })
      await expect(RawClient.connect({ port: other.port, password: other.secret })).rejects.toThrow(
        '08001 agentgate: cannot reach',
      )
      await other.close()
    })
  })

  describe('cancel', () => {
    test('Ctrl-C reaches its own backend', async () => {
      const one = await connect()
      const two = await connect()
      one.send(queryMessage('select pg_sleep(30)'))
      two.send(queryMessage('select pg_sleep(1)'))
      await running('select pg_sleep(30)')
      net.connect(tunnel.port, '127.0.0.1').end(cancelPacket(one.processId, one.key))
      expect(await one.until()).toEqual(['T', expect.stringMatching('E 57014'), 'Z I'])
      expect(await two.until()).toEqual(['T', 'D ', 'C SELECT 1', 'Z I'])
      one.close()
      two.close()
    })

    test('a wrong key cancels nothing', async () => {
      const client = await connect()
      client.send(queryMessage('select pg_sleep(0.5)'))
      await running('select pg_sleep(0.5)')
      net.connect(tunnel.port, '127.0.0.1').end(cancelPacket(client.processId, Buffer.alloc(4)))
      expect(await client.until()).toContain('C SELECT 1')
      client.close()
    })

    async function running(text: string): Promise<void> {
      const deadline = Date.now() + 10_000
      const watcher = await connect()
      while (!(await watcher.query(`select count(*) from pg_stat_activity where query = '${text}'`)).includes('D 1')) {
        if (Date.now() > deadline) throw new Error('it does not run')
      }
      watcher.close()
    }
  })

  describe('waiting for approval', () => {
    const heldNotice = `N 00000 waiting for approval by dba (rule "test rule"), up to 10 min; Ctrl-C withdraws`

    test('the client is told, and gets its answer after a yes', async () => {
      const client = await connect()
      let approve = (): void => undefined
      answer = async () => await new Promise(resolve => (approve = () => resolve({})))
      client.send(queryMessage(`select 'before'`), queryMessage(`select 'held'`), queryMessage(`select 'after'`))
      const first = await client.until()
      expect(first.filter(message => !message.startsWith('N'))).toEqual(['T', 'D before', 'C SELECT 1', 'Z I'])
      if (!first.includes(heldNotice)) expect((await client.next()).type).toBe('N')
      approve()
      expect(await client.until(2)).toEqual(['T', 'D held', 'C SELECT 1', 'Z I', 'T', 'D after', 'C SELECT 1', 'Z I'])
      client.close()
    })

    test('a rejection is its error', async () => {
      const client = await connect()
      answer = async () => await Promise.resolve('reject')
      expect(await client.query(`select 'held'`)).toEqual([
        heldNotice,
        'E 42501 refused by agentgate: rejected by maria: no',
        'Z I',
      ])
      client.close()
    })

    test('Ctrl-C withdraws', async () => {
      const client = await connect()
      client.send(queryMessage(`select 'held'`))
      expect((await client.next()).type).toBe('N')
      net.connect(tunnel.port, '127.0.0.1').end(cancelPacket(client.processId, client.key))
      expect(await client.until()).toEqual([expect.stringMatching('E 57014'), 'Z I'])
      expect(await client.query('select 1')).toContain('D 1')
      client.close()
    })

    test('a client that goes away withdraws', async () => {
      const client = await connect()
      let withdrawn = (): void => undefined
      const gone = new Promise<void>(resolve => (withdrawn = resolve))
      const { decide } = tunnel
      tunnel.decide = () => ({
        hold: async asker => {
          asker
            .onHold({ id: 'a_X' as never, rule: { name: '', place: '' }, approvers: '', withinSeconds: 1 })
            .addEventListener('abort', () => withdrawn())
          return await new Promise(() => undefined)
        },
      })
      client.send(queryMessage(`select 'held'`))
      expect((await client.next()).type).toBe('N')
      client.stream.destroy()
      await gone
      tunnel.decide = decide
    })

    test('an edit runs in its place', async () => {
      const client = await connect()
      answer = async () => await Promise.resolve({ text: `select 'edited'` })
      expect(await client.query(`select 'held'`)).toEqual([heldNotice, 'T', 'D edited', 'C SELECT 1', 'Z I'])
      client.close()
    })

    test('an edit of a prepared statement runs with the values that were bound', async () => {
      const client = await connect()
      answer = async () => await Promise.resolve({ text: `select 'edited ' || $1::text as it` })
      client.send(
        parseMessage('p', `select 'held ' || $1::text as it`),
        bindMessage({ portal: '', statement: 'p', formats: [], values: [Buffer.from('value')], resultFormats: [] }),
        executeMessage(''),
        syncMessage,
      )
      expect(await client.until()).toEqual([heldNotice, '1', '2', 'D edited value', 'C SELECT 1', 'Z I'])
      client.close()
    })

    test('an edit that has other columns than the client was told is refused', async () => {
      const client = await connect()
      answer = async asked => await Promise.resolve(asked > 0 ? { text: `select 1 as it, 'edited' as more` } : 'reject')
      const { decide } = tunnel
      const errors: unknown[] = []
      tunnel.decide = () => ({
        hold: async asker => {
          const action = { kind: 'postgres', shape: {}, analysed: { text: `select 'held' as it` }, parameters: [] }
          await asker
            .revise(action as never, `select 1 as it, 'more' as more`)
            .catch((error: unknown) => errors.push(error))
          await asker
            .revise(action as never, `select nothing from nowhere`)
            .catch((error: unknown) => errors.push(error))
          return 'reject'
        },
      })
      client.send(
        parseMessage('', `select 'held' as it`),
        bindMessage({ portal: '', statement: '', formats: [], values: [], resultFormats: [] }),
        executeMessage(''),
        syncMessage,
      )
      expect(await client.until()).toEqual([heldNotice, '1', expect.stringMatching('E 42501'), 'Z I'])
      expect(errors.map(error => (error as AgentgateError).message)).toEqual([
        'the edit has other parameters or columns than the client has been told',
        expect.stringContaining('cannot prepare the edit'),
      ])
      tunnel.decide = decide
      client.close()
    })

    test('what is held in a batch keeps no lock at the server', async () => {
      const client = await connect()
      const other = await connect()
      await other.query('create table if not exists locked (a int)')
      let approve = (): void => undefined
      answer = async () => await new Promise(resolve => (approve = () => resolve({})))
      client.send(
        parseMessage('', `insert into locked select 1 where 'held' <> ''`),
        bindMessage({ portal: '', statement: '', formats: [], values: [], resultFormats: [] }),
        executeMessage(''),
        syncMessage,
      )
      expect((await client.next()).type).toBe('N')
      expect(
        await other.query(
          `select count(*) from pg_locks where relation = 'locked'::regclass and pid = ${client.processId}`,
        ),
      ).toContain('D 0')
      approve()
      expect(await client.until()).toEqual(['1', '2', 'C INSERT 0 1', 'Z I'])
      client.close()
      other.close()
    })
  })

  describe('ends', () => {
    test('revocation ends the connection with its reason', async () => {
      const own = await openTunnel(options)
      const client = await RawClient.connect({ port: own.port, password: own.secret })
      client.send(queryMessage('select pg_sleep(30)'))
      own.revoke(new AgentgateError('REVOKED', 'the grant was revoked by maria', { hint: 'ask again' }))
      const rest: string[] = []
      await expect(
        (async () => {
          for (;;) {
            const { type, body } = await client.next()
            rest.push(type === 'E' ? errorText(body) : type)
          }
        })(),
      ).rejects.toThrow('ended')
      expect(rest.at(-1)).toBe('57P01 terminating connection: the grant was revoked by maria')
      await own.close()
    })

    test('the server ends the backend: the client hears the server’s own words', async () => {
      const client = await connect()
      const other = await connect()
      await other.query(`select pg_terminate_backend(${client.processId})`)
      const { type, body } = await client.next()
      expect([type, errorText(body)]).toEqual(['E', expect.stringMatching('57P01')])
      await expect(client.next()).rejects.toThrow('ended')
      other.close()
    })

    test('a client that leaves takes its backend with it', async () => {
      const client = await connect()
      const other = await connect()
      client.stream.destroy()
      const deadline = Date.now() + 10_000
      while (
        !(await other.query(`select count(*) from pg_stat_activity where pid = ${client.processId}`)).includes('D 0')
      )
        expect(Date.now()).toBeLessThan(deadline)
      other.close()
    })

    test('an unknown message ends it, and only it', async () => {
      const client = await connect()
      const other = await connect()
      client.send(frame(0x7e, Buffer.alloc(4)))
      expect(errorText((await client.next()).body)).toContain('08P01')
      expect(await other.query('select 1')).toContain('D 1')
      other.close()
    })
  })

  describe('a slow reader', () => {
    test('slows the server, and memory stays flat', async () => {
      tunnel.keepsResults = false
      const client = await connect()
      client.stream.pause()
      const before = process.memoryUsage.rss()
      client.send(queryMessage(`select repeat('x', 1000) from generate_series(1, 300000)`))
      await new Promise(resolve => setTimeout(resolve, 300))
      let most = 0
      let bytes = 0
      client.stream.removeAllListeners('data')
      client.stream.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        most = Math.max(most, process.memoryUsage.rss())
      })
      client.stream.resume()
      const deadline = Date.now() + 25_000
      while (bytes < 300_000 * 1011) {
        expect(Date.now()).toBeLessThan(deadline)
        await new Promise(resolve => setTimeout(resolve, 20))
      }
      expect(most - before).toBeLessThan(150_000_000)
      client.stream.destroy()
    })
  })

  describe('clients', () => {
    test('psql: \\d, \\copy both ways, a transaction, Ctrl-C', async () => {
      const script = [
        'create table if not exists shop (id int primary key, name text);',
        `\\copy shop from program 'printf "1\\ttea\\n2\\tsalt\\n"'`,
        '\\d shop',
        'begin; update shop set name = upper(name); commit;',
        `\\copy (select * from shop order by id) to stdout`,
        'drop table shop;',
      ].join('\n')
      const { stdout } = await psql(['-q', '-f', '-'].slice(0, 1).concat(['-c', '\\conninfo']))
      expect(stdout).toContain('postgres')
      const child = spawn('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1'], { env: environment() })
      child.stdin.end(script)
      let out = ''
      child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
      child.stderr.on('data', (chunk: Buffer) => (out += chunk.toString()))
      const code = await new Promise(resolve => child.on('close', resolve))
      expect([code, out]).toEqual([0, expect.stringContaining('1\tTEA\n2\tSALT\n')])
      expect(out).toContain('"shop_pkey" PRIMARY KEY, btree (id)')
    })
  })
})
