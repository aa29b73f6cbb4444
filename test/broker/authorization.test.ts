import { createHmac, createPublicKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { brokerCalls, type BrokerCall } from '../../src/control/broker-calls.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { Team, type Answer } from './team.ts'

const roles = [
  'nobody',
  'stranger',
  'owner',
  'other',
  'tunnel',
  'approver',
  'administrator',
  'auditor',
  'suspended',
] as const
type Role = (typeof roles)[number]

const people: readonly Role[] = roles.filter(role => role !== 'nobody' && role !== 'tunnel')
/** Besides these nobody gets an answer: 403, or for what has an id the same 404 as for one that there is not. */
const mayCall: Readonly<Record<string, readonly Role[]>> = {
  whoami: people,
  listApprovals: people,
  listGrants: people,
  listRequests: people,
  access: people,
  receipts: ['owner', 'administrator', 'auditor'],
  indexLate: ['owner'],
  eraseStatements: ['administrator'],
  takeAudit: people,
  searchStatements: people,
  openSession: ['owner', 'other'],
  ask: ['owner', 'other'],
  extendSession: ['owner'],
  approval: ['approver'],
  previewEdit: ['approver'],
  answerApproval: ['approver'],
  request: ['owner', 'approver', 'administrator', 'auditor'],
  endRequest: ['owner', 'administrator'],
  revokeGrant: ['owner', 'administrator'],
  killSession: ['owner', 'administrator'],
  metrics: ['administrator', 'auditor'],
  listSuspended: ['administrator', 'auditor'],
  policy: ['administrator', 'auditor'],
  policyHistory: ['administrator', 'auditor'],
  pushPolicy: ['administrator'],
  suspend: ['administrator'],
  resume: ['administrator'],
}

const sessionBody = {
  command: 'connect',
  resources: [{ name: 'shop', scope: 'read' }],
  ...{ ttlSeconds: null, actor: null, confined: false, purpose: null, ticket: null, host: 'x' },
  recordingKey: newSessionKey().publicKey,
}
const requestBody = {
  ...{ resource: 'shop', scope: 'write', seconds: null, actor: null, purpose: 'x', ticket: null, withinSeconds: null },
}

interface Things {
  readonly session: string
  readonly sessionToken: string
  readonly grant: string
  readonly approval: string
  readonly request: string
}

describeWith('the broker’s calls', [program('openssl')], () => {
  const owned = new Owned()
  let team: Team
  const tokens: Partial<Record<Role, string>> = {}
  let counted = 0

  beforeAll(async () => {
    team = owned.add(
      await Team.start(
        `admins: { policy: { group: sec }, auditor: { group: audit } }
access:
  - { who: { group: eng }, resources: [ shop ], scopes: [ read ] }
  - { who: { group: eng }, resources: [ shop ], scopes: [ write ], approvers: { group: dba } }
rules:
  - { name: asked, when: { table: payments }, then: approve, approvers: { group: dba, not-self: true } }
resources:
  shop: { kind: postgres, address: "localhost:1", database: x, tls: off, credential: { issuer: none }, scopes: { read: {}, write: {} } }
`,
        {},
        ['--pushed-policy'],
      ),
    )
    tokens.stranger = await team.token('eve', [])
    tokens.owner = await team.token('maria', ['eng'])
    tokens.other = await team.token('john', ['eng'])
    tokens.approver = await team.token('dora', ['dba'])
    tokens.administrator = await team.token('sam', ['sec'])
    tokens.auditor = await team.token('ann', ['audit'])
    tokens.suspended = await team.token('sue', ['eng', 'dba', 'sec', 'audit'])
    await team.call('POST', '/v1/principals/suspend', tokens.administrator, { principal: 'sue', reason: 'x' })
    const { policy, current } = JSON.parse((await team.call('GET', '/v1/policy', tokens.administrator)).text) as {
      policy: object
      current: string
    }
    Object.assign(pushed, { policy, base: current })
  })
  afterAll(async () => await owned.close())

  /** Something of the owner's that is open, waits, and was asked for. */
  const things = async (): Promise<Things> => {
    const opened = JSON.parse((await team.call('POST', '/v1/sessions', tokens.owner, sessionBody)).text) as {
      session: string
      token: string
      grants: { grant: string }[]
    }
    const approval = `a_${String(++counted).padStart(6, '0')}`
    const now = Date.now()
    const asked = {
      ...{ id: approval, session: opened.session, resource: 'shop', connection: 'c1', effects: [], holdsLocks: false },
      view: {
        kind: 'postgres',
        summary: 's',
        text: 'select 1',
        effect: 'read',
        verbs: [],
        reads: [],
        writes: [],
        attributes: {},
      },
      rule: { name: 'asked', place: 'x:1' },
      ...{ principal: 'eve', actor: null, purpose: null, ticket: null, client: null, editable: false, challenge: null },
      askedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + 60_000).toISOString(),
      approvers: { groups: [], count: 1, notSelf: false },
    }
    const held = await team.call('POST', `/v1/sessions/${opened.session}/approvals`, opened.token, asked)
    expect(held.status).toBe(200)
    const request = JSON.parse((await team.call('POST', '/v1/requests', tokens.owner, requestBody)).text) as {
      request: string
    }
    return {
      ...{
        session: opened.session,
        sessionToken: opened.token,
        grant: opened.grants[0]!.grant,
        approval,
        request: request.request,
      },
    }
  }
  const gone = async ({ session, request }: Things) => {
    await team.call('POST', `/v1/sessions/${session}/kill`, tokens.administrator, { reason: 'x' })
    await team.call('POST', `/v1/requests/${request}/end`, tokens.administrator, { reason: 'x' })
  }
  const unknown: Readonly<Record<string, string>> = {
    ...{
      session: 's_0000000000',
      grant: 'g_0000000000',
      approval: 'a_ZZZZZZ',
      request: 'r_0000000000',
      check: 'k_0000000000',
    },
  }
  /** The policy that there is: to push it is allowed, and changes nothing. */
  const pushed: Record<string, unknown> = { tests: [], force: false, check: false }
  const uid = `e_${'0'.repeat(24)}`
  const auditEvent = { uid, kind: 'test', at: 0, event: { metadata: { uid, event_code: 'test' } } }
  const bodies: Readonly<Record<string, object>> = {
    pushPolicy: pushed,
    ...{ openSession: sessionBody, ask: requestBody, extendSession: { seconds: null }, previewEdit: { text: 'x' } },
    answerApproval: { outcome: 'reject', reason: 'x' },
    searchStatements: { text: null, resource: null, who: null, since: null, until: null, denied: false, limit: 10 },
    indexLate: { statements: [] },
    takeAudit: { events: [auditEvent] },
    suspend: { principal: 'someone', reason: 'x' },
    resume: { principal: 'someone' },
  }
  const bodyOf = (call: BrokerCall) => (call.method === 'GET' ? undefined : (bodies[call.id] ?? { reason: 'x' }))
  const routeOf = (call: BrokerCall, ids: Readonly<Record<string, string>>) =>
    call.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? unknown[name] ?? 'x')
  const idsOf = ({ session, grant, approval, request }: Things) => ({ session, grant, approval, request })
  const asking = async (
    call: BrokerCall,
    token: string | undefined,
    ids: Readonly<Record<string, string>>,
  ): Promise<Answer> => await team.call(call.method, routeOf(call, ids), token, bodyOf(call))
  /** What was said, but for the ids in it. */
  const said = ({ status, text }: Answer, ids: Readonly<Record<string, string>>) => {
    let left = text
    for (const [name, id] of Object.entries(ids)) left = left.replaceAll(id, name)
    return { status, text: left }
  }

  const forPeople = brokerCalls.filter(call => call.asks !== 'anyone' && call.asks !== 'session')
  const forTunnels = brokerCalls.filter(call => call.asks === 'session')

  it('stand in this table, every one', () => {
    expect(Object.keys(mayCall).sort()).toEqual(
      [...forPeople.map(({ id }) => id), 'metrics'].filter((id, index, all) => all.indexOf(id) === index).sort(),
    )
  })

  describe.each(Object.keys(mayCall))('%s', id => {
    const call = brokerCalls.find(each => each.id === id)!
    it('answers whom it is for, and nobody else', async () => {
      const mine = mayCall[id] ?? []
      for (const role of roles) {
        const made = await things()
        const token = role === 'tunnel' ? made.sessionToken : tokens[role]
        const answer = await asking(call, token, idsOf(made))
        const got = { role, status: answer.status }
        if (mine.includes(role)) {
          if (id === 'resume')
            expect([200, 400]).toContain(got.status) // whom nobody suspended
          else expect(got).toEqual({ role, status: 200 })
        } else if (role === 'nobody' || role === 'tunnel') expect(got).toEqual({ role, status: 401 })
        else if (!call.path.includes('{') || call.asks === 'administrator') expect(got).toEqual({ role, status: 403 })
        else {
          // What is somebody else's and what there is not are the same.
          expect(got).toEqual({ role, status: 404 })
          expect(said(answer, idsOf(made))).toEqual(said(await asking(call, token, unknown), unknown))
        }
        await gone(made)
      }
    }, 60_000)
  })

  it.each(forTunnels.map(call => [call.id, call] as const))(
    '%s is for the session’s own tunnel alone',
    async (_id, call) => {
      const [made, other] = [await things(), await things()]
      for (const token of [undefined, ...Object.values(tokens), other.sessionToken, `${made.sessionToken}x`]) {
        const answer = await asking(call, token, idsOf(made))
        expect(answer.status).toBe(401)
        expect(said(answer, idsOf(made))).toEqual(said(await asking(call, token, unknown), unknown))
      }
      await Promise.all([gone(made), gone(other)])
    },
    60_000,
  )

  it('shows of others what is theirs to see', async () => {
    const made = await things()
    const shown = async (route: string) => {
      const seen: Role[] = []
      for (const role of people) {
        const { status, text } = await team.call('GET', route, tokens[role])
        if (status === 200 && Object.values(idsOf(made)).some(id => text.includes(id))) seen.push(role)
      }
      return seen
    }
    expect(await shown('/v1/grants')).toEqual(['owner', 'administrator', 'auditor'])
    expect(await shown('/v1/requests')).toEqual(['owner'])
    expect(await shown('/v1/requests?all')).toEqual(['administrator', 'auditor'])
    // Sue is of dba too, and suspended.
    expect(await shown('/v1/approvals')).toEqual(['approver'])
    const answered = await team.call('POST', `/v1/approvals/${made.approval}`, tokens.suspended, { outcome: 'approve' })
    expect(answered.status).toBe(404)
    const allowed: Role[] = []
    for (const role of people)
      if ((await team.call('GET', '/v1/access?principal=maria', tokens[role])).status === 200) allowed.push(role)
    expect(allowed).toEqual(['owner', 'administrator', 'auditor'])
    await gone(made)
  }, 60_000)

  const defects: readonly [string, () => Promise<string>][] = [
    ['no JWT', async () => 'hunter2'],
    [
      'expired',
      async () =>
        await team.token('sam', ['sec'], { change: jwt => jwt.setExpirationTime(Math.floor(Date.now() / 1000) - 600) }),
    ],
    [
      'not yet good',
      async () =>
        await team.token('sam', ['sec'], { change: jwt => jwt.setNotBefore(Math.floor(Date.now() / 1000) + 600) }),
    ],
    ['for somebody else', async () => await team.token('sam', ['sec'], { change: jwt => jwt.setAudience('other') })],
    [
      'of another issuer',
      async () => await team.token('sam', ['sec'], { change: jwt => jwt.setIssuer('https://evil.example') }),
    ],
    ['of another key', async () => await team.token('sam', ['sec'], { wrongKey: true })],
    ['without a signature', async () => unsigned(await team.token('sam', ['sec']))],
    ['signed with the public key as if it were a secret', async () => confused(await team.token('sam', ['sec']), team)],
    ['changed after it was signed', async () => promoted(await team.token('eve', []))],
  ]
  it.each(defects)(
    'say nothing to a token that is %s',
    async (_name, make) => {
      const made = await things()
      const token = await make()
      for (const call of [...forPeople, ...forTunnels]) {
        const answer = await asking(call, token, idsOf(made))
        expect({ call: call.id, status: answer.status }).toEqual({ call: call.id, status: 401 })
        expect(Object.values(idsOf(made)).filter(id => answer.text.includes(id))).toEqual([])
      }
      await gone(made)
    },
    60_000,
  )

  it('refuse what is malformed, and live', async () => {
    const made = await things()
    const broken = [
      '',
      '{',
      'null',
      '[]',
      '"x"',
      '{"__proto__":{"outcome":"approve"}}',
      `{"reason":"${'x'.repeat(2 << 20)}"}`,
    ]
    for (const call of brokerCalls.filter(each => each.method === 'POST')) {
      const token = call.asks === 'session' ? made.sessionToken : tokens[mayCall[call.id]?.[0] ?? 'administrator']
      for (const text of broken) {
        const { status } = await team
          .call('POST', routeOf(call, idsOf(made)), token, text)
          .catch(() => ({ status: 400 })) // cut off in the middle of what is too large
        expect({ call: call.id, text: text.slice(0, 30), status }).toEqual({
          call: call.id,
          text: text.slice(0, 30),
          status: 400,
        })
      }
    }
    expect((await team.call('GET', '/v1/grants/../principals', tokens.stranger)).status).toBe(403)
    expect((await team.call('GET', '/v1/%70rincipals', tokens.stranger)).status).toBe(400)
    expect((await team.call('GET', '/healthz', undefined)).status).toBe(200)
    expect(team.broker.said).not.toMatch(/bug/)
    await gone(made)
  }, 60_000)

  it('count an answer that is sent again once', async () => {
    const made = await things()
    const answer = async () =>
      await team.call('POST', `/v1/approvals/${made.approval}`, tokens.approver, { outcome: 'approve' })
    expect(JSON.parse((await answer()).text)).toEqual({ kind: 'decided', outcome: 'approved' })
    expect(JSON.parse((await answer()).text)).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('was approved by dora'),
    })
    await gone(made)
  })

  it('make whoever asks too often come back later, and nobody else', async () => {
    const statuses = new Set<number>()
    // On connections that stay, else making them takes longer than waiting would.
    await using calls = team.persistently(20)
    for (let rounds = 0; rounds < 40 && !statuses.has(429); rounds++) {
      const asked = Array.from({ length: 400 }, async () => await calls.status('/v1/whoami', tokens.stranger))
      for (const status of await Promise.all(asked)) statuses.add(status)
    }
    expect(statuses).toEqual(new Set([200, 429]))
    expect((await team.call('GET', '/v1/whoami', tokens.owner)).status).toBe(200)
  }, 60_000)
})

function unsigned(token: string): string {
  return `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1] ?? ''}.`
}

/** RFC 8725 §2.1: the verifier's public key, taken for a secret that both ends share. */
function confused(token: string, team: Team): string {
  const { kid, private: key } = team.idp.key
  const pem = createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  const head = Buffer.from(JSON.stringify({ alg: 'HS256', kid })).toString('base64url')
  const content = `${head}.${token.split('.')[1] ?? ''}`
  return `${content}.${createHmac('sha256', pem).update(content).digest('base64url')}`
}

/** The groups of an administrator, under a stranger's signature. */
function promoted(token: string): string {
  const [head, content = '', signature] = token.split('.')
  const claims = JSON.parse(Buffer.from(content, 'base64url').toString()) as Record<string, unknown>
  const more = Buffer.from(JSON.stringify({ ...claims, groups: ['sec'] })).toString('base64url')
  return `${head ?? ''}.${more}.${signature ?? ''}`
}
