import { beforeEach, describe, expect, test } from 'vitest'
import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from '../../src/protocols/postgres/wire/frontend-messages.ts'
import { maskOn } from './support/masked-tunnel.ts'
import { RawClient } from './support/raw-client.ts'
import { servers } from './support/server.ts'
import { useServer } from './support/suite.ts'

const bind = bindMessage({ portal: '', statement: '', formats: [], values: [], resultFormats: [] })
const tooLong = 'E 54000 refused by agentgate: the result is longer than'

const schema = `
create table t (id int primary key, s text);
insert into t select i, 'v' || i from generate_series(1, 50) i;
create table log (n int)`

describe.each(servers)('$name', kind => {
  const suite = useServer(kind, schema)
  let client: RawClient

  beforeEach(async () => {
    const { tunnel } = suite
    tunnel.limit = { rows: 10, bytes: null }
    tunnel.masks = []
    tunnel.events.length = 0
    client?.close()
    client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
  })

  const rowsOf = (lines: readonly string[]) => lines.filter(line => line.startsWith('D')).length
  const expectCut = (lines: readonly string[], status: 'I' | 'E') => {
    expect(rowsOf(lines)).toBeLessThanOrEqual(10)
    expect(lines.filter(line => line.startsWith('E'))).toEqual([expect.stringContaining(tooLong)])
    expect(lines.filter(line => line.startsWith('C'))).toEqual([])
    expect(lines.at(-1)).toBe(`Z ${status}`)
  }
  const extended = async (sql: string) => {
    client.send(parseMessage('', sql), bind, describeMessage('Portal', ''), executeMessage(''), syncMessage)
    return await client.until()
  }
  const asks = { simple: async (sql: string) => await client.query(sql), extended }

  describe.each(['simple', 'extended'] as const)('%s', form => {
    test('passes what is within it, to the last row', async () => {
      const lines = await asks[form]('select * from t where id <= 10')
      expect(rowsOf(lines)).toBe(10)
      expect(lines).toContain('C SELECT 10')
      expect(lines.at(-1)).toBe('Z I')
    })

    test.each(['select * from t', 'select * from generate_series(1, 100000)', 'table t', 'copy t to stdout'])(
      'ends what is longer with an error, and the connection goes on: %s',
      async sql => {
        expectCut(await asks[form](sql), 'I')
        expect(await asks[form]('select 1')).toContain('D 1')
      },
    )

    test.each([
      'select * from t',
      'select i from generate_series(1, 1000000) i',
      'select i, pg_sleep(0.01) from generate_series(1, 100000) i',
    ])('within a transaction this has failed, at the server as well: %s', async sql => {
      await client.query('begin')
      await client.query('insert into log values (1)')
      expectCut(await asks[form](sql), 'E')
      expect(await asks[form]('select 1')).toContain(
        'E 25P02 current transaction is aborted, commands ignored until end of transaction block',
      )
      await client.query('commit')
      expect((await suite.admin.query('select * from log')).rows).toEqual([])
      expect(await client.query('select 2')).toContain('D 2')
    })

    test('really cancels it', async () => {
      expectCut(
        await asks[form](
          "select repeat('x', 1000), pg_sleep(case when i > 40 then 600 else 0 end) from generate_series(1, 3000) i",
        ),
        'I',
      )
      const { rows } = await suite.admin.query(
        `select count(*)::int as n from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()`,
      )
      expect(rows).toEqual([{ n: 0 }])
    })

    test('counts bytes', async () => {
      suite.tunnel.limit = { rows: null, bytes: 100_000 }
      const lines = await asks[form]("select repeat('x', 30000) from generate_series(1, 20)")
      expect(rowsOf(lines)).toBe(3)
      expect(lines.join()).toContain(`${tooLong} 100000 bytes`)
      // one value that is too long by itself is not even begun
      const whole = await asks[form]("select repeat('x', 20000000)")
      expect(rowsOf(whole)).toBe(0)
      expect(whole.join()).toContain(tooLong)
      expect(await asks[form]('select 1')).toContain('D 1')
    })

    test('is told after masks, and recorded as cancelled', async () => {
      suite.tunnel.masks = [maskOn(['t.s'])]
      const lines = await asks[form]('select id, s from t')
      expectCut(lines, 'I')
      expect(lines.filter(line => line.startsWith('D')).every(line => line.endsWith('[masked]'))).toBe(true)
      expect(suite.tunnel.events.filter(({ kind }) => kind === 'outcome')).toEqual([
        expect.objectContaining({ status: 'cancelled' }),
      ])
    })
  })

  test('what changes something is taken back, or does not run', async () => {
    const lines = await client.query('update t set s = s || 1 returning *')
    expect(lines.join()).toContain('this changes something that could not be taken back')
    await client.query('begin')
    expectCut(await client.query('update t set s = s || 1 returning *'), 'E')
    await client.query('commit')
    expectCut(await extended('update t set s = s || 1 returning *'), 'I')
    expect(
      (await suite.admin.query(`select count(*)::int as n from t where s like '%1' and s <> 'v' || id`)).rows,
    ).toEqual([{ n: 0 }])
    expect(await client.query('update t set s = s where id = 1')).toContain('C UPDATE 1')
  })

  test('several statements in one string do not run', async () => {
    expect((await client.query('select * from t; delete from t')).join()).toContain(
      'each statement has to be sent by itself',
    )
    expect((await suite.admin.query('select count(*)::int as n from t')).rows).toEqual([{ n: 50 }])
  })

  test('a pipeline behind it is passed over up to Sync, and what comes then works', async () => {
    client.send(
      parseMessage('', 'select * from t'),
      bind,
      executeMessage(''),
      parseMessage('', 'delete from t'),
      bind,
      executeMessage(''),
      syncMessage,
      parseMessage('', 'select 7'),
      bind,
      executeMessage(''),
      syncMessage,
    )
    const first = await client.until()
    expect(first.filter(line => line.startsWith('E'))).toEqual([expect.stringContaining(tooLong)])
    expect(await client.until()).toContain('D 7')
    expect((await suite.admin.query('select count(*)::int as n from t')).rows).toEqual([{ n: 50 }])
  })

  test('pages of one portal count together', async () => {
    await client.query('begin')
    client.send(parseMessage('', 'select * from t'), bind, executeMessage('', 6), executeMessage('', 6), syncMessage)
    const lines = await client.until()
    expect(rowsOf(lines)).toBe(10)
    expect(lines.join()).toContain(tooLong)
    expect(lines.at(-1)).toBe('Z E')
  })

  test('its cancelling never hits what comes next', { timeout: 60_000 }, async () => {
    for (let i = 0; i < 60; i++) {
      expectCut(await client.query(`select * from generate_series(1, ${11 + (i % 7) * 3000})`), 'I')
      expect(await client.query(`select ${i}, pg_sleep(0.002)`)).toContain('C SELECT 1')
    }
  })
})
