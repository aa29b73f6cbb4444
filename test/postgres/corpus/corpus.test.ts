import { existsSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { frame, queryMessage } from '../../../src/protocols/postgres/wire/frontend-messages.ts'
import { frontend } from '../../../src/protocols/postgres/wire/message-type.ts'
import { describeWith, type Need } from '../../support/needs.ts'
import { openMaskedTunnel } from '../support/masked-tunnel.ts'
import { RawClient, show } from '../support/raw-client.ts'
import { servers, startServer, type TestServer } from '../support/server.ts'
import type { TestTunnel } from '../support/tunnel.ts'
import { splitScript } from './split.ts'

// PostgreSQL's own regression tests: each statement behaves through agentgate as on a server of its own that gets the same, or is
// refused; none hangs, none ends the connection.

const folder = path.join(
  process.env['AGENTGATE_TEST_CACHE'] ??
    path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'agentgate-test'),
  'postgres-regress',
)
const corpus: Need = {
  name: "PostgreSQL's regression tests",
  missing: existsSync(path.join(folder, 'select.sql')) ? undefined : 'run test/postgres/corpus/setup.sh',
}

/** Those that say much of the grammar in little time. `SLOW=1` runs them all, on every server. */
const usual =
  `arrays boolean case comments copydml copyselect create_procedure create_view delete dependency groupingsets insert_conflict
  json limit name namespace numerology plancache`.split(/\s+/)

/** What these do is a matter of the server's state: other processes, files, minutes of work. */
const never: ReadonlySet<string> = new Set([
  'stats',
  'vacuum',
  'largeobject',
  'infinite_recurse',
  'test_setup',
  'tablespace',
])

const wanted = (file: string) => process.env['SLOW'] === '1' || usual.includes(file)

/** What a client sees, without what differs between any two servers: numbers of objects, costs, times. */
async function ask(client: RawClient, sql: string): Promise<readonly string[]> {
  client.send(queryMessage(sql))
  const shown: string[] = []
  for (;;) {
    const message = await client.next()
    // how many rows there are stands in the tag
    if ('DdSNA'.includes(message.type)) continue
    if (message.type === 'G') client.send(frame(frontend.CopyFail, 'no data'))
    const line = show(message)
    if (line.startsWith('E'))
      shown.push(line.slice(0, 7)) // its SQLSTATE
    else shown.push(line)
    if (message.type === 'Z') return shown
  }
}

/** By their nature not the same twice. */
const fickle =
  /random|pg_stat|now\(\)|clock_|pg_locks|txid|pg_backend|pg_sleep|tablesample|explain|pg_class|pg_proc|pg_depend/i

// They are those of version 15.
for (const { name, available, binaries } of servers.filter(
  ({ name }) => name.includes('15') || process.env['SLOW'] === '1',
))
  describeWith(
    `PostgreSQL's regression tests, ${name}`,
    [corpus, { name, missing: available ? undefined : `install ${name}` }],
    () => {
      let behind: TestServer
      let beside: TestServer
      let tunnel: TestTunnel
      let through: RawClient
      let direct: RawClient

      beforeAll(async () => {
        ;[behind, beside] = await Promise.all([startServer(binaries), startServer(binaries)])
        tunnel = await openMaskedTunnel(behind, [])
      })
      afterAll(async () => {
        await tunnel.close()
        await behind.remove()
        await beside.remove()
      })
      const open = async () => {
        through = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
        direct = await RawClient.connect({ port: beside.port, password: beside.password.reveal() })
        for (const client of [through, direct])
          await ask(client, "set statement_timeout = '10s'; set lock_timeout = '2s'")
      }

      const setup = `create table onek (unique1 int, unique2 int, two int, four int, ten int, twenty int, hundred int, thousand int,
      twothousand int, fivethous int, tenthous int, odd int, even int, stringu1 name, stringu2 name, string4 name);
      insert into onek select i, i, i % 2, i % 4, i % 10, i % 20, i % 100, i, i, i, i, i, i, 'a' || i, 'b' || i, 'AAAA' from generate_series(0, 199) i;
      create table tenk1 as table onek; create table tenk2 as table onek;
      create table int4_tbl (f1 int); insert into int4_tbl values (0), (123456), (-123456), (2147483647), (-2147483647);
      create table int8_tbl (q1 int8, q2 int8); insert into int8_tbl values (123, 456), (123, 4567890123456789), (4567890123456789, 123);
      create table text_tbl (f1 text); insert into text_tbl values ('doh!'), ('hi de ho neighbor');
      create table float8_tbl (f1 float8); insert into float8_tbl values (0), (-34.84), (1004.3);
      create table person (name text, age int, location point); create table emp (salary int, manager name) inherits (person);
      insert into person values ('mike', 40, '(3.1,6.2)'); insert into emp values ('sharon', 25, '(15,12)', 1000, 'sam')`

      const files = corpus.missing === undefined ? readdirSync(folder).map(file => file.replace(/\.sql$/, '')) : []
      test.each(files.filter(file => wanted(file) && !never.has(file)).sort())(
        '%s',
        { timeout: 900_000 },
        async file => {
          await open()
          for (const client of [through, direct])
            await ask(client, `drop schema if exists public cascade; create schema public`)
          for (const client of [through, direct]) await ask(client, setup)
          const statements = splitScript(readFileSync(path.join(folder, `${file}.sql`), 'utf8')).filter(
            sql =>
              !/:['"]?[a-z_]+\b(?!:)/i.test(sql.replace(/::|:=/g, '')) &&
              !/\bpg_(ctl|reload|terminate|rotate)/.test(sql),
          )
          let same = 0
          let refused = 0
          const differ: string[] = []
          for (const sql of statements) {
            const got = await ask(through, sql)
            const isRefused = through.messages.some(
              ({ type, body }) => type === 'E' && body.includes('refused by agentgate'),
            )
            through.messages.length = 0
            through.rewind()
            if (isRefused) {
              refused += 1
              // It never reached the server; within a transaction it has failed.
              if (got.at(-1) === 'Z E') await ask(direct, 'refused by agentgate')
              continue
            }
            const expected = await ask(direct, sql)
            direct.messages.length = 0
            direct.rewind()
            const simple = (lines: readonly string[]) =>
              fickle.test(sql) ? lines.map(line => line.replace(/\d+/g, '#')) : lines
            if (simple(got).join('\n') === simple(expected).join('\n')) same += 1
            else {
              differ.push(`${sql}\n  through: ${got.join(' | ')}\n  direct:  ${expected.join(' | ')}`)
              // from the same state again
              for (const client of [through, direct]) await ask(client, 'rollback')
            }
          }
          through.close()
          direct.close()
          if (process.env['CORPUS'] === '1')
            console.log(`${file}: ${same} the same, ${refused} refused\n${differ.join('\n')}`)
          expect(differ).toEqual([])
          expect(same + refused).toBe(statements.length)
          expect(refused).toBeLessThanOrEqual(Math.max(3, statements.length / 20))
          expect(same).toBeGreaterThan(0)
          expect(tunnel.errors).toEqual([])
        },
      )
    },
  )
