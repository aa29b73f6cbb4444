import fs from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { bucket, s3, s3Environment, S3Server } from '../recording/s3-server.ts'
import { Place } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { app, postgres15, startServer } from '../support/servers.ts'
import { RunningBroker } from './running-broker.ts'

// Two machines, one broker, one bucket; and an auditor who has the bucket and the broker's public key, nothing else.
describeWith('a witnessed bucket', [postgres15.need, s3], () => {
  const owned = new Owned()
  let gateway: S3Server
  let broker: RunningBroker
  let auditor: Place
  let here: Place
  let key: string
  const sessions: string[] = []
  const from = `s3://${bucket}/team`

  const verify = async (...args: string[]) => {
    const { code, stdout, stderr } = await auditor.run(['sessions', 'verify', '--from', from, '--json', ...args])
    const lines = stdout.split('\n').filter(line => line !== '')
    return {
      code,
      stderr,
      found: lines.map(line => JSON.parse(line) as { session: string; result: string; text: string }),
    }
  }
  const inBucket = (...names: string[]) => path.join(gateway.folder, bucket, 'team', ...names)

  beforeAll(async () => {
    const server = owned.add(await startServer(postgres15))
    gateway = owned.add(await S3Server.start(newFolder('bucket')))
    const policy = `version: 1
recording: { sync: { to: "${from}", endpoint: "${gateway.endpoint}" } }
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes: { read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] } }
rules:
  - { name: no payments, when: { table: payments }, then: deny }
`
    broker = owned.add(await RunningBroker.start(policy, { ADMIN_URL: server.superuserUrl(), ...s3Environment }))
    for (const text of ['select 1 as one', 'select count(*) from payments', 'select 3 as three']) {
      const machine = new Place('version: 1\n', { AGENTGATE_BROKER: broker.unix, ...s3Environment })
      here = machine
      const tunnels = await machine.connect()
      const client = new pg.Client({ connectionString: tunnels.tunnel.url })
      await client.connect()
      await client.query(text).catch(() => undefined)
      await client.end()
      sessions.push(tunnels.session)
      expect((await tunnels.close()).code).toBe(0)
    }
    auditor = new Place('version: 1\n', { AWS_ENDPOINT_URL: gateway.endpoint, ...s3Environment })
    const printed = await broker.administer('broker', 'key')
    expect(printed.stdout).toMatch(/^-----BEGIN PUBLIC KEY-----\n/)
    key = path.join(auditor.folder, 'broker.pem')
    fs.writeFileSync(key, printed.stdout)
  }, 120_000)
  afterAll(async () => await owned.close())

  it('is whole and witnessed to its end, from the bucket alone', async () => {
    const { code, found, stderr } = await verify('--all', '--key', key)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(found.map(({ session }) => session)).toEqual([...sessions].sort())
    for (const each of found) {
      expect(each).toMatchObject({ result: 'whole', witness: { trusted: true, complete: true, unproven: null } })
      expect(each.text).toMatch(/witnessed by broker \S+ to its end/)
    }
  }, 60_000)

  it('lists, shows, replays and exports what lies there, by the beginning of an id too', async () => {
    const listed = await auditor.run(['sessions', 'list', '--from', from])
    expect(
      listed.stdout
        .trim()
        .split('\n')
        .map(line => line.split('\t')[0])
        .sort(),
    ).toEqual([...sessions].sort())
    const grep = await auditor.run(['sessions', 'list', '--from', from, '--grep', 'AS THREE', '--json'])
    expect(JSON.parse(grep.stdout)).toMatchObject({ session: sessions[2] })
    const denied = await auditor.run(['sessions', 'list', '--from', from, '--denied', '--json'])
    expect(JSON.parse(denied.stdout)).toMatchObject({ session: sessions[1] })
    const short = sessions[0]?.slice(0, 9) ?? ''
    for (const args of [['show'], ['replay', '--text'], ['export', '--format', 'csv']]) {
      const { code, stdout } = await auditor.run(['sessions', ...args, short, '--from', from])
      expect(code).toBe(0)
      expect(stdout).toContain('select 1 as one')
    }
    expect((await auditor.run(['sessions', 'show', 's_0000', '--from', from])).code).toBe(2)
    // Nothing of it stays here.
    expect(fs.existsSync(path.join(auditor.home, 'data', 'recordings', sessions[0] ?? ''))).toBe(false)
  }, 60_000)

  it('is verified by who recorded it without a key file, as its broker’s key is known there', async () => {
    const { code, stdout } = await here.run(['sessions', 'verify', sessions[2] ?? ''])
    expect(code).toBe(0)
    expect(stdout).toMatch(/witnessed by broker \S+ to its end/)
    expect(stdout).not.toContain('not known here')
  })

  it('finds a cut tail by what the broker kept, where the bucket’s receipts are cut too', async () => {
    const folder = path.join(here.home, 'data', 'recordings', sessions[2] ?? '')
    const copy = path.join(auditor.folder, sessions[2] ?? '')
    fs.cpSync(folder, copy, { recursive: true })
    for (const name of ['manifest.json', 'receipts.jsonl']) fs.rmSync(path.join(copy, name))
    const journal = fs.readdirSync(copy).filter(name => name.endsWith('.segment'))
    expect(journal).toHaveLength(1)
    const alone = await here.run(['sessions', 'verify', copy])
    expect(alone.code).toBe(7)
    expect(alone.stdout).toContain('unfinished')
    fs.rmSync(path.join(copy, journal[0] ?? ''))
    const empty = await here.run(['sessions', 'verify', copy, '--key', key])
    expect(empty.code).toBe(7)
    expect(empty.stdout).toContain('altered')
  })

  it('puts receipts into a prefix of their own, also those of its last minute', async () => {
    await broker[Symbol.asyncDispose]()
    await broker.restart()
    const days = fs.readdirSync(inBucket('witness'))
    const lines = days.flatMap(day =>
      fs.readdirSync(inBucket('witness', day)).flatMap(name =>
        fs
          .readFileSync(inBucket('witness', day, name), 'utf8')
          .trim()
          .split('\n'),
      ),
    )
    const seen = new Set(lines.map(line => (JSON.parse(line) as { session: string }).session))
    expect([...seen].sort()).toEqual([...sessions].sort())
    // By those alone.
    for (const session of sessions)
      for (const name of fs.readdirSync(inBucket(session)))
        if (name.startsWith('receipts')) fs.rmSync(inBucket(session, name))
    const { code, found } = await verify('--all', '--key', key)
    expect(code).toBe(0)
    for (const each of found) expect(each).toMatchObject({ witness: { complete: true } })
  }, 60_000)

  it('says which sessions are gone, invented or of another key', async () => {
    const [first = '', second = ''] = sessions
    const kept = path.join(auditor.folder, 'kept')
    fs.cpSync(inBucket(first), kept, { recursive: true })
    fs.rmSync(inBucket(first), { recursive: true })
    try {
      const gone = await verify('--all', '--key', key)
      expect(gone.code).toBe(7)
      expect(gone.found.find(({ session }) => session === first)).toMatchObject({ result: 'missing' })
      // Another's recording under this name.
      fs.cpSync(inBucket(second), inBucket(first), { recursive: true })
      const swapped = await verify(first, '--key', key)
      expect(swapped.found[0]).toMatchObject({ result: 'altered' })
    } finally {
      fs.rmSync(inBucket(first), { recursive: true, force: true })
      fs.cpSync(kept, inBucket(first), { recursive: true })
    }
    const stranger = path.join(auditor.folder, 'stranger.pem')
    const other = await RunningBroker.start('version: 1\nresources: {}\n', {})
    try {
      fs.writeFileSync(stranger, (await other.administer('broker', 'key')).stdout)
    } finally {
      await other[Symbol.asyncDispose]()
    }
    const { code, found } = await verify(first, '--key', stranger)
    expect(code).toBe(7)
    expect(found[0]?.text).toContain('not this broker’s')
  }, 60_000)

  it('finds statements in the broker’s index', async () => {
    const search = async (...args: string[]) => {
      const { stdout } = await broker.administer('sessions', 'search', '--json', ...args)
      return stdout
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line) as { session: string; text: string })
    }
    expect(await search('AS ONE')).toMatchObject([{ session: sessions[0], text: 'select 1 as one', resource: 'shop' }])
    expect(await search('--denied')).toMatchObject([{ session: sessions[1], rule: 'no payments' }])
    expect(await search('%')).toEqual([])
    expect(await search('--resource', 'sh*p', '--limit', '2')).toHaveLength(2)
    expect(await search('--who', 'nobody*')).toEqual([])
  }, 60_000)

  it('says what it cannot read, and takes no answer for none', async () => {
    const nowhere = await auditor.run(['sessions', 'list', '--from', 's3://no-such-bucket-here'])
    expect({ code: nowhere.code, stdout: nowhere.stdout }).toEqual({ code: 6, stdout: '' })
    expect(nowhere.stderr).toMatch(/error: s3:\/\/no-such-bucket-here: there is no such bucket/)
    expect((await auditor.run(['sessions', 'list', '--from', 'ftp://x'])).code).toBe(2)
    expect((await auditor.run(['sessions', 'verify', '--all', '--from', from, '--key', 'none.pem'])).code).toBe(2)
    await gateway.down()
    const away = await auditor.run(['sessions', 'verify', '--all', '--from', from, '--key', key])
    expect(away.code).toBe(6)
    expect(away.stderr).toContain('cannot reach the bucket')
  }, 60_000)
})
