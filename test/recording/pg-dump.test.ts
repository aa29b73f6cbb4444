import fs from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { Place, type Tunnels } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram } from '../support/processes.ts'
import { postgres15, startServer, type TestServer } from '../support/servers.ts'

const megabyte = 1_000_000
let server: TestServer
let place: Place

describeWith('pg_dump of a large database', [postgres15.need, program('pg_dump')], () => {
  beforeAll(async () => {
    server = await startServer(postgres15)
    // Hexadecimal digits of hashes: a compressor can halve them, and no more.
    await server.query(`create table big as select i, md5(i::text) || md5((-i)::text) || md5((i * 7)::text) || md5((i * 11)::text) as text
      from generate_series(1, 560000) i; alter table big owner to app`)
  }, 60_000)
  afterAll(async () => await server[Symbol.asyncDispose]())
  afterEach(() => fs.rmSync(place.folder, { recursive: true, force: true }))

  const policy = (rest: string) => `version: 1
resources:
  shop:
    kind: postgres
    address: ${server.address}
    credential: { issuer: static, url: "\${env:APP_URL}" }
    scopes: { all: {} }
${rest}`

  async function dump(
    rest: string,
  ): Promise<{ dumped: number; kept: number; peak: number; said: string; code: number | null }> {
    place = new Place(policy(rest), { APP_URL: server.appUrl })
    const tunnels = await place.connect()
    const file = path.join(place.folder, 'dump.sql')
    const args = ['--dbname', tunnels.tunnel.url, '--file', file, '--table', 'big']
    const dumped = await runProgram('pg_dump', args, { env: { PATH: process.env['PATH'] }, deadlineMs: 100_000 })
    const peak = peakOf(tunnels)
    await tunnels.close()
    const recordings = path.join(place.home, 'data', 'recordings')
    return { dumped: fs.statSync(file).size, kept: sizeOf(recordings), peak, said: dumped.stderr, code: dumped.code }
  }

  it('is whole for the client, and no second copy of production by default', async () => {
    const { dumped, kept, peak, said, code } = await dump('')
    expect({ said, code }).toEqual({ said: '', code: 0 })
    expect(dumped).toBeGreaterThan(70 * megabyte)
    expect(kept).toBeLessThan(64 * megabyte)
    expect(peak).toBeLessThan(400 * megabyte)
    const shown = await place.run(['sessions', 'list', '--json'])
    expect((await place.run(['sessions', 'verify', '--all'])).code).toBe(0)
    const [, id = ''] = /"session":"(s_\w+)"/.exec(shown.stdout) ?? []
    expect((await place.run(['sessions', 'replay', id, '--json'])).stdout).toMatch(
      /"event":"result-digest".*"kept":64000000,"bytes":\d{7,8}/,
    )
  }, 120_000)

  it('is kept whole where a rule says so, and stops at the quota with an error', async () => {
    const { kept, peak, said, code } = await dump(`rules:
  - { name: exports are kept whole, when: { table: big }, then: record, results: { keep: full } }
recording: { results: { keep: 1MB }, spool: 30MB }
`)
    expect(code).toBe(1)
    expect(said).toMatch(/recordings have used up their 30 MB/)
    expect(kept).toBeGreaterThan(10 * megabyte)
    expect(kept).toBeLessThan(35 * megabyte)
    expect(peak).toBeLessThan(400 * megabyte)
  }, 120_000)
})

/** The most memory that the process has had, bytes. */
function peakOf(tunnels: Tunnels): number {
  const status = fs.readFileSync(`/proc/${String(tunnels.running.child.pid)}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
}

function sizeOf(folder: string): number {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .reduce((sum, entry) => sum + (entry.isFile() ? fs.statSync(path.join(entry.parentPath, entry.name)).size : 0), 0)
}
