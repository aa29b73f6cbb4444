import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Place } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { freePort } from '../support/port.ts'
import { until } from '../support/processes.ts'
import { app, postgres15, query, startServer } from '../support/servers.ts'
import { lines, Team } from '../broker/team.ts'
import { Certificate, Receiver, type Received } from './receivers.ts'

interface Told {
  readonly metadata: { readonly uid: string; readonly event_code: string; readonly correlation_uid?: string }
  readonly unmapped: Readonly<Record<string, unknown>>
  readonly message: string
}

// The policy's places are the broker's business: nobody else's machine knows the key that they want.
describeWith('audit events of a team', [postgres15.need, program('openssl')], () => {
  const owned = new Owned()
  const secret = 'Splunk of the team'
  let team: Team
  let receiver: Receiver
  let maria: Place
  let policy: string
  const away = { now: false }

  const told = (of: readonly Received[] = receiver.taken): Told[] =>
    of.flatMap(({ body }) => JSON.parse(body) as Told[])
  const uids = () => new Set(told().map(({ metadata }) => metadata.uid))
  const of = (session: string) => told().filter(({ metadata }) => metadata.correlation_uid === session)
  const codes = (session: string) => of(session).map(({ metadata }) => metadata.event_code)

  beforeAll(async () => {
    const server = owned.add(await startServer(postgres15))
    const certificate = new Certificate(newFolder('certificate'), 'receiver')
    receiver = owned.add(await Receiver.start(certificate))
    receiver.answer = ({ headers }) => ({ status: away.now ? 503 : headers.authorization === secret ? 200 : 401 })
    policy = `admins: { policy: { group: dba } }
audit: { to: { name: splunk, webhook: "${receiver.url}", headers: { Authorization: "\${env:HEC}" }, ca: "\${env:HEC_CA}" } }
access: [ { who: { group: eng }, resources: [ shop ], scopes: [ read ], ttl: 1h } ]
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
    team = owned.add(
      // Where it is killed and started again, it is found at the same place.
      await Team.start(
        policy,
        {
          ADMIN_URL: server.superuserUrl(),
          HEC: secret,
          HEC_CA: certificate.pem,
        },
        ['--listen', `localhost:${await freePort()}`],
      ),
    )
    maria = await team.machine('maria', ['eng'])
  }, 120_000)
  afterAll(async () => await owned.close())

  it('reach the places through the broker, said by whom, from a machine that knows no secret', async () => {
    const tunnels = await maria.connect()
    await query(tunnels.tunnel.url, `select 'through the broker'`)
    await expect(query(tunnels.tunnel.url, 'select * from payments')).rejects.toThrow(/no payments/)
    const { code, stderr } = await tunnels.close()
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('audit') as string })
    await until('its end arrives', () => codes(tunnels.session).includes('session-end'))
    expect(codes(tunnels.session)).toEqual(
      expect.arrayContaining(['grant', 'session-start', 'decision', 'session-end']),
    )
    const mine = of(tunnels.session).filter(({ unmapped }) => unmapped['reported_by'] !== undefined)
    expect(new Set(mine.map(({ unmapped }) => unmapped['reported_by']))).toEqual(new Set(['maria']))
    expect(mine.some(({ unmapped }) => unmapped['outcome'] === 'denied')).toBe(true)
    // The broker's own word is nobody else's.
    expect(of(tunnels.session).find(({ metadata }) => metadata.event_code === 'grant')?.unmapped).not.toHaveProperty(
      'reported_by',
    )
    expect(told().some(({ metadata, message }) => metadata.event_code === 'login' && message.includes('maria'))).toBe(
      true,
    )
    const sink = lines((await maria.run(['audit', '--json'])).stdout)[0]
    expect(sink).toMatchObject({ name: 'broker', place: team.broker.https, state: 'ok', waitingBytes: 0 })
    expect(fs.readdirSync(maria.home, { recursive: true }).join('\n')).not.toContain(secret)
  }, 60_000)

  it('wait where the receiver is away, and hold nobody up', async () => {
    away.now = true
    const tunnels = await maria.connect()
    for (let count = 0; count < 20; count++) await query(tunnels.tunnel.url, `select 'away ${count}'`)
    expect((await tunnels.close()).code).toBe(0)
    expect(codes(tunnels.session)).toEqual([])
    away.now = false
    await until('its end arrives', () => codes(tunnels.session).includes('session-end'), 60_000)
    expect(codes(tunnels.session).filter(code => code === 'decision').length).toBeGreaterThanOrEqual(20)
  }, 120_000)

  it('survive a broker that is killed before it has brought them on, and one that is away', async () => {
    away.now = true
    const tunnels = await maria.connect()
    await query(tunnels.tunnel.url, `select 'taken by the broker'`)
    const waiting = async () => Number(lines((await maria.run(['audit', '--json'])).stdout)[0]?.['waitingBytes'])
    await until('the broker has them', async () => (await waiting()) === 0)
    await team.broker.kill()
    await query(tunnels.tunnel.url, `select 'while it was away'`)
    expect(codes(tunnels.session)).toEqual([])
    await team.broker.restart()
    away.now = false
    expect((await tunnels.close()).code).toBe(0)
    // What the session's end could not wait for, the machine's next command brings.
    await until(
      'its end arrives',
      async () => {
        if (codes(tunnels.session).includes('session-end')) return true
        await maria.run(['audit', 'deliver'])
        return codes(tunnels.session).includes('session-end')
      },
      60_000,
    )
    const recorded = lines<{ event: string; sequence: number }>(
      (await maria.run(['sessions', 'replay', '--json', tunnels.session])).stdout,
    )
    const actions = recorded
      .filter(({ event }) => event === 'action')
      .map(each => `${tunnels.session}:${each.sequence}`)
    expect(actions.length).toBeGreaterThanOrEqual(2)
    expect(actions.filter(uid => !uids().has(uid))).toEqual([])
  }, 120_000)

  it('are nobody’s to tell but theirs', async () => {
    const tunnels = await maria.connect()
    await tunnels.close()
    const { session } = tunnels
    const mallory = await team.token('mallory', ['eng'])
    const event = (uid: string, kind: string, unmapped: object = {}) => ({
      uid,
      kind,
      at: Date.now(),
      event: { metadata: { uid, event_code: kind, version: '1.6.0' }, unmapped, message: 'forged' },
    })
    const send = async (token: string | undefined, ...events: object[]) =>
      (await team.call('POST', '/v1/audit', token, { events })).status
    expect(await send(undefined, event('e_000000000000000000000000', 'test'))).toBe(401)
    // Whoever is first with a uid would have a receiver take what really happened for a repetition.
    expect(await send(mallory, event(`${session}:9`, 'decision'))).toBe(400)
    expect(await send(mallory, event('e_000000000000000000000000', 'grant'))).toBe(400)
    expect(await send(mallory, event('e_000000000000000000000000', 'suspension'))).toBe(400)
    expect(
      await send(mallory, { ...event('e_000000000000000000000000', 'test'), uid: 'e_111111111111111111111111' }),
    ).toBe(400)
    expect(await send(mallory, event('anything', 'test'))).toBe(400)
    expect(await send(mallory, event('e_000000000000000000000001', 'test', { pad: 'x'.repeat(200_000) }))).toBe(400)
    expect(await send(mallory)).toBe(400)
    expect(await send(mallory, event('e_00000000000000000000000a', 'test', { reported_by: 'maria' }))).toBe(200)
    await until('it arrives', () => uids().has('e_00000000000000000000000a'))
    expect(told().find(({ metadata }) => metadata.uid === 'e_00000000000000000000000a')?.unmapped).toEqual({
      reported_by: 'mallory',
    })
    expect(told().filter(({ message }) => message === 'forged')).toHaveLength(1)
  }, 60_000)

  it('tell that somebody logged in, and out, that a policy changed, and that a recording was altered', async () => {
    const before = told().length
    const place = new Place('version: 1\n', {
      NODE_EXTRA_CA_CERTS: team.idp.caFile,
      DBUS_SESSION_BUS_ADDRESS: '',
      AGENTGATE_BROKER: '',
      CI: '1', // none may start by itself
    })
    team.idp.before = (request, response) => team.idp.interact(request, response)
    const running = place.start(['login', team.broker.https, '--ca', team.idp.caFile])
    await team.idp.confirm((await running.said(/code {2}(\S+)/, 'stderr'))[1] ?? '', { kind: 'yes' })
    expect(await running.finished()).toMatchObject({ code: 0 })
    expect((await place.run(['whoami'])).code).toBe(0)
    const since = (code: string) =>
      told()
        .slice(before)
        .filter(({ metadata }) => metadata.event_code === code)
    await place.run(['grants', 'list'])
    await until('the login arrives', () => since('login').length > 0)

    team.replacePolicy(team.policy.replace('no payments', 'no payments at all'))
    await until('the change arrives', () => since('policy').length > 0, 30_000)
    expect(since('policy')[0]?.unmapped).toMatchObject({ change: 'in-effect' })

    const tunnels = await maria.connect()
    await query(tunnels.tunnel.url, `select 'to be altered'`)
    await tunnels.close()
    const folder = path.join(maria.home, 'data', 'recordings', tunnels.session)
    const file = path.join(folder, '000001.segment')
    const bytes = fs.readFileSync(file)
    bytes[bytes.length - 5] = (bytes[bytes.length - 5] ?? 0) ^ 1
    fs.writeFileSync(file, bytes)
    expect((await maria.run(['sessions', 'verify', tunnels.session])).code).toBe(7)
    await until('the gap arrives', () => since('recording-gap').length > 0)
    expect(since('recording-gap')[0]).toMatchObject({
      metadata: { correlation_uid: tunnels.session },
      unmapped: { gap: 'altered', reported_by: 'maria' },
    })

    expect((await place.run(['logout'])).code).toBe(0)
    await until('the logout arrives', () => since('logout').length > 0)
    expect(since('logout')[0]?.message).toContain('maria')
  }, 120_000)
})
