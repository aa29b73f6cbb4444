import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Place, shopEnvironment, shopPolicy, Tunnels } from '../support/agentgate.ts'
import { fakeClock, fakeTime } from '../support/fake-time.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { postgres18, query, startServer, type TestServer } from '../support/servers.ts'

describeWith('this machine', [postgres18.need], () => {
  const owned = new Owned()
  let server: TestServer
  beforeAll(async () => {
    server = owned.add(await startServer(postgres18))
  })
  afterAll(async () => await owned.close())

  describe('has the port taken', () => {
    for (const host of ['127.0.0.1', '::1'])
      it(
        `on ${host}: says so where it was asked for, code 2; takes another where not`,
        { timeout: 60_000 },
        async () => {
          const taken = net.createServer(socket => socket.destroy()).listen(0, host)
          await once(taken, 'listening')
          const { port } = taken.address() as net.AddressInfo
          const place = new Place(shopPolicy(server), shopEnvironment)
          const end = await place.run(['connect', 'shop', '--port', String(port), ...(await place.trusted())])
          expect(end.code).toBe(2)
          expect(end.stderr).toMatch(new RegExp(`^error: .*${port}`, 'm'))
          expect(end.stderr).toMatch(/^hint: /m)
          taken.close()
          await once(taken, 'close')
          // The remembered port, taken meanwhile by somebody else.
          const first = await place.connect()
          const address = first.tunnel.address
          await first.close()
          const remembered = Number(address.split(':').at(-1))
          const other = net.createServer(socket => socket.destroy()).listen(remembered, host)
          await once(other, 'listening')
          await using second = await place.connect()
          expect(second.tunnel.address).not.toBe(address)
          expect(await query(second.tunnel.url, 'select 1 as one')).toEqual([{ one: 1 }])
          other.close()
          await once(other, 'close')
        },
      )
  })

  describe('has a policy that', () => {
    it('is broken: says where, code 2', async () => {
      const place = new Place(shopPolicy(server).replace('kind: postgres', 'kind: postgers'), shopEnvironment)
      const end = await place.run(['connect', 'shop', '--policy', place.policy])
      expect(end.stdout).toBe('')
      const checked = await place.run(['policy', 'check', '--policy', place.policy])
      expect(checked.code).toBe(2)
      expect(checked.stdout + checked.stderr).toMatch(/agentgate\.yaml:\d+:\d+/)
      expect(checked.stdout + checked.stderr).toMatch(/postgres/)
    })

    it('nobody has trusted: does not count, code 4, and nothing of it is resolved', async () => {
      const mark = path.join(server.socketDir, '..', 'never')
      const place = new Place(
        shopPolicy(server).replace('"${env:SHOP_PASSWORD}"', `"\${exec:touch ${mark}}"`),
        shopEnvironment,
      )
      const end = await place.run(['connect', 'shop', '--policy', place.policy])
      expect(end.code).toBe(4)
      expect(end.stderr).toMatch(/^hint: .*agentgate trust/m)
      expect(existsSync(mark)).toBe(false)
    })

    it('is broken or changed while a session runs: goes on under what was trusted', { timeout: 60_000 }, async () => {
      const place = new Place(
        shopPolicy(server, {
          rules: '- { name: no deletes, when: { statement: [delete] }, then: deny, message: not here }',
        }),
        shopEnvironment,
      )
      await using tunnels = await place.connect()
      await expect(query(tunnels.tunnel.url, 'delete from payments where id = 1')).rejects.toThrow(/not here/)
      const before = readFileSync(place.policy, 'utf8')
      for (const changed of ['}{ no policy at all', before.replace('then: deny', 'then: allow')]) {
        const notices = tunnels.events.filter(event => event.event === 'notice').length
        writeFileSync(place.policy, changed)
        await until(
          'the session has seen it',
          () => tunnels.events.filter(event => event.event === 'notice').length > notices,
        )
        await expect(query(tunnels.tunnel.url, 'delete from payments where id = 1')).rejects.toThrow(/not here/)
      }
      rmSync(place.policy)
      await expect(query(tunnels.tunnel.url, 'delete from payments where id = 1')).rejects.toThrow(/not here/)
      expect(await query(tunnels.tunnel.url, 'select 1 as one')).toEqual([{ one: 1 }])
    })
  })

  describeWith('sleeps, so that its clock jumps', [fakeClock], () => {
    it('ends access that ran out meanwhile, code 8', { timeout: 60_000 }, async () => {
      const place = new Place(shopPolicy(server), shopEnvironment)
      const clock = path.join(place.folder, 'clock')
      writeFileSync(clock, '+0')
      const running = place.start(
        ['connect', 'shop', '--for', '20m', '--json', '--show-secrets', ...(await place.trusted())],
        {
          LD_PRELOAD: fakeTime ?? '',
          FAKETIME_TIMESTAMP_FILE: clock,
          FAKETIME_NO_CACHE: '1',
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
        },
      )
      const tunnels = await Tunnels.ready(running)
      expect(await query(tunnels.tunnel.url, 'select 1 as one')).toEqual([{ one: 1 }])
      writeFileSync(clock, '+1800')
      await tunnels.event('expired')
      await expect(query(tunnels.tunnel.url, 'select 1')).rejects.toThrow()
      const end = await running.finished(45_000)
      expect(end.code).toBe(8)
      expect(end.stderr).toMatch(/^error: .*(expired|ended)/m)
    })

    it('does not prolong access where the clock is set back', { timeout: 60_000 }, async () => {
      const place = new Place(shopPolicy(server), shopEnvironment)
      const clock = path.join(place.folder, 'clock')
      writeFileSync(clock, '+0')
      const running = place.start(
        ['connect', 'shop', '--for', '5s', '--json', '--show-secrets', ...(await place.trusted())],
        {
          LD_PRELOAD: fakeTime ?? '',
          FAKETIME_TIMESTAMP_FILE: clock,
          FAKETIME_NO_CACHE: '1',
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
        },
      )
      const tunnels = await Tunnels.ready(running)
      writeFileSync(clock, '-3600')
      await tunnels.event('expired')
      expect((await running.finished(45_000)).code).toBe(8)
    })
  })

  it('is left as it was when a session ends', { timeout: 60_000 }, async () => {
    const place = new Place(shopPolicy(server), shopEnvironment)
    const tunnels = await place.connect()
    await query(tunnels.tunnel.url, 'select 1')
    for (const signal of ['SIGTERM'] as const) tunnels.running.child.kill(signal)
    const end = await tunnels.running.finished()
    expect(end.code).toBe(0)
    expect(end.stderr).toBe('')
    expect(tunnels.events.at(-1)?.event).toBe('closed')
    const run = path.join(place.home, 'run')
    expect(existsSync(run) ? readdirSync(run) : []).toEqual([])
    await expect(query(tunnels.tunnel.url, 'select 1')).rejects.toThrow(/ECONNREFUSED/)
    // Nothing that was ever kept holds the server's password or is open to others.
    const kept = readdirSync(place.home, { recursive: true, withFileTypes: true })
    for (const entry of kept.filter(each => each.isFile()))
      expect(readFileSync(path.join(entry.parentPath, entry.name)).includes(shopEnvironment.SHOP_PASSWORD)).toBe(false)
  })
})
