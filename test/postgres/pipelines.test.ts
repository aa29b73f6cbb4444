import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { SqlAction } from '../../src/protocols/postgres/analysis/analysed.ts'
import {
  bindMessage,
  closeMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  frame,
  parseMessage,
  queryMessage,
  syncMessage,
} from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { openMaskedTunnel } from './support/masked-tunnel.ts'
import { RawClient, show } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import type { TestTunnel } from './support/tunnel.ts'

// Random pipelines through the tunnel, where some statements are refused, beside the same straight at a server, where the
// refused ones are statements that fail by themselves: what client and server say has to be the same, message by message.

const count = process.env['SLOW'] === '1' ? 10_000 : 1500
const longestMs = process.env['SLOW'] === '1' ? Infinity : 4500

/** mulberry32: the same for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * below)
  }
}

interface Step {
  readonly name: string
  readonly tunnel: Buffer
  readonly direct: Buffer
}

const single = [
  'select 1',
  'select n from t order by n limit 3',
  'select generate_series(1, 5)',
  'insert into t (a) values (1) returning n',
  'update t set a = a + 1 where n < 3',
  'delete from t where n > 5',
  'select 1/0',
  'select nope from t',
  'select * from missing',
  'selec 1',
  '',
  'begin',
  'commit',
  'rollback',
  'savepoint s',
  'rollback to s',
  'set search_path = public, pg_catalog',
  "set application_name = 'x'",
  'create temp table if not exists own (a int)',
  'select count(*) from own',
  'deallocate all',
  'lock table t',
  'refused',
  'refused',
  'refused',
]
// What names stand for is looked up at Bind, where the server does at Execute: the same error comes earlier there.
const names = [
  'prepare q as select 7',
  'execute q',
  'declare c cursor for select generate_series(1, 3)',
  'fetch 2 from c',
  'close c',
  'begin; declare c cursor for select generate_series(1, 3); fetch 1 from c',
]
const strings = [
  ...names,
  ...single,
  ...single,
  'select 1; select 2',
  'select 3; refused',
  'begin; select 1/0; commit',
  'insert into t (a) values (2); select 1/0',
  'refused; select 4',
  'begin; refused',
]
const bound = ['select $1::int', 'select n + $1::int from t order by n limit 2', 'update t set a = $1::int where n = 1']
const statementNames = ['', '', 's1', 's2']
const portalNames = ['', '', 'p1']

const forTunnel = (text: string) => text.replaceAll('refused', 'select 8 /* refused */')

/**
 * @param mixes a Query may stand behind extended messages without a Sync between. No client does it, and PostgreSQL 18 then
 * loses count (a block that stays open, XX000 at its end), so that only older servers are a model for it.
 */
function pipeline(pick: (below: number) => number, mixes: boolean): Step[] {
  const of = <T>(list: readonly T[]): T => list[pick(list.length)]!
  const same = (name: string, message: Buffer): Step => ({ name, tunnel: message, direct: message })
  const query = (text: string): Step => ({
    name: `Query ${text}`,
    tunnel: queryMessage(forTunnel(text)),
    direct: queryMessage(text),
  })
  const parse = (name: string, text: string): Step => ({
    name: `Parse ${name}: ${text}`,
    tunnel: parseMessage(name, forTunnel(text)),
    direct: parseMessage(name, text),
  })
  const bind = (portal: string, statement: string, values: readonly string[]): Step =>
    same(
      `Bind ${portal} ${statement} ${values.join()}`,
      bindMessage({
        portal,
        statement,
        formats: [],
        values: values.map(value => Buffer.from(value)),
        resultFormats: [],
      }),
    )
  const execute = (portal: string, rows = 0): Step =>
    same(
      `Execute ${portal} ${rows}`,
      // executeMessage asks for all rows
      rows === 0 ? executeMessage(portal) : frame(0x45, portal, Buffer.of(0, 0, 0, rows)),
    )
  const steps: Step[] = []
  const sync = same('Sync', syncMessage)
  const apart = () => {
    if (!mixes) steps.push(sync)
  }
  const length = 1 + pick(10)
  while (steps.length < length)
    switch (pick(12)) {
      case 0:
      case 1:
        apart()
        steps.push(query(of(strings)))
        break
      case 2:
        apart()
        steps.push(
          query('copy t (a) from stdin'),
          same('CopyData', frame(0x64, Buffer.from(of(['1\n2\n', '3\n', 'x\n'])))),
          same('CopyDone', of([frame(0x63), frame(0x66, 'no more')])),
        )
        break
      case 3:
        steps.push(parse(of(statementNames), of([...single, ...bound])))
        break
      case 4: {
        const name = of(statementNames)
        steps.push(parse(name, of(bound)), bind(of(portalNames), name, [of(['5', '6', 'refused', 'x'])]))
        break
      }
      case 5:
      case 6: {
        const [statement, portal] = [of(statementNames), of(portalNames)]
        steps.push(parse(statement, of(single)), bind(portal, statement, []))
        if (pick(2) === 0) steps.push(same(`Describe ${portal}`, describeMessage('Portal', portal)))
        steps.push(execute(portal, of([0, 0, 1, 2])))
        break
      }
      case 7:
        steps.push(bind(of(portalNames), of(statementNames), of([[], ['5'], ['refused']])))
        break
      case 8:
        steps.push(execute(of(portalNames), of([0, 1])))
        break
      case 9:
        steps.push(
          pick(2) === 0
            ? same('Describe S', describeMessage('Statement', of(statementNames)))
            : same('Close', closeMessage(of(['Statement', 'Portal']), of(['', 's1', 'p1']))),
        )
        break
      case 10:
        steps.push(same('Flush', flushMessage))
        break
      default:
        steps.push(sync)
    }
  return steps
}

