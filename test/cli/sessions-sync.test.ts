import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verifyRecording } from '../../src/recording/verify.ts'
import { Place } from '../support/agentgate.ts'
import { until } from '../support/processes.ts'

let target: http.Server
let place: Place
let remote: string

beforeEach(async () => {
  target = http.createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1')
  await new Promise(resolve => target.once('listening', resolve))
  place = new Place('')
  remote = path.join(place.folder, 'remote')
  fs.writeFileSync(
    place.policy,
    `version: 1
resources:
  api:
    kind: http
    address: 127.0.0.1:${(target.address() as AddressInfo).port}
    tls: off
    credential: { issuer: none }
    scopes: { all: {} }
recording: { retain: 1s, sync: { to: "file://${remote}" } }
`,
  )
})
afterEach(async () => {
  target.closeAllConnections()
  await new Promise(resolve => target.close(resolve))
  fs.rmSync(place.folder, { recursive: true, force: true })
})

/** A session of connect with one request in it; its id. */
async function session(): Promise<string> {
  const tunnels = await place.connect(['api'])
  const url = new URL(`${tunnels.tunnel.url}/orders`)
  const authorization = `Basic ${Buffer.from(`${url.username}:${url.password}`).toString('base64')}`
  url.username = url.password = ''
  expect((await fetch(url, { headers: { authorization } })).status).toBe(200)
  await tunnels.close()
  return tunnels.session
}

const sessions = async (...args: string[]) => await place.run(['sessions', ...args])

describe('recording.sync', () => {
  it('has the recording in its place when the session has ended', async () => {
    fs.mkdirSync(remote)
    const id = await session()
    expect(await verifyRecording(path.join(remote, id), Date.now())).toMatchObject({ result: 'whole' })
    expect((await sessions('list')).stdout).toMatch(new RegExp(`^${id}\t.*\tclosed, in bucket$`, 'm'))
    expect((await sessions('sync')).stdout).toBe(`${id}\tfile://${remote}\tall there\n`)
    expect((await place.run(['status', '--json'])).stdout).toBe('')
    // The copy can be read like any other.
    const shown = await sessions('show', id, '--recordings', remote)
    expect(shown.stdout).toMatch(/\tGET \/orders\n$/)
  }, 30_000)

  it('keeps what could not be copied, says so, copies it when asked, and deletes it only then', async () => {
    const id = await session()
    expect((await sessions('list')).stdout).toContain('closed, not in bucket yet')
    expect((await place.run(['status', '--json'])).stdout).toBe(
      '{"event":"sync","waiting":1,"error":"the folder is not there"}\n',
    )
    const failed = await sessions('sync')
    expect(failed.code).toBe(6)
    expect(failed.stdout).toMatch(new RegExp(`^${id}\t.*\t2 files not uploaded: the folder is not there\n$`))
    let pruned = ''
    await until('its retention to be over', async () => (pruned = (await sessions('prune')).stdout) !== '')
    expect(pruned).toBe(`${id}\tkept\tnot in the bucket yet\n`)
    fs.mkdirSync(remote)
    const done = JSON.parse((await sessions('sync', '--json')).stdout) as unknown
    expect(done).toEqual({
      event: 'sync',
      session: id,
      place: `file://${remote}`,
      state: 'synced',
      uploaded: 2,
      waiting: 0,
      error: null,
    })
    expect((await sessions('prune')).stdout).toMatch(new RegExp(`^${id}\tdeleted\t`))
    expect((await sessions('verify', id, '--recordings', remote)).code).toBe(0)
    expect((await sessions('sync')).stdout).toBe('')
  }, 40_000)
})
