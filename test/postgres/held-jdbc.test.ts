import { existsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { describeWith } from '../support/needs.ts'
import { runProgram, until } from '../support/processes.ts'
import { openMaskedTunnel } from './support/masked-tunnel.ts'
import { RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import type { TestTunnel } from './support/tunnel.ts'

// A wait for approval and pgjdbc's timeouts: where the client lets it wait it gets its answer, where it gives up nothing is run.

const cache =
  process.env['AGENTGATE_TEST_CACHE'] ??
  path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'agentgate-test')
const java = path.join(cache, 'java')
const jdbc = {
  name: 'pgjdbc',
  missing: existsSync(path.join(java, 'HeldClient.class')) ? undefined : 'run test/postgres/clients/setup.sh',
}

for (const { name, available, binaries } of servers)
  describeWith(`pgjdbc, held, ${name}`, [jdbc, { name, missing: available ? undefined : `install ${name}` }], () => {
    let server: TestServer
    let tunnel: TestTunnel
    let direct: RawClient
    let approve: Promise<void>
    let waiting = 0
    let ended = 0

    beforeAll(async () => {
      server = await startServer(binaries)
      direct = await RawClient.connect({ port: server.port, password: server.password.reveal() })
      await direct.query('create table t (n int); insert into t values (0)')
      tunnel = await openMaskedTunnel(server, [], {
        decide: ({ analysed }) => {
          if (!/held/.test(analysed.text)) return 'allow'
          return {
            hold: async () => {
              waiting += 1
              await approve.finally(() => (ended += 1))
              return {}
            },
          }
        },
      })
    })
    afterAll(async () => {
      direct?.close()
      await tunnel?.close()
      await server?.remove()
    })
    beforeEach(async () => {
      await direct.query('update t set n = 0')
      approve = new Promise(() => undefined)
      waiting = ended = 0
    })

    const client = async (how: string) =>
      (
        await runProgram('java', ['-cp', `${java}:${path.join(java, 'postgresql.jar')}`, 'HeldClient', how], {
          deadlineMs: 60_000,
          env: {
            PATH: process.env['PATH'],
            PGUSER: 'postgres',
            PGPASSWORD: tunnel.secret,
            CLIENT_JDBC_URL: `jdbc:postgresql://127.0.0.1:${tunnel.port}/postgres?sslmode=disable`,
          },
        })
      ).stdout
        .trim()
        .split('\n')
    const backends = async () =>
      await direct.query(`select count(*) from pg_stat_activity where application_name like 'PostgreSQL JDBC%'`)

    test.each(['no timeout', 'longer'])('%s: it waits, and has its answer', { timeout: 90_000 }, async how => {
      let yes: () => void = () => undefined
      approve = new Promise(resolve => (yes = resolve))
      const said = client(how)
      await until('it waits', () => waiting === 1, 60_000)
      yes()
      expect(await said).toEqual(['changed 1', 'warned true', 'alive 1'])
      expect(ended).toBe(1)
    })

    test('setQueryTimeout: it cancels, which withdraws, and the connection goes on', { timeout: 90_000 }, async () => {
      expect(await client('queryTimeout')).toEqual(['failed 57014', 'alive 0'])
      expect(waiting).toBe(1)
    })

    test('socketTimeout: it hangs up, which withdraws', { timeout: 90_000 }, async () => {
      expect(await client('socketTimeout')).toEqual(['failed 08006', 'closed'])
      await until('its backend is gone', async () => (await backends()).includes('D 0'))
      expect(await direct.query('select n from t')).toContain('D 0')
      expect(tunnel.connections.size).toBe(0)
    })

    test('loginTimeout: a login that is held is given up', { timeout: 90_000 }, async () => {
      expect(await client('loginTimeout')).toEqual([expect.stringMatching(/^not in (08001|08006|57014|null)/)])
      expect(waiting).toBe(1)
      await until('all is given back', async () => tunnel.connections.size === 0 && (await backends()).includes('D 0'))
    })
  })
