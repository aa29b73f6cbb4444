import https from 'node:https'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import * as jose from 'jose'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { audience, clientId, newKey, TestProvider } from '../identity/provider.ts'
import { Place, type Tunnels } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { app, postgres15, startServer, type TestServer } from '../support/servers.ts'
import { RunningBroker } from './running-broker.ts'

// Two people, an administrator and a CI job on one broker over TLS, each from a state folder of their own.
describeWith('a broker for a team', [postgres15.need, program('openssl')], () => {
  const owned = new Owned()
  let server: TestServer
  let idp: TestProvider
  let broker: RunningBroker

  beforeAll(async () => {
    server = owned.add(await startServer(postgres15))
    idp = owned.add(await TestProvider.start())
    const policy = `version: 1
issuers:
  - { issuer: "${idp.issuer}", audience: "${audience}", client-id: ${clientId}, claims: { name: sub } }
admins: { policy: { group: sec } }
access:
  - { who: { group: eng }, resources: [ shop ], scopes: [ read ] }
  - { who: { group: eng, actor: robot, proven: true }, resources: [ shop ], scopes: [ read ] }
  - { who: { group: sec, actor: "*" }, resources: [ shop ], scopes: [ read ] }
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes:
      read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] }
      write: { grant: [ "SELECT, INSERT ON ALL TABLES IN SCHEMA public" ] }
rules:
  - { name: four eyes, when: { statement: select, table: payments }, then: approve, approvers: { group: dba, not-self: true, within: 1m } }
  - { name: two of them, when: { statement: select, table: orders }, then: approve, approvers: { group: dba, count: 2, within: 1m } }
`
    const folder = path.dirname(idp.caFile)
    broker = owned.add(
      await RunningBroker.start(policy, { ADMIN_URL: server.superuserUrl(), NODE_EXTRA_CA_CERTS: idp.caFile }, [
        '--listen',
        'localhost:0',
        '--tls-cert',
        idp.caFile,
        '--tls-key',
        path.join(folder, 'key.pem'),
      ]),
    )
  })
  afterAll(async () => await owned.close())

  const sign = async (
    sub: string,
    groups: readonly string[],
    change: (jwt: jose.SignJWT) => jose.SignJWT = jwt => jwt,
    key = idp.key,
  ) =>
    await change(
      new jose.SignJWT({ groups: [...groups] })
        .setProtectedHeader({ alg: 'ES256', kid: key.kid })
        .setIssuer(idp.issuer)
        .setAudience(audience)
        .setSubject(sub)
        .setIssuedAt()
        .setExpirationTime('5m'),
    ).sign(await jose.importJWK(key.private, 'ES256'))

  /** Somebody's machine, which knows the broker and nothing else. */
  const machineOf = async (sub: string, groups: readonly string[]) =>
    new Place('version: 1\n', {
      AGENTGATE_BROKER: broker.https,
      AGENTGATE_BROKER_CA: idp.caFile,
      AGENTGATE_ID_TOKEN: await sign(sub, groups),
    })

  const call = async (method: string, route: string, token: string | undefined, body?: object) =>
    await new Promise<{ status: number; text: string }>((resolve, reject) => {
      const request = https.request(`${broker.https}${route}`, {
        method,
        ca: readFileSync(idp.caFile),
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      })
      request.on('error', reject)
      request.on('response', response => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
        response.on('error', reject)
      })
      request.end(body === undefined ? undefined : JSON.stringify(body))
    })

  it('gives each what the policy gives them, and the administrator everybody’s grants', async () => {
    const maria = await machineOf('maria', ['eng'])
    const john = await machineOf('john', ['eng'])
    const sec = await machineOf('sam', ['sec'])
    const tunnels: Tunnels[] = [await maria.connect(), await john.connect()]
    try {
      for (const each of tunnels) {
        const psql = new pg.Client({ connectionString: each.tunnel.url })
        await psql.connect()
        const { rows } = await psql.query('select current_user::text as name')
        expect(rows[0].name).toMatch(/^agentgate_shop_(maria|john)_/)
        await psql.end()
      }
      const seen = async (place: Place) =>
        (await place.run(['grants', 'list', '--json'])).stdout
          .split('\n')
          .filter(line => line !== '')
          .map(line => JSON.parse(line) as { grant: string; principal: string; session: string })
      expect((await seen(maria)).map(each => each.principal)).toEqual(['maria'])
      expect((await seen(sec)).map(each => each.principal).sort()).toEqual(['john', 'maria'])
      // Another's grant is as one that is not there.
      const [johns] = await seen(john)
      const others = await maria.run(['grants', 'revoke', johns!.grant])
      const nobodys = await maria.run(['grants', 'revoke', 'g_0000000000'])
      expect({ code: others.code, stderr: others.stderr }).toEqual({ code: nobodys.code, stderr: nobodys.stderr })
      expect(await seen(john)).toHaveLength(1)
      expect((await maria.run(['principals', 'suspend', 'john'])).code).toBe(4)
      // The administrator's word ends it.
      expect((await sec.run(['principals', 'suspend', 'john', '--reason', 'left'])).code).toBe(0)
      expect((await tunnels[1]!.running.finished()).code).toBe(8)
      expect((await john.run(['connect', 'shop', '--json'])).stderr).toContain('john is suspended')
      expect(await seen(maria)).toHaveLength(1)
    } finally {
      await sec.run(['principals', 'resume', 'john'])
      for (const each of tunnels) await each.close()
    }
    expect(await server.query(`select from pg_roles where rolname like 'agentgate\\_shop%'`)).toEqual([])
  }, 60_000)

  describe('approval', () => {
    let maria: Place
    let tunnels: Tunnels
    let psql: pg.Client
    beforeAll(async () => {
      maria = await machineOf('maria', ['eng', 'dba'])
      tunnels = await maria.connect()
      psql = new pg.Client({ connectionString: tunnels.tunnel.url })
      psql.on('error', () => undefined)
      await psql.connect()
    })
    afterAll(async () => {
      await psql.end()
      await tunnels.close()
    })

    const waiting = async (place: Place, deadlineMs = 15_000) => {
      const deadline = performance.now() + deadlineMs
      for (;;) {
        const { stdout, stderr } = await place.run(['approvals', 'list', '--json'])
        const first = stdout.split('\n')[0] ?? ''
        if (first !== '') return JSON.parse(first).request as { id: string; principal: string; view: { text: string } }
        if (performance.now() > deadline) throw new Error(`nothing waits: ${stderr}`)
      }
    }
    const ask = async (table: string) =>
      await psql.query(`select count(*)::int as n from ${table}`).then(
        ({ rows }) => rows[0].n as number,
        (error: unknown) => (error as Error).message,
      )

    it('waits for somebody else’s yes, on another machine', async () => {
      const answer = ask('payments')
      const john = await machineOf('john', ['dba'])
      const request = await waiting(john)
      expect(request).toMatchObject({ principal: 'maria' })
      expect(request.view.text).toContain('payments')
      // Not the asker's, though she is of the group; nor anybody's who is not.
      const own = await maria.run(['approvals', 'approve', request.id])
      expect(own.code).toBe(4)
      for (const other of [await machineOf('eve', ['eng']), await machineOf('sam', ['sec'])]) {
        expect((await other.run(['approvals', 'list', '--json'])).stdout).toBe('')
        const { status, text } = await call('POST', `/v1/approvals/${request.id}`, other.env['AGENTGATE_ID_TOKEN'], {
          outcome: 'approve',
        })
        const nothing = await call('POST', '/v1/approvals/a_000000', other.env['AGENTGATE_ID_TOKEN'], {
          outcome: 'approve',
        })
        expect({ status, text }).toEqual({ status: 404, text: nothing.text.replace('a_000000', request.id) })
      }
      const { code, stdout } = await john.run(['approvals', 'approve', request.id, '--reason', 'seen'])
      expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^approved {2}/) })
      expect(await answer).toBeGreaterThan(0)
      const shown = await maria.run(['sessions', 'show', tunnels.session, '--json'])
      expect(shown.stdout).toContain('john')
    }, 60_000)

    it('gives the asker the reason of a no', async () => {
      const answer = ask('payments where id > 1')
      const john = await machineOf('john', ['dba'])
      const { id } = await waiting(john)
      await john.run(['approvals', 'reject', id, '--reason', 'not on a Friday'])
      expect(await answer).toMatch(/rejected by john: not on a Friday/)
    }, 60_000)

    it('waits for as many as the rule wants, and counts each once', async () => {
      const answer = ask('orders')
      const john = await machineOf('john', ['dba'])
      const jane = await machineOf('jane', ['dba'])
      const { id } = await waiting(john)
      for (let index = 0; index < 2; index++)
        expect((await john.run(['approvals', 'approve', id])).stdout).toMatch(/^approved, 1 more to say so/)
      expect((await jane.run(['approvals', 'approve', id])).stdout).toMatch(/^approved {2}/)
      expect(await answer).toBeGreaterThan(0)
    }, 60_000)

    it('takes an edit, or limits, where as many say yes to the same', async () => {
      const john = await machineOf('john', ['dba'])
      const jane = await machineOf('jane', ['dba'])
      const edited = (n: number) => `select count(*)::int as n from orders where id = ${n}`
      const proposedTo = async (place: Place, id: string) => {
        const { stdout } = await place.run(['approvals', 'list', '--json'])
        const requests = stdout.split('\n').filter(line => line !== '')
        return requests.map(line => JSON.parse(line).request).find(each => each.id === id)?.proposed
      }
      const answer = ask('orders where id > 0')
      const { id } = await waiting(john)
      const edit = async (place: Place, n: number) =>
        (await place.run(['approvals', 'edit', id, '--text', edited(n), '--yes', '--json'])).stdout
      const oneMore = /"outcome":"edited","missing":1/
      expect((await jane.run(['approvals', 'approve', id, '--proposed'])).stderr).toContain('nobody proposes anything')
      expect(await edit(john, 1)).toMatch(oneMore)
      expect(await edit(john, 1)).toMatch(oneMore) // nobody counts twice
      expect(await proposedTo(jane, id)).toEqual({ text: edited(1), by: ['john'] })
      // A yes to what was asked is none to the edit, nor the other way round.
      const plain = await jane.run(['approvals', 'approve', id])
      expect(plain.stderr).toContain('notice: john said yes to something else')
      expect(plain.stdout).toMatch(/^approved, 1 more to say so/)
      expect(await proposedTo(john, id)).toBeUndefined()
      expect(await edit(john, 2)).toMatch(oneMore)
      expect(await edit(jane, 3)).toMatch(oneMore)
      expect(await proposedTo(john, id)).toEqual({ text: edited(3), by: ['jane'] })
      const both = await john.run(['approvals', 'approve', id, '--proposed'])
      expect(both.stderr).toContain(`yes to what jane made of it:\n  ${edited(3)}`)
      expect(both.code).toBe(0)
      expect(await answer).toBe(1)

      // Limits on its shape, the same.
      const first = ask('orders where id = 4')
      const next = await waiting(john)
      const limits = async (place: Place, times: string) =>
        (await place.run(['approvals', 'approve', next.id, '--times', times, '--for', '5m', '--json'])).stdout
      expect(await limits(john, '9')).toMatch(/"missing":1/)
      expect(await limits(jane, '2')).toMatch(/"missing":1/)
      expect((await john.run(['approvals', 'approve', next.id, '--proposed'])).code).toBe(0)
      expect(await first).toBe(1)
      expect(await ask('orders where id = 5')).toBe(1) // the second of two; nobody is asked
    }, 90_000)

    it('takes one answer of many at once, and tells the others', async () => {
      const answer = ask('payments where id > 2')
      const approvers = await Promise.all(['a', 'b', 'c', 'd'].map(async name => await machineOf(name, ['dba'])))
      const { id } = await waiting(approvers[0]!)
      const results = await Promise.all(
        approvers.map(async (each, index) => {
          const body = index % 2 === 0 ? { outcome: 'approve' } : { outcome: 'reject', reason: 'no' }
          const { text } = await call('POST', `/v1/approvals/${id}`, each.env['AGENTGATE_ID_TOKEN'], body)
          return JSON.parse(text) as { kind: string; outcome?: string; message?: string }
        }),
      )
      const decided = results.filter(({ kind }) => kind === 'decided')
      expect(decided).toHaveLength(1)
      for (const { kind, message } of results)
        if (kind === 'refused') expect(message).toMatch(/was (approved|rejected) by [abcd]/)
      const got = await answer
      if (decided[0]!.outcome === 'approved') expect(got).toBeTypeOf('number')
      else expect(got).toMatch(/rejected by [bd]: no/)
    }, 60_000)

    it('is not shown when nobody waits any more', async () => {
      const client = new pg.Client({ connectionString: tunnels.tunnel.url })
      client.on('error', () => undefined)
      await client.connect()
      const answer = client.query('select count(*) from payments where id > 3').catch(() => undefined)
      const john = await machineOf('john', ['dba'])
      const { id } = await waiting(john)
      await client.end().catch(() => undefined)
      await answer
      const { code } = await john.run(['approvals', 'approve', id])
      expect([2, 5]).toContain(code)
      expect((await john.run(['approvals', 'list', '--json'])).stdout).toBe('')
    }, 60_000)
  })

  it('refuses what the policy does not give', async () => {
    const maria = await machineOf('maria', ['eng'])
    expect((await maria.run(['connect', 'shop', '--scope', 'write', '--json'])).code).toBe(4)
    expect((await (await machineOf('eve', [])).run(['connect', 'shop', '--json'])).code).toBe(4)
    const agent = await maria.run(['exec', '-r', 'shop', '--unconfined', '--', 'true'])
    expect(agent.code).toBe(125) // an agent has only what names it
    expect(agent.stderr).toMatch(/error: /)
  })

  it('runs a job’s command in a session of its own', async () => {
    const job = await machineOf('repo:acme/shop', ['eng'])
    const { code, stdout, stderr } = await job.run([
      'connect',
      'shop',
      '--',
      'psql',
      '-X',
      '-At',
      '-c',
      'select 40 + 2',
    ])
    expect({ code, stdout, stderr }).toMatchObject({ code: 0, stdout: '42\n' })
    expect(stderr).not.toMatch(/error/)
  })

  it('is believed only with a certificate that holds', async () => {
    const maria = await machineOf('maria', ['eng'])
    const { code, stderr } = await maria.run(['grants', 'list'], {
      env: { AGENTGATE_BROKER_CA: '', NODE_TLS_REJECT_UNAUTHORIZED: '0' },
    })
    expect(code).toBe(6)
    expect(stderr).toMatch(
      /^error: the certificate of https:.* is not one to believe \((SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|CERT)/,
    )
    const elsewhere = await maria.run(['grants', 'list'], {
      env: { AGENTGATE_BROKER: broker.https.replace('localhost', '127.0.0.1') },
    })
    expect(elsewhere).toMatchObject({ code: 6, stderr: expect.stringContaining('has a certificate for another name') })
    const plain = await maria.run(['grants', 'list'], {
      env: { AGENTGATE_BROKER: broker.https.replace('https:', 'http:') },
    })
    expect(plain).toMatchObject({ code: 2, stderr: expect.stringContaining('is no address of a broker') })
  })

  // Every call × every role × each token that is no good.
  const calls: [string, string, object | undefined][] = [
    [
      'POST',
      '/v1/sessions',
      {
        command: 'connect',
        resources: [{ name: 'shop', scope: null }],
        ttlSeconds: null,
        actor: null,
        confined: false,
        purpose: null,
        ticket: null,
        host: 'x',
      },
    ],
    ['GET', '/v1/whoami', undefined],
    ['GET', '/v1/grants', undefined],
    ['POST', '/v1/grants/g_0000000000/revoke', { reason: 'x' }],
    ['POST', '/v1/sessions/s_0000000000/kill', { reason: 'x' }],
    ['GET', '/v1/approvals', undefined],
    ['POST', '/v1/approvals/a_000000', { outcome: 'approve' }],
    ['POST', '/v1/sessions/s_0000000000/approvals', {}],
    ['POST', '/v1/sessions/s_0000000000/approvals/a_000000/end', { outcome: 'approved' }],
    ['GET', '/v1/principals', undefined],
    ['POST', '/v1/principals/suspend', { principal: 'x', reason: 'x' }],
    ['POST', '/v1/principals/resume', { principal: 'x' }],
    ['GET', '/v1/sessions/s_0000000000/stream', undefined],
    ['POST', '/v1/sessions/s_0000000000/renew', { grant: 'g_0000000000', seconds: 60 }],
    ['POST', '/v1/sessions/s_0000000000/end', { reason: 'x' }],
    ['GET', '/v1/nothing', undefined],
  ]
  const noGood: [string, () => Promise<string | undefined>][] = [
    ['none', async () => undefined],
    ['no token', async () => 'hunter2'],
    [
      'expired',
      async () => await sign('sam', ['sec'], jwt => jwt.setExpirationTime(Math.floor(Date.now() / 1000) - 600)),
    ],
    ['for somebody else', async () => await sign('sam', ['sec'], jwt => jwt.setAudience('other'))],
    ['of another issuer', async () => await sign('sam', ['sec'], jwt => jwt.setIssuer('https://evil.example'))],
    ['of another key', async () => await sign('sam', ['sec'], jwt => jwt, { ...newKey(), kid: idp.key.kid })],
    [
      'alg none',
      async () =>
        `${Buffer.from('{"alg":"none"}').toString('base64url')}.${(await sign('sam', ['sec'])).split('.')[1] ?? ''}.`,
    ],
  ]
  it.each(noGood)('answers nothing to a token that is no good: %s', async (_name, make) => {
    const token = await make()
    for (const [method, route, body] of calls) {
      const { status, text } = await call(method, route, token, body)
      expect({ route, status }).toEqual({ route, status: 401 })
      expect(JSON.parse(text).error.code).toBe('NOT_LOGGED_IN')
    }
  })

  it('says as whom its policy sees a caller', async () => {
    const { text } = await call('GET', '/v1/whoami', await sign('sam', ['sec']))
    expect(JSON.parse(text)).toMatchObject({
      principal: { name: 'sam', groups: ['sec'], source: 'oidc' },
      actor: null,
      administers: true,
      audits: true,
    })
    const env = {
      AGENTGATE_BROKER: broker.https,
      AGENTGATE_BROKER_CA: idp.caFile,
      AGENTGATE_ID_TOKEN: await sign('maria', ['eng']),
    }
    const who = await new Place('version: 1\n', env).run(['whoami'])
    expect(who).toMatchObject({ code: 0, stdout: `maria  (eng)  by ${broker.https}\n`, stderr: '' })
  })

  describe('an agent that has a token of its own (RFC 8693, act)', () => {
    const env = async (claims: object, sub = 'maria', groups: readonly string[] = ['eng']) => ({
      AGENTGATE_BROKER: broker.https,
      AGENTGATE_BROKER_CA: idp.caFile,
      AGENTGATE_ID_TOKEN: await new jose.SignJWT({ groups: [...groups], ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: idp.key.kid })
        .setIssuer(idp.issuer)
        .setAudience(audience)
        .setSubject(sub)
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(await jose.importJWK(idp.key.private, 'ES256')),
    })
    const act = { act: { sub: 'robot', act: { sub: 'another, before it' } } }
    const exec = async (claims: object, ...more: readonly string[]) => {
      const place = new Place('version: 1\n', await env(claims))
      const ran = await place.run(['exec', '-r', 'shop', '--unconfined', ...more, '--', 'true'])
      return { ...ran, place }
    }

    it('is given what only proven agents are, and the record tells', async () => {
      const { code, stderr, place } = await exec(act)
      expect({ code, stderr }).toMatchObject({ code: 0 })
      const [session] = (await place.run(['sessions', 'list', '--json'])).stdout.trim().split('\n')
      expect(JSON.parse(session!)).toMatchObject({ principal: 'maria', actor: 'robot', actorProven: true })
    })

    it('is not believed where it only says so, under whichever name', async () => {
      expect(await exec({}, '--actor', 'robot')).toMatchObject({ code: 125, stderr: expect.stringContaining('robot') })
      // And one that proves to be another is not the one that it says it is.
      expect(await exec({ act: { sub: 'other' } }, '--actor', 'robot')).toMatchObject({
        code: 125,
        stderr: expect.stringContaining('other'),
      })
    })

    it('does not pass for the person that it acts for', async () => {
      const place = new Place('version: 1\n', await env({ act: { sub: 'other' } }))
      expect(await place.run(['connect', 'shop', '--json'])).toMatchObject({ code: 4 })
      for (const nameless of [
        { act: {} },
        { act: null },
        { act: 'robot' },
        { act: { sub: '' } },
        { act: { sub: ['robot'] } },
      ]) {
        const at = new Place('version: 1\n', await env(nameless))
        expect(await at.run(['connect', 'shop', '--json'])).toMatchObject({ code: 3 })
      }
    })

    it('administers nothing and approves nothing, whoever it acts for', async () => {
      const { AGENTGATE_ID_TOKEN: token } = await env(act, 'sam', ['sec', 'dba'])
      expect((await call('GET', '/v1/principals', token)).status).toBe(403)
      expect((await call('POST', '/v1/principals/suspend', token, { principal: 'x', reason: 'x' })).status).toBe(403)
      expect(JSON.parse((await call('GET', '/v1/approvals', token)).text)).toMatchObject({ approvals: [] })
      expect(JSON.parse((await call('GET', '/v1/whoami', token)).text)).toMatchObject({
        actor: { name: 'robot', proven: true },
        administers: false,
      })
    })
  })

  it('answers administrators alone what is for them', async () => {
    const answers = async (groups: readonly string[]) => {
      const token = await sign('somebody', groups)
      const statuses: Record<string, number> = {}
      for (const [method, route, body] of calls)
        statuses[`${method} ${route}`] = (await call(method, route, token, body)).status
      return statuses
    }
    const nobody = await answers([])
    const admin = await answers(['sec'])
    const forAdministrators = Object.keys(nobody).filter(route => nobody[route] !== admin[route])
    expect(forAdministrators).toEqual([
      'GET /v1/principals',
      'POST /v1/principals/suspend',
      'POST /v1/principals/resume',
    ])
    for (const route of forAdministrators) expect(nobody[route]).toBe(403)
    expect(admin['POST /v1/sessions']).toBe(403) // administering is no access
    expect(nobody['POST /v1/grants/g_0000000000/revoke']).toBe(404)
    // A session's calls take its own token, and nobody's login.
    expect(admin['GET /v1/sessions/s_0000000000/stream']).toBe(401)
    await call('POST', '/v1/principals/resume', await sign('sam', ['sec']), { principal: 'x' })
  })

  it('refuses what is malformed or too large, and lives', async () => {
    const token = await sign('maria', ['eng'])
    expect((await call('POST', '/v1/sessions', token, { command: 'rm' })).status).toBe(400)
    expect((await call('POST', '/v1/sessions', token, { x: 'y'.repeat(200_000) })).status).toBe(400)
    expect((await call('GET', '/healthz', undefined)).status).toBe(200)
    expect((await call('GET', '/readyz', undefined)).status).toBe(200)
    expect(broker.said).not.toMatch(/bug/)
  })

  it('does not serve the network without TLS, or without knowing who asks', async () => {
    const plain = await broker.place.run(['broker', ...(await broker.place.trusted()), '--listen', 'localhost:0'])
    expect(plain).toMatchObject({ code: 2, stderr: expect.stringContaining('its certificate is missing') })
    const solo = new Place('version: 1\n')
    const { code, stderr } = await solo.run([
      'broker',
      ...(await solo.trusted()),
      '--listen',
      'localhost:0',
      '--tls-cert',
      idp.caFile,
      '--tls-key',
      idp.caFile,
    ])
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('names no issuers') })
  })
})
