import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { BrokerClient } from '../../src/control/broker-client.ts'
import type { OpenedSession, StreamEvent } from '../../src/control/broker-schema.ts'
import type { ApprovalRequest } from '../../src/control/schema.ts'
import { AgentgateError } from '../../src/errors.ts'
import { describeWith } from '../support/needs.ts'
import { until } from '../support/processes.ts'
import { app, postgres15, query, type TestServer } from '../support/servers.ts'
import { blocked, Chaos, heldRequest, live, openRequest, refused, roles } from './chaos.ts'
import type { RunningBroker } from './running-broker.ts'

const long = process.env['SLOW'] === '1'
const stepRounds = long ? 12 : 1
const randomRounds = long ? 250 : 14

// kill -9 of broker, tunnel and PostgreSQL (target and store are one server here), at every step that can be held open from
// outside by a lock, and at random instants. Whatever happens: afterwards nothing lives that nobody owns.
describeWith('kill -9', [postgres15.need], () => {
  let chaos: Chaos
  let server: TestServer
  let broker: RunningBroker
  let client: BrokerClient
  let store: string

  beforeAll(async () => {
    chaos = await Chaos.start()
    ;({ server, broker, store } = chaos)
    client = new BrokerClient({ address: broker.unix }, null)
  })
  afterAll(async () => {
    await chaos[Symbol.asyncDispose]()
    expect(existsSync(broker.unix.replace('unix:', ''))).toBe(false)
  })
  const tunnels = new Set<FakeTunnel>()
  // What one test leaves open must not be the next one's.
  afterEach(() => {
    for (const tunnel of tunnels) tunnel.kill()
  })
  const count = async (text: string, values: readonly unknown[] = []) => await chaos.count(text, values)
  const restart = async () => await chaos.restart()
  const settled = async () => await chaos.settled()

  /** A tunnel: its stream on the line, and a backend at the target that works. */
  class FakeTunnel {
    readonly opened: OpenedSession
    readonly heard: StreamEvent[] = []
    readonly #over = new AbortController()
    readonly #psql: pg.Client

    private constructor(opened: OpenedSession) {
      this.opened = opened
      const { user, secret } = opened.grants[0]!.credential
      this.#psql = new pg.Client({
        connectionString: `postgresql://${user}:${secret}@${server.address}/${app.database}`,
      })
      this.#psql.on('error', () => undefined)
    }

    static async open(): Promise<FakeTunnel> {
      const opened = await client.open(openRequest)
      const tunnel = new FakeTunnel(opened)
      tunnels.add(tunnel)
      void tunnel.#follow()
      await tunnel.#psql.connect().catch(() => undefined) // PostgreSQL may have been killed meanwhile
      tunnel.#psql.query('select pg_sleep(600)').catch(() => undefined)
      return tunnel
    }

    async #follow(): Promise<void> {
      while (!this.#over.signal.aborted) {
        try {
          const events = client.stream(this.opened.session, this.opened.token, 10_000, this.#over.signal)
          for await (const event of events) if (event.event !== 'beat') this.heard.push(event)
        } catch {
          // The broker was killed: a tunnel comes back, as here.
        }
        await sleep(50)
      }
    }

    request(): ApprovalRequest {
      return heldRequest(this.opened)
    }

    /** As kill -9 of its process: every socket gone, nothing said. */
    kill(): void {
      tunnels.delete(this)
      this.#over.abort()
      const { connection } = this.#psql as unknown as { connection: { stream: { destroy(): void } } }
      connection.stream.destroy()
    }
  }

  for (let round = 0; round < stepRounds; round++) {
    const of = long ? ` (${round + 1})` : ''

    it(`of the broker after a grant is written down, before its role is made${of}`, async () => {
      const held = await chaos.holdingTarget()
      const asked = refused(client.open(openRequest))
      await until('it is minting', async () => (await count(live)) === 1 && (await count(blocked)) > 0)
      await restart()
      await held.release()
      expect(await asked).toBeInstanceOf(AgentgateError)
      await settled()
    }, 90_000)

    it(`of the broker after a role is made, before its grant says so${of}`, async () => {
      const first = await chaos.holdingTarget()
      const asked = refused(client.open(openRequest))
      await until('it is minting', async () => (await count(live)) === 1 && (await count(blocked)) > 0)
      const second = await chaos.holding(store, 'begin; lock table agentgate.grants in share mode')
      await first.release()
      await until('the role is there', async () => (await count(roles)) === 1 && (await count(blocked)) > 0)
      await broker.kill()
      expect(await asked).toBeInstanceOf(AgentgateError)
      await second.release()
      await broker.restart()
      await settled()
    }, 90_000)

    it(`of the broker after an end is written down, before the target is told${of}`, async () => {
      const tunnel = await FakeTunnel.open()
      const { user } = tunnel.opened.grants[0]!.credential
      const held = await chaos.holding(server.superuserUrl(), `begin; alter role "${user}" connection limit 3`)
      const killed = refused(client.killSession(tunnel.opened.session, 'chaos'))
      await until('it is written down', async () => (await count(live)) === 0 && (await count(blocked)) > 0)
      await broker.kill()
      expect(await killed).toBeInstanceOf(AgentgateError)
      await held.release()
      expect(await count(roles)).toBe(1)
      await broker.restart()
      await settled()
      await until('the tunnel hears of it', () => tunnel.heard.some(event => event.event === 'ended'))
      tunnel.kill()
    }, 90_000)

    it(`of the broker while an approval is open, and while it is being decided${of}`, async () => {
      const tunnel = await FakeTunnel.open()
      const request = tunnel.request()
      await client.ask(tunnel.opened.session, tunnel.opened.token, request)
      await restart()
      expect((await client.approvals()).map(each => each.id)).toEqual([request.id])
      const held = await chaos.holding(store, 'begin; lock table agentgate.approvals in share mode')
      const asked = refused(client.answer(request.id, { outcome: 'approve' }))
      await until('it is being decided', async () => (await count(blocked)) > 0)
      await broker.kill()
      expect(await asked).toBeInstanceOf(AgentgateError)
      await held.release()
      await broker.restart()
      // Either the first counted, though nobody was told, or the second does: never both.
      const again = await refused(client.answer(request.id, { outcome: 'reject', reason: 'no' }))
      expect(again).toBeUndefined()
      await until('the tunnel is told', () => tunnel.heard.some(event => event.event === 'approval'))
      const [row] = await query(store, 'select state from agentgate.approvals where id = $1', [request.id])
      const told = tunnel.heard.filter(event => event.event === 'approval').map(event => event.outcome)
      expect(new Set(told)).toEqual(new Set([row!['state']]))
      tunnel.kill()
      await settled()
    }, 90_000)

    it(`of PostgreSQL and of the tunnel while a grant lives${of}`, async () => {
      const tunnel = await FakeTunnel.open()
      await chaos.crash()
      await until('the store answers', async () => refused(client.grants()).then(error => error === undefined))
      expect(await count(live)).toBe(1)
      tunnel.kill()
      await settled()
    }, 90_000)
  }

  it('of the tunnel while it is coming back to its broker', async () => {
    const tunnel = await FakeTunnel.open()
    const { session, token } = tunnel.opened
    for (let n = 0; n < 40; n++) {
      const over = new AbortController()
      const first = refused(client.stream(session, token, 10_000, over.signal).next())
      await sleep(n % 8)
      over.abort()
      await first
    }
    tunnel.kill()
    await settled() // whoever left half-way is not taken for being there
  }, 90_000)

  it(
    `at random instants, ${randomRounds} times`,
    async () => {
      const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 1_000_000)
      const rounds = fc.sample(
        fc.record({
          act: fc.constantFrom('open', 'end', 'kill', 'ask', 'approve', 'race'),
          victim: fc.constantFrom('broker', 'broker', 'postgres', 'tunnel'),
          afterMs: fc.integer({ min: 0, max: 120 }),
        }),
        { numRuns: randomRounds, seed },
      )
      for (const [index, { act, victim, afterMs }] of rounds.entries()) {
        const what = `seed ${seed}, round ${index}: ${victim} killed ${afterMs} ms after ${act}`
        const opened: FakeTunnel[] = []
        try {
          const tunnel = await FakeTunnel.open()
          opened.push(tunnel)
          const { session, token } = tunnel.opened
          const request = tunnel.request()
          if (act === 'approve' || act === 'race') await client.ask(session, token, request)
          const work: Promise<unknown>[] = []
          if (act === 'open') work.push(FakeTunnel.open().then(each => opened.push(each)))
          if (act === 'end') work.push(client.end(session, token, 'over'))
          if (act === 'kill') work.push(client.killSession(session, 'chaos'))
          if (act === 'ask') work.push(client.ask(session, token, request))
          if (act === 'approve' || act === 'race') work.push(client.answer(request.id, { outcome: 'approve' }))
          if (act === 'race') work.push(client.answer(request.id, { outcome: 'reject', reason: 'no' }))
          const results = Promise.allSettled(work)
          await sleep(afterMs)
          if (victim === 'broker') await restart()
          if (victim === 'postgres') await chaos.crash()
          if (victim === 'tunnel') tunnel.kill()
          // One outcome, whoever was told: two yeses to two different answers must not be.
          const answers = (await results).flatMap(each =>
            each.status === 'fulfilled' && typeof each.value === 'object' ? [each.value as { kind: string }] : [],
          )
          expect(answers.filter(each => each.kind === 'decided').length, what).toBeLessThanOrEqual(1)
          for (const each of await results)
            if (each.status === 'rejected') expect(each.reason, what).toBeInstanceOf(AgentgateError)
          for (const each of opened) each.kill()
          await settled()
        } catch (error) {
          throw new Error(
            `${what}: ${error instanceof Error ? error.message : String(error)}\n${broker.said.slice(-1500)}`,
            {
              cause: error,
            },
          )
        }
      }
    },
    long ? 3_600_000 : 240_000,
  )

  it('leaves no process and no socket', async () => {
    await broker[Symbol.asyncDispose]()
    expect(existsSync(broker.unix.replace('unix:', ''))).toBe(false)
    expect(await count(`select from pg_stat_activity where application_name like 'agentgate%'`)).toBe(0)
  })
})
