import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Place, shopEnvironment, shopPolicy } from '../support/agentgate.ts'
import { describeWith, type Need } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { startRelay } from '../support/relay.ts'
import { postgres18, query, startServer, type TestServer } from '../support/servers.ts'

/** An error for people: what happened, a hint, no stack. */
function expectClear(stderr: string, what: RegExp): void {
  expect(stderr).toMatch(/^error: /m)
  expect(stderr).toMatch(what)
  expect(stderr).not.toMatch(/\n\s+at |node:internal|has a bug/)
}

async function listener(onConnection: (socket: net.Socket) => void) {
  const sockets = new Set<net.Socket>()
  const server = net.createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}

describeWith('the server', [postgres18.need], () => {
  const owned = new Owned()
  let server: TestServer
  beforeAll(async () => {
    server = owned.add(await startServer(postgres18))
  })
  afterAll(async () => await owned.close())

  describe('when a tunnel is opened', () => {
    async function refused(place: Place): Promise<string> {
      const end = await place.run(['connect', 'shop', ...(await place.trusted())])
      expect(end.stdout).toBe('')
      expect(end.code).toBe(6)
      expect(end.stderr).not.toContain(shopEnvironment.SHOP_PASSWORD)
      return end.stderr
    }

    it('is gone: says so, code 6', { timeout: 60_000 }, async () => {
      const gone = await listener(() => undefined)
      await gone[Symbol.asyncDispose]()
      expectClear(
        await refused(new Place(shopPolicy(gone), shopEnvironment)),
        /cannot reach shop at .*connection refused/,
      )
    })

    it('does not know the password: says so, code 6', { timeout: 60_000 }, async () => {
      const said = await refused(new Place(shopPolicy(server), { SHOP_PASSWORD: 'not-the-password' }))
      expectClear(said, /shop: the server refused/)
      expect(said).not.toContain('not-the-password')
    })

    it('speaks something else: says so, code 6 or 1, and does not wait', { timeout: 60_000 }, async () => {
      await using http = await listener(socket => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
      const place = new Place(shopPolicy(http), shopEnvironment)
      const end = await place.run(['connect', 'shop', ...(await place.trusted())], { deadlineMs: 15_000 })
      expect([1, 6]).toContain(end.code)
      expectClear(end.stderr, /shop|postgres/)
    })

    it('hangs up at once: says so, code 6', { timeout: 60_000 }, async () => {
      await using rude = await listener(socket => socket.destroy())
      expectClear(await refused(new Place(shopPolicy(rude), shopEnvironment)), /shop/)
    })

    it('says nothing: gives up in time, code 6', { timeout: 90_000 }, async () => {
      await using silent = await listener(() => undefined)
      const place = new Place(shopPolicy(silent), shopEnvironment)
      const end = await place.run(['connect', 'shop', ...(await place.trusted())], { deadlineMs: 60_000 })
      expect(end.code).toBe(6)
      expectClear(end.stderr, /shop/)
    })
  })

  describe('while a tunnel is open', () => {
    it('goes away and comes back: clients are told, the tunnel stays', { timeout: 60_000 }, async () => {
      let relay = await startRelay(server.address)
      const { port } = relay
      await using tunnels = await new Place(shopPolicy({ address: `127.0.0.1:${port}` }), shopEnvironment).connect()
      const client = new pg.Client({ connectionString: tunnels.tunnel.url })
      const lost = once(client, 'error')
      client.on('error', () => undefined) // the end of its socket follows
      await client.connect()
      await client.query('select 1')
      await relay.close()
      await lost
      await expect(query(tunnels.tunnel.url, 'select 1')).rejects.toThrow(/cannot reach shop/)
      expect(tunnels.running.child.exitCode).toBe(null)
      relay = await startRelay(server.address, { port })
      expect(await query(tunnels.tunnel.url, 'select 1 as one')).toEqual([{ one: 1 }])
      await tunnels.close()
      await relay.close()
    })

    it('is slow: nothing is lost, nothing comes in another order', { timeout: 60_000 }, async () => {
      await using relay = await startRelay(server.address, { delayMs: 150 })
      await using tunnels = await new Place(
        shopPolicy({ address: `127.0.0.1:${relay.port}` }),
        shopEnvironment,
      ).connect()
      const rows = await query(tunnels.tunnel.url, 'select id from orders order by id')
      expect(rows.map(row => row['id'])).toEqual(Array.from({ length: 300 }, (_, n) => n + 1))
    })

    it('ends one client: the others go on', { timeout: 60_000 }, async () => {
      await using tunnels = await new Place(shopPolicy(server), shopEnvironment).connect()
      const [first, second] = [tunnels.tunnel.url, tunnels.tunnel.url].map(
        url => new pg.Client({ connectionString: url }),
      )
      await first!.connect()
      await second!.connect()
      const { rows } = await first!.query('select pg_backend_pid() as pid')
      const told = once(first!, 'error')
      first!.on('error', () => undefined) // the end of its socket follows
      await server.query('select pg_terminate_backend($1)', [rows[0].pid])
      expect(String((await told)[0])).toMatch(/terminating connection|ended|terminated/)
      expect((await second!.query('select 2 as two')).rows).toEqual([{ two: 2 }])
      await second!.end()
    })
  })

  it(
    'goes on by itself where the tunnel is killed, and the record says how far it goes',
    { timeout: 60_000 },
    async () => {
      const place = new Place(shopPolicy(server), shopEnvironment)
      const tunnels = await place.connect()
      const client = new pg.Client({ connectionString: tunnels.tunnel.url })
      client.on('error', () => undefined)
      await client.connect()
      await client.query("update customers set city = 'Kilkenny' where id = 1")
      const running = client.query('select pg_sleep(2), 4711 as mark').catch((error: unknown) => error)
      await until('the server sleeps', async () => {
        const rows = await server.query("select 1 from pg_stat_activity where wait_event = 'PgSleep'")
        return rows.length > 0
      })
      tunnels.running.child.kill('SIGKILL')
      expect(await running).toBeInstanceOf(Error)
      await tunnels.running.finished()
      const verify = await place.run(['sessions', 'verify', tunnels.session])
      expect(verify.stdout + verify.stderr).toMatch(/unfinished|breaks off/)
      const replay = await place.run(['sessions', 'replay', tunnels.session])
      // What was acknowledged, and what had been let through when it was killed.
      expect(replay.stdout).toMatch(/Kilkenny/)
      expect(replay.stdout).toMatch(/4711/)
      const status = await place.run(['status'])
      expect(status.stdout).not.toContain(tunnels.session)
      expect(await server.query('select city from customers where id = 1')).toEqual([{ city: 'Kilkenny' }])
      // The same address as before, so that saved connections go on working.
      await using again = await place.connect()
      expect(again.tunnel.url).toBe(tunnels.tunnel.url)
      expect(await query(again.tunnel.url, 'select 1 as one')).toEqual([{ one: 1 }])
    },
  )
})

const tmpfs: Need = {
  name: 'a small file system',
  missing: mountable() ? undefined : 'needs root that may mount',
}

function mountable(): boolean {
  return process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0
}

describeWith('a full disk', [postgres18.need, tmpfs], () => {
  it(
    'lets nothing through that it cannot record, and loses nothing that was acknowledged',
    { timeout: 90_000 },
    async () => {
      await using server = await startServer(postgres18)
      const place = new Place(shopPolicy(server), shopEnvironment)
      const data = path.join(place.home, 'data')
      mkdirSync(data, { mode: 0o700 })
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m,mode=0700', 'tmpfs', data]).status).toBe(0)
      try {
        await using tunnels = await place.connect()
        await query(tunnels.tunnel.url, 'create table kept (n int, body text)')
        const client = new pg.Client({ connectionString: tunnels.tunnel.url })
        client.on('error', () => undefined)
        await client.connect()
        let acknowledged = 0
        let refusal: unknown
        for (let n = 0; n < 400 && refusal === undefined; n++)
          try {
            const body = Array.from({ length: 3000 }, () => Math.random().toString(36).slice(2)).join('')
            await client.query(`insert into kept values (${n}, '${body}')`)
            acknowledged += 1
          } catch (error) {
            refusal = error
          }
        expect(String(refusal)).toMatch(/record|disk|space/i)
        const [row] = await server.query('select count(*)::int as n from kept')
        expect(row?.['n']).toBe(acknowledged)
        await expect(query(tunnels.tunnel.url, 'insert into kept values (-1, null)')).rejects.toThrow(
          /record|disk|space/i,
        )
        expect(await server.query('select count(*)::int as n from kept where n = -1')).toEqual([{ n: 0 }])
        await client.end().catch(() => undefined)
        const { code, stderr, stdout } = await tunnels.close()
        expect(code).toBe(1)
        expect(stdout + stderr).toMatch(/RECORDING_FAILED/)
        const verify = await place.run(['sessions', 'verify', tunnels.session])
        expect(verify.stdout + verify.stderr).not.toMatch(/\baltered/)
      } finally {
        expect(spawnSync('umount', [data]).status).toBe(0)
      }
      expect(readdirSync(data)).toEqual([])
    },
  )
})
