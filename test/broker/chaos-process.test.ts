import { readdirSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { BrokerClient } from '../../src/control/broker-client.ts'
import type { ApprovalRequest } from '../../src/control/schema.ts'
import { Place, Tunnels } from '../support/agentgate.ts'
import { describeWith } from '../support/needs.ts'
import { isRunning, until, type Running } from '../support/processes.ts'
import { postgres15, query } from '../support/servers.ts'
import { blocked, Chaos, live, roles } from './chaos.ts'

const rounds = process.env['SLOW'] === '1' ? 25 : 1

// The same as chaos.test.ts with what people run: `connect` and `approvals`, each a process that is killed.
describeWith('kill -9 of processes', [postgres15.need], () => {
  let chaos: Chaos
  let client: BrokerClient
  const running = new Set<Running>()

  beforeAll(async () => {
    chaos = await Chaos.start()
    client = new BrokerClient({ address: chaos.broker.unix }, null)
  })
  afterAll(async () => await chaos[Symbol.asyncDispose]())
  // What one test leaves open must not be the next one's.
  afterEach(async () => {
    for (const each of running) await kill(each)
  })

  const newPlace = () => new Place('version: 1\n', { AGENTGATE_BROKER: chaos.broker.unix })
  const start = (place: Place, args: readonly string[]) => {
    const started = place.start(args)
    running.add(started)
    return started
  }
  const connecting = (place = newPlace()) => start(place, ['connect', 'shop', '-s', 'read', '--json'])
  const kill = async (each: Running) => {
    running.delete(each)
    each.child.kill('SIGKILL')
    await each.finished()
  }

  /** A tunnel with a client in it, whose statement waits for a yes. */
  const asking = async () => {
    const tunnel = connecting()
    const { url } = (await Tunnels.ready(tunnel)).tunnel
    const psql = new pg.Client({ connectionString: url })
    psql.on('error', () => undefined)
    await psql.connect()
    const answer = psql.query('select count(*) from payments').then(
      () => 'ran' as const,
      () => 'not run' as const,
    )
    let request: ApprovalRequest | undefined
    await until('it waits at the broker', async () => (request = (await client.approvals())[0]) !== undefined)
    return { tunnel, answer, request: request! }
  }
  const approving = (id: string) => start(newPlace(), ['approvals', 'approve', id, '--json'])
  const stateOf = async (id: string) =>
    (await query(chaos.store, 'select state from agentgate.approvals where id = $1', [id]))[0]?.['state'] as string

  for (let round = 1; round <= rounds; round++) {
    const of = rounds === 1 ? '' : ` (${round})`

    it(`of a tunnel while its role is being made${of}`, async () => {
      const held = await chaos.holdingTarget()
      const tunnel = connecting()
      await until('it is minting', async () => (await chaos.count(live)) === 1 && (await chaos.count(blocked)) > 0)
      await kill(tunnel)
      await held.release()
      await chaos.settled()
    }, 60_000)

    it(`of a tunnel between its role and the answer that has its password${of}`, async () => {
      const held = await chaos.holding(chaos.store, 'begin; lock table agentgate.audit in share mode')
      const tunnel = connecting()
      await until('the role is there', async () => (await chaos.count(roles)) === 1 && (await chaos.count(blocked)) > 0)
      await kill(tunnel)
      await held.release()
      await chaos.settled()
    }, 60_000)

    it(`of a tunnel under a running statement${of}`, async () => {
      const tunnel = connecting()
      const { url } = (await Tunnels.ready(tunnel)).tunnel
      const psql = new pg.Client({ connectionString: url })
      psql.on('error', () => undefined)
      await psql.connect()
      const lost = psql.query('select pg_sleep(600)').catch(() => undefined)
      const backend = `select from pg_stat_activity where usename like 'agentgate\\_shop%' and query like '%pg_sleep%'`
      await until('it runs', async () => (await chaos.count(backend)) === 1)
      await kill(tunnel)
      await lost
      await chaos.settled()
    }, 60_000)

    it(`of a tunnel that waits for a yes, before it and behind it${of}`, async () => {
      const before = await asking()
      await kill(before.tunnel)
      await chaos.settled()
      expect(await stateOf(before.request.id)).toBe('withdrawn')
      // Nobody can say yes to what nobody waits for.
      expect((await approving(before.request.id).finished()).code).not.toBe(0)

      const behind = await asking()
      const held = await chaos.holding(chaos.store, 'begin; lock table agentgate.approvals in share mode')
      const approver = approving(behind.request.id)
      await until('it is being decided', async () => (await chaos.count(blocked)) > 0)
      await kill(behind.tunnel)
      await held.release()
      await approver.finished()
      await chaos.settled()
      expect(await behind.answer).toBe('not run')
    }, 60_000)

    it(`of an approver who has seen it and said nothing${of}`, async () => {
      const { tunnel, answer, request } = await asking()
      const watcher = start(newPlace(), ['approvals', 'list', '--watch', '--json'])
      await watcher.said(new RegExp(request.id))
      await kill(watcher)
      expect(await stateOf(request.id)).toBe('open')
      expect((await approving(request.id).finished()).code).toBe(0)
      expect(await answer).toBe('ran')
      await chaos.decidedOnce()
      await kill(tunnel)
    }, 60_000)

    it(`of an approver while what waits is being listed, and while the answer is being written${of}`, async () => {
      const { tunnel, answer, request } = await asking()
      const unread = await chaos.holding(chaos.store, 'begin; lock table agentgate.approvals in access exclusive mode')
      const first = approving(request.id)
      await until('it is being listed', async () => (await chaos.count(blocked)) > 0)
      await kill(first)
      await unread.release()
      expect(await stateOf(request.id)).toBe('open')

      const unwritten = await chaos.holding(chaos.store, 'begin; lock table agentgate.approvals in share mode')
      const second = approving(request.id)
      const deciding = `${blocked} and query like 'update%approvals%'`
      await until('it is being decided', async () => (await chaos.count(deciding)) > 0)
      await kill(second)
      await unwritten.release()
      // It was said: whoever said it need not be there to hear that it counted.
      expect(await answer).toBe('ran')
      const late = await approving(request.id).finished()
      expect(late.code).not.toBe(0)
      expect(await stateOf(request.id)).toBe('approved')
      await chaos.decidedOnce()
      await kill(tunnel)
    }, 60_000)

    it(`of an approver and of the broker at once, while the answer is being written${of}`, async () => {
      const { tunnel, answer, request } = await asking()
      const held = await chaos.holding(chaos.store, 'begin; lock table agentgate.approvals in share mode')
      const approver = approving(request.id)
      const deciding = `${blocked} and query like 'update%approvals%'`
      await until('it is being decided', async () => (await chaos.count(deciding)) > 0)
      await Promise.all([kill(approver), chaos.broker.kill()])
      await held.release()
      await chaos.broker.restart()
      // Either it was written or it still waits, and then somebody else may answer: what runs was said yes to once.
      const again = await approving(request.id).finished()
      expect(await answer).toBe('ran')
      expect(await stateOf(request.id)).toBe('approved')
      expect([0, 2, 5]).toContain(again.code)
      await chaos.decidedOnce()
      await kill(tunnel)
      await chaos.settled()
    }, 60_000)
  }

  it('leaves no process and no socket that answers', async () => {
    const place = newPlace()
    const tunnel = connecting(place)
    await Tunnels.ready(tunnel)
    const { pid } = tunnel.child
    await kill(tunnel)
    expect(isRunning(pid ?? 0)).toBe(false)
    // What it left is taken away by whoever looks next.
    await place.run(['status'])
    const left = readdirSync(path.join(place.home, 'run')).filter(name => name.startsWith('s_'))
    expect(left).toEqual([])
    await chaos.settled()
  }, 60_000)
})
