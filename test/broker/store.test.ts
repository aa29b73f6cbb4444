import { copyFileSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import Database from 'libsql'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../src/broker/open-store.ts'
import type { Store } from '../../src/broker/store.ts'
import { migrations, type StoredGrant } from '../../src/broker/store-tables.ts'
import type { StoreWord } from '../../src/broker/store-engine.ts'
import { Secret } from '../../src/secret.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { startRelay } from '../support/relay.ts'
import { postgres15, query, startServer, type TestServer } from '../support/servers.ts'
import { engines, newDatabase, type Engine } from './store-engines.ts'

const at = '2026-11-21T16:00:00.000Z'
const later = '2026-11-21T17:00:00.000Z'
let counted = 0

function grantOf(session: string, more: Partial<StoredGrant> = {}): StoredGrant {
  return {
    id: `g_${String(++counted).padStart(10, '0')}`,
    session,
    principal: 'maria',
    actor: null,
    resource: 'shop',
    scope: 'read',
    state: 'minting',
    issuer: null,
    credential_user: null,
    host: 'laptop',
    purpose: 'it’s “quoted” \\ and 漢字',
    ticket: null,
    created_at: at,
    expires_at: later,
    ended_at: null,
    ended_by: null,
    reason: null,
    request: null,
    ...more,
  }
}

async function addSession(store: Store, more: Partial<StoredGrant> = {}) {
  const id = `s_${String(++counted).padStart(10, '0')}`
  const grant = grantOf(id, more)
  await store.addSession(
    { id, principal: grant.principal, token_hash: `hash of ${id}`, expires_at: later, seen_at: at, broker: 'b_one' },
    [grant],
  )
  return { id, grant }
}

async function addApproval(store: Store, session: string, expiresAt = later) {
  const id = `a_${String(++counted).padStart(6, '0')}`
  const approval = {
    id,
    session,
    principal: 'maria',
    request: '{"shown":true}',
    state: 'open',
    expires_at: expiresAt,
    decided_at: null,
    decided_by: null,
    reason: null,
    answer: null,
  } as const
  expect(await store.approvals.add(approval)).toBe(true)
  return approval
}

// One suite, whatever is below: what differs between the engines would be a bug of the broker on one of them.
for (const engine of engines)
  describeWith(`the store on ${engine.name}`, engine.needs, () => {
    let place: Awaited<ReturnType<Engine['start']>>
    let store: Store
    beforeAll(async () => {
      place = await engine.start()
      store = await place.open()
    })
    afterAll(async () => {
      await store?.close()
      await place?.close()
    })

    it('gives back what was written, and knows its own name', async () => {
      const { id, grant } = await addSession(store)
      expect(await store.session(id)).toMatchObject({ token_hash: `hash of ${id}`, seen_at: at })
      expect(await store.grant(grant.id)).toEqual(grant)
      expect(await store.grantsOf(id)).toEqual([grant])
      expect(await store.id()).toMatch(/^b_[0-9A-Z]{12}$/)
      expect(await store.id()).toBe(await store.id())
      await store.ping()
    })

    it('writes a session and its grants, or neither', async () => {
      const { grant } = await addSession(store)
      const session = {
        id: 's_TWICE',
        principal: 'maria',
        token_hash: 'x',
        expires_at: later,
        seen_at: at,
        broker: null,
      }
      await expect(store.addSession(session, [grantOf('s_TWICE'), { ...grant, session: 's_TWICE' }])).rejects.toThrow()
      expect(await store.session('s_TWICE')).toBeUndefined()
      expect(await store.grantsOf('s_TWICE')).toEqual([])
    })

    it('activates what is being minted, and nothing that has ended', async () => {
      const { id, grant } = await addSession(store)
      const minting = async () => await store.mintingOfTheDead('b_other', at)
      expect(await minting()).toContain(id)
      expect(await store.mintingOfTheDead('b_one', null)).not.toContain(id)
      await store.runs('b_one', at, at)
      expect(await minting()).not.toContain(id)
      await store.runs('b_other', later, later) // and so the one that said nothing since is forgotten
      expect(await minting()).toContain(id)
      expect(await store.activate(grant.id, 'postgres-role', 'role')).toBe(true)
      expect(await store.activate(grant.id, 'postgres-role', 'role')).toBe(false)
      expect(await minting()).not.toContain(id)
      const ended = await addSession(store)
      await store.endSession(ended.id, 'revoked', 'john', 'why', at)
      expect(await store.activate(ended.grant.id, 'postgres-role', 'role')).toBe(false)
    })

    it('ends a session once, whoever asks at the same time, with what waited in it', async () => {
      const { id, grant } = await addSession(store)
      const approval = await addApproval(store, id)
      const all = await Promise.all(
        Array.from({ length: 8 }, async (_, n) => await store.endSession(id, 'revoked', `admin ${n}`, 'why', at)),
      )
      expect(all.filter(each => each.length === 1)).toHaveLength(1)
      expect(await store.grant(grant.id)).toMatchObject({ state: 'revoked', reason: 'why', ended_at: at })
      expect(await store.approvals.find(approval.id)).toMatchObject({ state: 'withdrawn' })
      expect(await store.isLive(id)).toBe(false)
    })

    it('lists what lives, with when its tunnel was last heard of', async () => {
      const one = await addSession(store, { principal: 'lena' })
      const two = await addSession(store, { principal: 'lena' })
      await store.seen([one.id], later)
      await store.seen([], later)
      const live = await store.liveSessions()
      expect(live.find(each => each.id === one.id)).toEqual({ id: one.id, seen_at: later, until: later })
      expect(live.find(each => each.id === two.id)).toEqual({ id: two.id, seen_at: at, until: later })
      await store.endSession(two.id, 'closed', 'tunnel', 'over', at)
      expect((await store.liveSessions()).map(each => each.id)).not.toContain(two.id)
      expect((await store.liveGrants('lena')).map(each => each.session)).toEqual([one.id])
      expect((await store.grants('lena')).map(each => each.session).sort()).toEqual([one.id, two.id].sort())
      const known = [one.grant.id, two.grant.id, ...Array.from({ length: 1200 }, (_, n) => `g_NOT${n}`)]
      expect([...(await store.liveOf(known))]).toEqual([one.grant.id])
    })

    it('decides an approval once, whoever asks at the same time', async () => {
      const { id } = await addSession(store)
      const approval = await addApproval(store, id)
      const all = await Promise.all(
        Array.from(
          { length: 8 },
          async (_, n) =>
            await store.approvals.decide(approval.id, n % 2 === 0 ? 'approved' : 'rejected', `dba ${n}`, null, at),
        ),
      )
      expect(all.filter(each => each)).toHaveLength(1)
      const winner = all.indexOf(true)
      expect(await store.approvals.find(approval.id)).toMatchObject({ decided_by: `dba ${winner}` })
      expect((await store.approvals.decided(id)).map(each => each.id)).toEqual([approval.id])
      expect((await store.approvals.open(at)).map(each => each.id)).not.toContain(approval.id)
    })

    it('counts each voter once, and decides nothing that is too late or another’s', async () => {
      const { id } = await addSession(store)
      const approval = await addApproval(store, id)
      const text = '{"text":"select 1"}'
      expect(await store.approvals.vote(approval.id, 'b', at, text)).toEqual(['b'])
      expect(await store.approvals.vote(approval.id, 'a', at, '{}')).toEqual(['a']) // what was said to something else is over
      expect(await store.approvals.vote(approval.id, 'a', at, '{}')).toEqual(['a'])
      expect((await store.approvals.votes([approval.id])).map(({ principal, what }) => [principal, what])).toEqual([
        ['a', '{}'],
      ])
      expect(await store.approvals.vote(approval.id, 'b', at, '{}')).toHaveLength(2)
      const old = await addApproval(store, id, '2026-11-21T15:00:00.000Z')
      expect(await store.approvals.decide(old.id, 'approved', 'dba', null, at)).toBe(false)
      const other = await addSession(store)
      expect(await store.approvals.add({ ...approval, session: other.id })).toBe(false)
      expect(await store.approvals.add(approval)).toBe(true)
    })

    it('suspends and resumes', async () => {
      const suspension = { principal: 'otto', at, by: 'sam', reason: 'left' }
      await store.suspend(suspension)
      await store.suspend({ ...suspension, reason: 'left for good' })
      expect(await store.suspension('otto')).toEqual({ ...suspension, reason: 'left for good' })
      expect((await store.suspensions()).map(each => each.principal)).toContain('otto')
      expect(await store.resume('otto')).toBe(true)
      expect(await store.resume('otto')).toBe(false)
      expect(await store.suspension('otto')).toBeUndefined()
    })

    it('keeps what it was told when it is opened again', async () => {
      const { grant } = await addSession(store)
      const id = await store.id()
      await store.close()
      store = await place.open()
      expect(await store.grant(grant.id)).toEqual(grant)
      expect(await store.id()).toBe(id)
    })
  })

describe('a store in a file', () => {
  const open = async (file: string) => await openStore({ file })

  it('is locked while a broker has it, and free once that is gone', async () => {
    const file = path.join(newFolder('store'), 'broker.db')
    const first = await open(file)
    await expect(open(file)).rejects.toMatchObject({
      code: 'STATE_UNSAFE',
      message: expect.stringContaining('another broker'),
    })
    await first.close()
    await (await open(file)).close()
  })

  it.each([
    [
      'no database at all',
      (file: string) => writeFileSync(file, 'not a database, but long enough to be read as one '.repeat(100)),
    ],
    ['cut off', (file: string) => truncateSync(file, Math.floor(statSync(file).size / 2))],
    [
      'overwritten in the middle',
      (file: string) => {
        const bytes = readFileSync(file)
        bytes.fill(0xff, 4096, 4096 * 3)
        writeFileSync(file, bytes)
      },
    ],
  ])('that is %s is refused and left as it is', async (_name, damage) => {
    const file = path.join(newFolder('store'), 'broker.db')
    const store = await open(file)
    for (let n = 0; n < 50; n++) await addSession(store)
    await store.close()
    damage(file)
    const before = readFileSync(file)
    await expect(open(file)).rejects.toMatchObject({
      code: 'STATE_UNSAFE',
      message: `the broker’s store ${file} is damaged, and was left as it is`,
      hint: expect.stringContaining('mv '),
    })
    expect(readFileSync(file).equals(before)).toBe(true)
  })

  it('that is newer is refused and left as it is', async () => {
    const file = path.join(newFolder('store'), 'broker.db')
    await (await open(file)).close()
    const database = new Database(file)
    database.exec(`pragma user_version = ${migrations.length + 1}`)
    database.close()
    const before = readFileSync(file)
    await expect(open(file)).rejects.toMatchObject({ code: 'STATE_UNSAFE', message: expect.stringContaining('newer') })
    expect(readFileSync(file).equals(before)).toBe(true)
  })

  it('of every older version is brought up to date, and kept as it was beside', async () => {
    for (let version = 1; version < migrations.length; version++) {
      const file = path.join(newFolder('store'), 'broker.db')
      const database = new Database(file)
      for (const statements of migrations.slice(0, version)) for (const each of statements) database.exec(each)
      database.exec(`pragma user_version = ${version}`)
      database.exec(`insert into suspensions values ('otto', '${at}', 'sam', 'left')`)
      database.close()
      const store = await open(file)
      expect(await store.suspension('otto')).toMatchObject({ reason: 'left' })
      await addSession(store)
      await store.close()
      const kept = path.join(newFolder('kept'), 'broker.db')
      copyFileSync(`${file}.v${version}`, kept)
      const old = new Database(kept)
      expect(old.prepare('pragma user_version').get()).toMatchObject({ user_version: version })
      old.close()
    }
  })

  it('whose folder cannot be written says so', async () => {
    const file = path.join(newFolder('store'), 'none', 'broker.db')
    await expect(open(file)).rejects.toMatchObject({ code: 'STORE_FAILED', hint: expect.stringContaining('ls -l') })
    expect(existsSync(file)).toBe(false)
  })
})

describeWith('a store on PostgreSQL', [postgres15.need], () => {
  const owned = new Owned()
  let server: TestServer
  beforeAll(async () => {
    server = owned.add(await startServer(postgres15))
  })
  afterAll(async () => await owned.close())

  it('is made once by brokers that start together, in a schema of its own', async () => {
    const url = await newDatabase(server)
    const stores = await Promise.all(Array.from({ length: 5 }, async () => await openStore({ url })))
    const ids = await Promise.all(stores.map(async store => await store.id()))
    expect(new Set(ids).size).toBe(1)
    await Promise.all(stores.map(async store => await store.close()))
    const tables = await query(
      url.reveal(),
      `select distinct schemaname::text as name from pg_tables where schemaname !~ '^(pg_|information)'`,
    )
    expect(tables).toEqual([{ name: 'agentgate' }])
  })

  it('that is newer is refused and left as it is', async () => {
    const url = await newDatabase(server)
    await (await openStore({ url })).close()
    await query(url.reveal(), `insert into agentgate.migrations values (${migrations.length + 1}, now())`)
    await expect(openStore({ url })).rejects.toMatchObject({
      code: 'STATE_UNSAFE',
      message: expect.stringContaining('newer'),
    })
  })

  it('of every older version is brought up to date', async () => {
    for (let version = 1; version < migrations.length; version++) {
      const url = await newDatabase(server)
      await query(url.reveal(), 'create schema agentgate')
      await query(
        url.reveal(),
        'create table agentgate.migrations (version integer primary key, at timestamptz not null)',
      )
      for (const [index, statements] of migrations.slice(0, version).entries()) {
        for (const each of statements) await query(url.reveal(), `set search_path to agentgate; ${each}`)
        await query(url.reveal(), `insert into agentgate.migrations values (${index + 1}, now())`)
      }
      const store = await openStore({ url })
      await addSession(store)
      await store.close()
    }
  })

  it('carries what one broker ended or decided to the others, and not back to itself', async () => {
    const url = await newDatabase(server)
    const [one, two] = [await openStore({ url }), await openStore({ url })]
    const heard: Record<'one' | 'two', StoreWord[]> = { one: [], two: [] }
    one.hear(word => heard.one.push(word))
    two.hear(word => heard.two.push(word))
    await one.tell({ kind: 'ended', session: 's_1' })
    await one.tell({ kind: 'approval', id: 'a_1' })
    await until('it is heard', () => heard.two.length === 2)
    expect(heard).toEqual({
      one: [],
      two: [
        { kind: 'ended', session: 's_1' },
        { kind: 'approval', id: 'a_1' },
      ],
    })
    // Whoever may use the database can say anything.
    for (const text of ['', '{', 'null', '{"kind":"ended"}', '{"from":"x","kind":"drop"}'])
      await query(url.reveal(), 'select pg_notify($1, $2)', ['agentgate', text])
    await server.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agentgate broker'`,
    )
    await until('the gap is told', () => heard.two.some(word => word.kind === 'gap'))
    await until(
      'it answers again',
      async () =>
        await two.ping().then(
          () => true,
          () => false,
        ),
    )
    await one.tell({ kind: 'ended', session: 's_2' })
    await until('it is heard again', () => heard.two.some(word => word.kind === 'ended' && word.session === 's_2'))
    expect(heard.two).toHaveLength(4)
    await Promise.all([one.close(), two.close()])
  })

  it('says what is wrong with it, and no secret', async () => {
    const url = (await newDatabase(server)).reveal()
    const wrong: readonly (readonly [string, RegExp])[] = [
      [url.replace('of%20the%20store', 'pass-word'), /refuses its user or password/],
      [url.replace(/\/[^/]*$/, '/nowhere'), /does not exist/],
      [url.replace(server.address, '127.0.0.1:1'), /does not answer \(ECONNREFUSED\)/],
      [url.replace('postgresql:', 'mysql:'), /is not of PostgreSQL/],
      ['postgresql://of%20the%20store', /names no user/],
      [`${url}?sslmode=nonsense`, /sslmode/],
      [`${url}?sslmode=verify-full`, /does not answer|certificate/],
    ]
    for (const [each, message] of wrong) {
      const error: unknown = await openStore({ url: new Secret(each) }).then(
        async store => await store.close(),
        (refused: unknown) => refused,
      )
      expect(String(error)).toMatch(message)
      expect(JSON.stringify([String(error), (error as { hint?: string }).hint])).not.toMatch(
        /pass-word|of%20the|of the store/,
      )
    }
  })

  it('does not let a role in that may not make its schema', async () => {
    const url = new URL((await newDatabase(server)).reveal())
    await server.query(`create role nobody login password 'x'`)
    url.username = 'nobody'
    url.password = 'x'
    await expect(openStore({ url: new Secret(url.href) })).rejects.toMatchObject({
      code: 'STORE_FAILED',
      message: expect.stringContaining('lets its user do too little'),
    })
  })

  it('fails while the server is away or crashes, and answers when it is back', async () => {
    const relay = await startRelay(server.address)
    const address = `127.0.0.1:${relay.port}`
    const url = (await newDatabase(server)).reveal()
    const store = await openStore({ url: new Secret(url.replace(server.address, address)) })
    const { grant } = await addSession(store)
    const answers = async () =>
      await store.ping().then(
        () => true,
        () => false,
      )
    await relay.close()
    await expect(store.ping()).rejects.toMatchObject({ code: 'STORE_FAILED' })
    await expect(store.grant(grant.id)).rejects.toMatchObject({
      code: 'STORE_FAILED',
      message: expect.stringContaining(address),
    })
    await expect(addSession(store)).rejects.toMatchObject({ code: 'STORE_FAILED' })
    owned.add(await startRelay(server.address, { port: relay.port }))
    await until('it answers again', answers)
    // A backend that is killed takes the whole server through crash recovery (PG 15 docs §19.5).
    const [backend] = await query(url, `select pid from pg_stat_activity where application_name = 'agentgate broker'`)
    process.kill(Number(backend?.['pid']), 'SIGKILL')
    await until('it answers after the crash', answers)
    expect(await store.grant(grant.id)).toEqual(grant)
    await store.close()
  })
})
