import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { app, postgres15, startServer, type TestServer } from '../support/servers.ts'
import { lines, Team } from './team.ts'

interface Row {
  readonly request: string
  readonly state: string
  readonly until: string | null
  readonly seconds: number
}

describeWith('access on request', [postgres15.need, program('openssl')], () => {
  const owned = new Owned()
  let server: TestServer
  let team: Team
  let maria: Place
  let john: Place
  let sec: Place

  beforeAll(async () => {
    server = owned.add(await startServer(postgres15))
    team = owned.add(
      await Team.start(
        `admins: { policy: { group: sec }, auditor: { group: audit } }
access:
  - { who: { group: eng }, resources: [ shop ], scopes: [ read ] }
  - { who: { group: eng }, resources: [ shop ], scopes: [ write ], ttl: 1h, approvers: { group: dba } }
  - { who: { group: eng }, resources: [ shop ], scopes: [ admin ], approvers: { group: dba, count: 2, within: 2h } }
  - { who: { group: eng }, resources: [ shop ], scopes: [ owner ], approvers: {} }
  - { who: { claims: { repository: "acme/*" } }, resources: [ shop ], scopes: [ write ], approvers: { group: dba } }
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes:
      read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] }
      write: { grant: [ "SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public" ] }
      admin: { grant: [ "ALL ON ALL TABLES IN SCHEMA public" ] }
      owner: { grant: [ "ALL ON ALL TABLES IN SCHEMA public" ] }
  hidden: { kind: postgres, address: ${server.address}, database: x, tls: off, credential: { issuer: none } }
`,
        { ADMIN_URL: server.superuserUrl() },
      ),
    )
    maria = await team.machine('maria', ['eng'])
    john = await team.machine('john', ['eng', 'dba'])
    sec = await team.machine('sam', ['sec'])
  })
  afterAll(async () => await owned.close())

  const ask = async (who: Place, scope: string, ...more: string[]) => {
    const { code, stdout, stderr } = await who.run([
      ...['request', 'shop', '--scope', scope, '--reason', 'refund 1841', '--json'],
      ...more,
    ])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return lines<Row>(stdout)[0]!
  }
  const state = async (who: Place, id: string) =>
    lines<Row>((await who.run(['requests', '--json'])).stdout).find(each => each.request === id)!

  it('gives a scope for a while once somebody who may has said yes, and takes it back', async () => {
    const refused = await maria.run(['connect', 'shop', '--scope', 'write', '--json'])
    expect(refused.code).toBe(4)
    expect(refused.stderr).toContain('agentgate request shop --scope write')
    const asked = await ask(maria, 'write', '--for', '30m')
    expect(asked).toMatchObject({ state: 'open', seconds: 1800 })
    // Before the answer it is nobody's.
    expect((await maria.run(['connect', 'shop', '--scope', 'write', '--json'])).code).toBe(4)
    expect((await maria.run(['approvals', 'approve', asked.request])).code).toBe(2) // not one's own
    const [event] = lines<{ request: { id: string; purpose: string; view: { text: string } } }>(
      (await john.run(['approvals', 'list', '--json'])).stdout,
    )
    expect(event!.request).toMatchObject({
      id: asked.request,
      purpose: 'refund 1841',
      view: { text: 'scope write for 30m' },
    })
    const yes = await john.run(['approvals', 'approve', asked.request, '--reason', 'seen the ticket'])
    expect({ code: yes.code, stdout: yes.stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^approved/),
    })
    expect(await state(maria, asked.request)).toMatchObject({ state: 'approved', decidedBy: 'john' })

    const tunnels = await maria.connect(['shop'], ['--scope', 'write', '--for', '10h'])
    const ready = await tunnels.event('ready')
    // Never longer than what was given.
    expect(Date.parse(ready['expiresAt'] as string)).toBeLessThan(
      Date.parse((await state(maria, asked.request)).until!) + 5000,
    )
    const client = new pg.Client({ connectionString: tunnels.tunnel.url })
    client.on('error', () => undefined)
    await client.connect()
    expect((await client.query('update customers set email = email')).rowCount).toBeGreaterThan(0)
    const shown = await maria.run(['sessions', 'show', tunnels.session, '--json'])
    expect(shown.code).toBe(0)
    // Taken back: the session ends, and there is no other.
    const { code } = await sec.run(['requests', 'revoke', asked.request, '--reason', 'wrong database'])
    expect(code).toBe(0)
    expect((await tunnels.running.finished()).code).toBe(8)
    expect(tunnels.running.stderr()).toContain('wrong database')
    await client.end().catch(() => undefined)
    expect((await maria.run(['connect', 'shop', '--scope', 'write', '--json'])).code).toBe(4)
  }, 90_000)

  it('is taken back with the grant that it gave', async () => {
    const asked = await ask(maria, 'write', '--for', '10m')
    await john.run(['approvals', 'approve', asked.request])
    const tunnels = await maria.connect(['shop'], ['--scope', 'write'])
    expect((await sec.run(['sessions', 'kill', tunnels.session, '--reason', 'enough'])).code).toBe(0)
    expect((await tunnels.running.finished()).code).toBe(8)
    expect(await state(maria, asked.request)).toMatchObject({ state: 'revoked', reason: 'enough' })
  }, 60_000)

  it('waits for the answer, with an exit code for each', async () => {
    const wait = async (answer: (id: string) => Promise<unknown>, ...more: string[]) => {
      const running = maria.start([
        ...['request', 'shop', '--scope', 'write', '--for', '5m', '--reason', 'x', '--wait', '--json'],
        ...more,
      ])
      await running.said(/"event":"request".*\n/)
      await answer(lines<Row>(running.stdout())[0]!.request)
      const { code } = await running.finished()
      const ended = lines<Row & { event: string }>(running.stdout()).find(each => each.event === 'request-ended')
      return { code, state: ended!.state, stderr: running.stderr() }
    }
    expect(await wait(async id => await john.run(['approvals', 'reject', id, '--reason', 'not on a Friday']))).toEqual({
      code: 5,
      state: 'rejected',
      stderr: expect.stringContaining('rejected by john: not on a Friday'),
    })
    expect(await wait(async () => undefined, '--within', '1s')).toMatchObject({ code: 5, state: 'timed-out' })
    // A shorter time, as the approver made of it.
    const given = await wait(
      async id => await john.run(['approvals', 'edit', id, '--text', 'scope write for 2m', '--yes']),
    )
    expect(given).toMatchObject({ code: 0, state: 'approved' })
    const [row] = lines<Row>((await maria.run(['requests', '--json'])).stdout)
    expect(row).toMatchObject({ seconds: 120, state: 'approved' })
    expect((await maria.run(['requests', 'withdraw', row!.request])).code).toBe(0)
  }, 90_000)

  it('is withdrawn with the job that waited for it', async () => {
    const running = maria.start(['request', 'shop', '--scope', 'write', '--reason', 'x', '--wait', '--json'])
    await running.said(/"event":"request".*\n/)
    running.child.kill('SIGTERM')
    expect((await running.finished()).code).toBe(5)
    const { request } = lines<Row>(running.stdout())[0]!
    expect(await state(maria, request)).toMatchObject({ state: 'withdrawn' })
    expect((await john.run(['approvals', 'approve', request])).code).toBe(2)
  })

  it('cannot be given for longer than was asked for, or as something else', async () => {
    const { request } = await ask(maria, 'write', '--for', '5m')
    for (const text of ['scope write for 2h', 'scope owner for 1m', 'scope write for ever', 'select 1'])
      expect((await john.run(['approvals', 'edit', request, '--text', text, '--yes'])).code).toBe(4)
    expect(await state(maria, request)).toMatchObject({ state: 'open' })
    await maria.run(['requests', 'withdraw', request])
  }, 60_000)

  it('takes as many as the policy wants, each once and none of them the asker', async () => {
    const asked = await ask(john, 'admin')
    expect((await john.run(['approvals', 'approve', asked.request])).code).toBe(2)
    const [jane, joe] = [await team.machine('jane', ['dba']), await team.machine('joe', ['dba'])]
    for (let index = 0; index < 2; index++)
      expect((await jane.run(['approvals', 'approve', asked.request])).stdout).toMatch(/^approved, 1 more/)
    expect((await joe.run(['approvals', 'approve', asked.request])).stdout).toMatch(/^approved {2}/)
    expect(await state(john, asked.request)).toMatchObject({ state: 'approved' })
  }, 60_000)

  it('is for administrators where no group is named', async () => {
    const { request } = await ask(maria, 'owner')
    expect((await john.run(['approvals', 'approve', request])).code).toBe(2)
    expect((await sec.run(['approvals', 'approve', request])).code).toBe(0)
    await maria.run(['requests', 'withdraw', request])
    expect(await state(maria, request)).toMatchObject({ state: 'revoked' })
  })

  it('is for a job by the claims of its token', async () => {
    const job = await team.machine('job', [], { repository: 'acme/shop' })
    const other = await team.machine('job2', [], { repository: 'evil/shop' })
    const asked = await ask(job, 'write')
    await john.run(['approvals', 'approve', asked.request])
    const { code, stdout } = await job.run([
      'connect',
      'shop',
      '--scope',
      'write',
      '--',
      'psql',
      '-X',
      '-At',
      '-c',
      'select 40 + 2',
    ])
    expect({ code, stdout }).toEqual({ code: 0, stdout: '42\n' })
    const refused = await other.run(['request', 'shop', '--scope', 'write', '--reason', 'x'])
    expect(refused.code).toBe(4)
  }, 60_000)

  it('answers alike what there is not and what is not theirs', async () => {
    const { request } = await ask(maria, 'write')
    const eve = await team.machine('eve', [])
    const said = async (args: string[], id: string) => {
      const { code, stderr } = await eve.run(args)
      return { code, stderr: stderr.replaceAll(id, 'ID') }
    }
    for (const command of [
      ['requests', 'withdraw'],
      ['approvals', 'approve'],
    ])
      expect(await said([...command, request], request)).toEqual(
        await said([...command, 'r_0000000000'], 'r_0000000000'),
      )
    const names = ['shop', 'hidden', 'nothing']
    const answers = await Promise.all(
      names.map(async name => await said(['request', name, '--scope', 'write', '--reason', 'x'], name)),
    )
    expect(new Set(answers.map(each => JSON.stringify(each))).size).toBe(1)
    const opened = await Promise.all(names.map(async name => await said(['connect', name, '--json'], name)))
    expect(new Set(opened.map(each => JSON.stringify(each))).size).toBe(1)
    await maria.run(['requests', 'withdraw', request])
  }, 60_000)

  it('says who asks too much, and what is theirs already', async () => {
    const has = await maria.run(['request', 'shop', '--scope', 'read', '--reason', 'x'])
    expect(has).toMatchObject({ code: 2, stderr: expect.stringContaining('is yours already') })
    const ids: string[] = []
    for (let index = 1; index <= 5; index++) ids.push((await ask(maria, 'write', '--for', `${index}m`)).request)
    expect((await ask(maria, 'write', '--for', '5m')).request).toBe(ids[4]) // the same again
    const sixth = await maria.run(['request', 'shop', '--scope', 'write', '--for', '6m', '--reason', 'x'])
    expect(sixth).toMatchObject({ code: 4, stderr: expect.stringContaining('waiting already') })
    // Whoever is suspended has nothing that waits.
    await sec.run(['principals', 'suspend', 'maria', '--reason', 'left'])
    expect(await state(maria, ids[0]!)).toMatchObject({ state: 'revoked' })
    expect((await maria.run(['request', 'shop', '--scope', 'write', '--reason', 'x'])).code).toBe(4)
    await sec.run(['principals', 'resume', 'maria'])
  }, 60_000)
})
