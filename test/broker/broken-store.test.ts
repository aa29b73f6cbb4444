import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { BrokerClient } from '../../src/control/broker-client.ts'
import { hasErrno } from '../../src/errors.ts'
import { describeWith, type Need } from '../support/needs.ts'
import { until } from '../support/processes.ts'
import { postgres15 } from '../support/servers.ts'
import { blocked, Chaos, heldRequest, live, openRequest, refused, roles } from './chaos.ts'
import { RunningBroker } from './running-broker.ts'

const policy = `version: 1
resources:
  shop: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: none }, scopes: { read: {} } }
`
const storeFile = (broker: RunningBroker) => path.join(broker.place.home, 'data', 'broker.db')
const clientOf = (broker: RunningBroker) => new BrokerClient({ address: broker.unix }, null)
/** What a broker says that cannot start. */
const start = async ({ place }: RunningBroker) => await place.run(['broker', ...(await place.trusted())])

describeWith('a store in a file that is damaged', [], () => {
  it('is named, and left as it is: put back, it has all that it had', async () => {
    const broker = await RunningBroker.start(policy, {})
    try {
      const { session } = await clientOf(broker).open(openRequest)
      await broker[Symbol.asyncDispose]() // in order, so that all is in the one file
      const file = storeFile(broker)
      const whole = readFileSync(file)
      const damaged = Buffer.from(whole)
      damaged.fill(0xff, 4096, 4096 * 3)
      writeFileSync(file, damaged)
      const failed = await start(broker)
      expect(failed).toMatchObject({ code: 2, stdout: '' })
      expect(failed.stderr).toBe(
        `error: the broker’s store ${file} is damaged, and was left as it is\nhint:  keep it, and begin anew: mv ${file} ${file}.damaged\n`,
      )
      expect(readFileSync(file).equals(damaged)).toBe(true)
      writeFileSync(file, whole)
      await broker.restart()
      expect((await clientOf(broker).grants()).map(each => each.session)).toEqual([session])
    } finally {
      await broker[Symbol.asyncDispose]()
    }
  })
})

const tmpfs: Need = {
  name: 'a small file system',
  missing:
    process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0
      ? undefined
      : 'needs root that may mount',
}

const mount = (...args: readonly string[]) => expect(spawnSync('mount', args).status).toBe(0)