const deniesAction = ({ analysed, parameters }: SqlAction) =>
  analysed.text.includes('refused') || parameters.some(({ value }) => value?.toString() === 'refused')

/** Every message up to the one that ends the pipeline; the words of a refusal aside. */
async function answers(client: RawClient, end: string): Promise<string[]> {
  const said: string[] = []
  for (;;) {
    const message = await client.next()
    const shown = show(message)
    if (message.type === 'E' || message.type === 'N')
      said.push(/refused|no such thing here/.test(shown) ? `${message.type} refused` : shown.slice(0, 7))
    else said.push(shown)
    if (shown !== `D ${end}`) continue
    await client.next()
    said.push(show(await client.next()))
    return said
  }
}

describe.each(servers)('$name', ({ name, available, binaries }) => {
  let server: TestServer
  let tunnel: TestTunnel

  beforeAll(async () => {
    if (!available) return
    server = await startServer(binaries)
    const admin = new pg.Client({ connectionString: server.url.reveal() })
    await admin.connect()
    for (const side of ['direct', 'tunnel']) await admin.query(`create database ${side}`)
    await admin.end()
    for (const side of ['direct', 'tunnel']) {
      const url = new URL(server.url.reveal())
      url.pathname = `/${side}`
      const client = new pg.Client({ connectionString: url.href })
      await client.connect()
      await client.query('create table t (n int generated always as identity, a int)')
      await client.query('insert into t (a) select generate_series(1, 4)')
      await client.end()
    }
    tunnel = await openMaskedTunnel(server, [], { decide: action => (deniesAction(action) ? 'deny' : 'allow') })
  })
  afterAll(async () => {
    if (!available) return
    await tunnel.close()
    await server.remove()
  })
  beforeEach(context => {
    if (!available) context.skip()
  })

  test('pipelines of any kind keep client and server in step', { timeout: 600_000 }, async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
    const pick = random(seed)
    const through = await RawClient.connect({ port: tunnel.port, password: tunnel.secret, database: 'tunnel' })
    const straight = await RawClient.connect({
      port: server.port,
      password: server.password.reveal(),
      database: 'direct',
    })
    const deadline = performance.now() + longestMs
    let done = 0
    let refused = 0
    for (; done <= 200 || (done < count && performance.now() < deadline); done++) {
      const steps = pipeline(pick, !name.includes('18'))
      const end = `end ${done}`
      const rest = [
        syncMessage,
        queryMessage('rollback'),
        queryMessage('deallocate all'),
        queryMessage(`select '${end}'`),
      ]
      const bytes = Buffer.concat([...steps.map(step => step.tunnel), ...rest])
      // Cut anywhere: what one read brings must not matter.
      const cut = pick(bytes.length)
      through.send(bytes.subarray(0, cut))
      if (pick(4) === 0) await new Promise(resolve => setImmediate(resolve))
      through.send(bytes.subarray(cut))
      straight.send(...steps.map(step => step.direct), ...rest)
      const [got, expected] = await Promise.all([answers(through, end), answers(straight, end)])
      refused += got.filter(line => line === 'E refused').length
      // What is refused may have been going to fail anyway, in its own words.
      for (const [at, line] of got.entries())
        // A portal that a Query has left behind is none to agentgate; at the server it is one that cannot run.
        if ((line === 'E refused' || line === 'E 34000') && expected[at]?.startsWith('E ') === true) expected[at] = line
      expect(got, `seed ${seed}, pipeline ${done}:\n${steps.map(step => step.name).join('\n')}`).toEqual(expected)
      through.messages.length = 0
      straight.messages.length = 0
      through.rewind()
      straight.rewind()
    }
    expect(done).toBeGreaterThan(200)
    expect(refused).toBeGreaterThan(done / 10)
    expect(await through.query('select count(*), sum(a) from t')).toEqual(
      await straight.query('select count(*), sum(a) from t'),
    )
    expect(tunnel.errors).toEqual([])
    through.close()
    straight.close()
  })
})