describeWith('a store on a disk of its own', [tmpfs], () => {
  let broker: RunningBroker
  let data: string

  beforeAll(async () => {
    broker = await RunningBroker.start(policy, {})
    await broker[Symbol.asyncDispose]()
    data = path.join(broker.place.home, 'data')
    mount('-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'tmpfs', data)
    await broker.restart()
  })
  afterAll(async () => {
    await broker[Symbol.asyncDispose]()
    // Whatever went wrong before, no mount stays.
    expect(spawnSync('umount', [data]).status).toBe(0)
  })

  const fill = () => {
    const filler = path.join(data, 'filler')
    try {
      for (let n = 0; ; n++) writeFileSync(filler, Buffer.alloc(4096), { flag: n === 0 ? 'w' : 'a' })
    } catch (error) {
      if (!hasErrno(error, 'ENOSPC')) throw error
    }
    return { empty: () => rmSync(filler) }
  }

  it('that is full loses nothing it has acknowledged, says why, and goes on when there is room', async () => {
    const client = clientOf(broker)
    const { session } = await client.open(openRequest)
    const filler = fill()
    const acknowledged: string[] = []
    let failure: unknown
    // What its log had room for may still be written.
    for (let n = 0; n < 500 && failure === undefined; n++) {
      const name = `person-${n}`
      failure = await refused(client.suspend(name, 'x'.repeat(900)).then(() => acknowledged.push(name)))
    }
    expect(failure).toMatchObject({
      code: 'STORE_FAILED',
      message: `the broker’s store ${storeFile(broker)} cannot be used: its disk is full`,
      hint: expect.stringContaining('make room: df '),
    })
    const suspended = async () => (await clientOf(broker).suspended()).map(each => each.principal).sort()
    expect(await suspended()).toEqual(acknowledged.toSorted())
    // It lives, and answers what it can.
    expect((await client.grants()).map(each => each.session)).toEqual([session])
    expect(await refused(client.open(openRequest))).toMatchObject({ code: 'STORE_FAILED' })
    filler.empty()
    await client.suspend('afterwards', 'there is room')
    acknowledged.push('afterwards')
    await broker.kill()
    await broker.restart()
    expect(await suspended()).toEqual(acknowledged.toSorted())
    expect((await clientOf(broker).grants()).filter(each => each.session === session)).toHaveLength(1)
  }, 60_000)

  it('that may not be written is left as it is, and has all that it had', async () => {
    const before = (await clientOf(broker).grants()).map(each => each.grant)
    await broker.kill()
    const bytes = readFileSync(storeFile(broker))
    mount('-o', 'remount,ro', data)
    const failed = await start(broker)
    expect({ code: failed.code, stdout: failed.stdout }).toEqual({ code: 6, stdout: '' })
    expect(failed.stderr).toMatch(
      /^error: the broker’s store .*broker\.db cannot be used: it may not be written\nhint: /,
    )
    expect(readFileSync(storeFile(broker)).equals(bytes)).toBe(true)
    mount('-o', 'remount,rw', data)
    await broker.restart()
    expect((await clientOf(broker).grants()).map(each => each.grant)).toEqual(before)
  }, 60_000)
})

describeWith('a store on PostgreSQL that goes away', [postgres15.need], () => {
  let chaos: Chaos
  let client: BrokerClient

  beforeAll(async () => {
    chaos = await Chaos.start()
    client = new BrokerClient({ address: chaos.broker.unix }, null)
  })
  afterAll(async () => await chaos[Symbol.asyncDispose]())

  /** The store alone: the target is another database of the server, and stays. */
  const away = async () => {
    await chaos.server.query('alter database ag_store allow_connections off')
    await chaos.server.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = 'ag_store'`)
    return { back: async () => await chaos.server.query('alter database ag_store allow_connections on') }
  }
  const answers = async () =>
    await until('the store answers', async () => (await refused(client.grants())) === undefined)

  it('while a role is being made: nobody gets it, and none is left', async () => {
    const held = await chaos.holdingTarget()
    const asked = refused(client.open(openRequest))
    await until('it is minting', async () => (await chaos.count(live)) === 1 && (await chaos.count(blocked)) > 0)
    const store = await away()
    await held.release()
    expect(await asked).toMatchObject({ code: 'STORE_FAILED' })
    await until('its role is gone', async () => (await chaos.server.query(roles)).length === 0)
    await store.back()
    await answers()
    await chaos.settled()
  }, 60_000)

  it('while an answer is being written: it did not count, and the next one does', async () => {
    const opened = await client.open(openRequest)
    const request = heldRequest(opened)
    await client.ask(opened.session, opened.token, request)
    const held = await chaos.holding(chaos.store, 'begin; lock table agentgate.approvals in share mode')
    const asked = refused(client.answer(request.id, { outcome: 'approve' }))
    await until('it is being decided', async () => (await chaos.count(blocked)) > 0)
    const store = await away()
    expect(await asked).toMatchObject({ code: 'STORE_FAILED' })
    await held.release().catch(() => undefined)
    await store.back()
    await answers()
    expect((await client.approvals()).map(each => each.id)).toEqual([request.id])
    expect(await client.answer(request.id, { outcome: 'reject', reason: 'no' })).toMatchObject({ kind: 'decided' })
    expect(
      await chaos.count('select from agentgate.approvals where id = $1 and state = $2', [request.id, 'rejected']),
    ).toBe(1)
    await client.end(opened.session, opened.token, 'over')
    await chaos.settled()
  }, 60_000)

  it('while a session is being ended: its end is not said to be done before it is', async () => {
    const opened = await client.open(openRequest)
    const store = await away()
    expect(await refused(client.killSession(opened.session, 'now'))).toMatchObject({ code: 'STORE_FAILED' })
    await store.back()
    await answers()
    await client.killSession(opened.session, 'now')
    await chaos.settled()
  }, 60_000)
})
