import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { RunningBroker } from './running-broker.ts'
import { lines, Team } from './team.ts'

// What the broker begins with; what is pushed is a variant of it.
const resources = (more = '') => `resources:
  api: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: static, secret: "\${env:API_TOKEN}" }, scopes: { all: {} } }
${more}`
const access = `access:
  - { who: { group: eng }, resources: [ api ], scopes: [ all ] }
`
const beginning = `admins: { policy: { group: sec }, auditor: { group: audit } }
${access}${resources()}`

describeWith('policy push', [program('openssl')], () => {
  const owned = new Owned()
  let team: Team
  let admin: Place
  let maria: Place

  beforeAll(async () => {
    team = owned.add(await Team.start(beginning, { API_TOKEN: 'x' }, ['--pushed-policy']))
    admin = await team.machine('sam', ['sec'])
    maria = await team.machine('maria', ['eng'])
  })
  afterAll(async () => await owned.close())

  const issuersText = () => team.policy.slice(0, team.policy.indexOf('admins:'))
  /** With what every policy here has. */
  const policyOf = (text: string) => `${issuersText()}${text}`
  const push = async (text: string, more: readonly string[] = [], place = admin) => {
    writeFileSync(place.policy, policyOf(text))
    return await place.run(['policy', 'push', ...more])
  }
  const digestAt = async () => {
    const answer = await team.call('GET', '/v1/policy', await team.token('sam', ['sec']))
    return (JSON.parse(answer.text) as { current: string }).current
  }
  const denyAll = `rules:
  - { name: frozen, when: { resource: api }, then: deny, message: "a change is under way" }
`

  it('shows the difference, and counts from then on, with those before it kept', async () => {
    const before = await digestAt()
    const dry = await push(`${beginning}${denyAll}`, ['--dry-run'])
    expect(dry).toMatchObject({ code: 0, stderr: '' })
    expect(dry.stdout).toContain('--- agentgate.yaml (at the broker)\n+++ agentgate.yaml\n')
    expect(dry.stdout).toContain('+  - { name: frozen,')
    expect(dry.stdout).toContain('nothing was changed; the broker would take it, no cases')
    expect(await digestAt()).toBe(before)

    const done = await push(`${beginning}${denyAll}`)
    expect(done).toMatchObject({ code: 0 })
    expect(done.stdout).toMatch(/pushed to https:\/\/localhost:\d+ {2}sha256:[0-9a-f]{64} {2}\(no cases\)\nback with:/)
    const after = await digestAt()
    expect(after).not.toBe(before)
    expect((await push(`${beginning}${denyAll}`)).stdout).toContain('the broker has this policy already')

    const history = lines<{ digest: string; by: string | null; counts: boolean }>(
      (await admin.run(['policy', 'history', '--json'])).stdout,
    )
    expect(history.map(({ digest, by, counts }) => ({ digest, by, counts }))).toEqual([
      { digest: after, by: 'sam', counts: true },
      { digest: before, by: null, counts: false },
    ])
    // A broker that is started again goes on with it.
    await team.broker.kill()
    await team.broker.restart()
    admin.env['AGENTGATE_BROKER'] = team.broker.https
    maria.env['AGENTGATE_BROKER'] = team.broker.https
    expect(await digestAt()).toBe(after)
    expect(team.broker.ready['policy']).toBe(after)

    const back = await admin.run(['policy', 'rollback'])
    expect(back).toMatchObject({ code: 0 })
    expect(back.stdout).toContain('-  - { name: frozen,')
    expect(await digestAt()).toBe(before)
  }, 60_000)

  it('sends a folder of files as it is', async () => {
    const before = await digestAt()
    const folder = path.join(admin.folder, 'policies')
    mkdirSync(folder)
    writeFileSync(path.join(folder, 'a.yaml'), policyOf(`admins: { policy: { group: sec } }\n${access}`))
    writeFileSync(path.join(folder, 'b.yaml'), `version: 1\n${resources()}`)
    const done = await admin.run(['policy', 'push', folder])
    expect(done).toMatchObject({ code: 0, stderr: '' })
    expect((await maria.run(['access', 'of', 'me'])).stdout).toContain('api')
    expect(await admin.run(['policy', 'rollback', before])).toMatchObject({ code: 0 })
  })

  it('is for administrators', async () => {
    for (const [sub, groups] of [
      ['maria', ['eng']],
      ['ann', ['audit']],
    ] as const) {
      const refused = await push(beginning, [], await team.machine(sub, groups))
      expect(refused).toMatchObject({ code: sub === 'ann' ? 0 : 4 }) // the same policy: there is nothing to send
      const changed = await push(`${beginning}${denyAll}`, ['--force'], await team.machine(sub, groups))
      expect(changed).toMatchObject({ code: 4 })
      expect(changed.stderr).toContain('that is for administrators')
    }
  })

  it.each([
    ['broken YAML', `${beginning}rules: [`, [], 2, /agentgate\.yaml has an error/],
    ['an unknown key', `${beginning}acess: []\n`, [], 2, /agentgate\.yaml has an error/],
    [
      'what locks everybody out',
      `admins: { policy: { group: sec } }\naccess: []\n${resources()}`,
      [],
      4,
      /not taken: nobody may use anything.*\nhint: .*--force/,
    ],
    [
      'access to what there is not',
      `admins: { policy: { group: sec } }\naccess: [ { who: { group: eng }, resources: [ "other-*" ], scopes: [ "*" ] } ]\n${resources()}`,
      [],
      4,
      /access names no resource that there is/,
    ],
    [
      'what locks out whoever pushes it',
      `admins: { policy: { group: others } }\n${access}${resources()}`,
      [],
      4,
      /you would administer nothing any more/,
    ],
    ['no administrators at all', `${access}${resources()}`, [], 4, /you would administer nothing any more/],
    [
      'a secret that the broker was not started with',
      `${beginning}  other: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: static, secret: "\${env:DATABASE_URL}" }, scopes: { all: {} } }\n`,
      ['--force'],
      4,
      /\$\{env:DATABASE_URL\} is nothing that the broker was started with/,
    ],
    [
      'a command on the broker’s machine',
      `${beginning}  other: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: static, secret: "\${exec:id}" }, scopes: { all: {} } }\n`,
      ['--force'],
      4,
      /\$\{exec:id\} is nothing that the broker was started with/,
    ],
    [
      'a file of the broker’s machine',
      `${beginning}  other: { kind: http, address: "127.0.0.1:9", tls: { mode: verify-full, ca: "\${file:/etc/passwd}" }, credential: { issuer: none }, scopes: { all: {} } }\n`,
      ['--force'],
      4,
      /\$\{file:\/etc\/passwd\} is nothing/,
    ],
    [
      'events sent elsewhere',
      `${beginning}audit: { to: { name: mine, file: /tmp/mine.jsonl } }\n`,
      ['--force'],
      4,
      /where audit events go is not for a pushed policy to say/,
    ],
    [
      'recordings sent elsewhere',
      `${beginning}recording: { sync: { to: "file:///tmp/mine" } }\n`,
      ['--force'],
      4,
      /where recordings go is not/,
    ],
  ] as const)('does not take %s', async (_name, text, more, code, said) => {
    const before = await digestAt()
    const refused = await push(text, more)
    expect({ code: refused.code, stderr: refused.stderr }).toEqual({ code, stderr: expect.stringMatching(said) })
    expect(await digestAt()).toBe(before)
  })

  it('does not take one without issuers, though it is said twice', async () => {
    writeFileSync(admin.policy, `version: 1\n${resources()}`)
    const refused = await admin.run(['policy', 'push', '--force'])
    expect(refused).toMatchObject({ code: 4 })
    expect(refused.stderr).toContain('nobody could say who they are over the network')
  })

  it('runs its cases first', async () => {
    const before = await digestAt()
    const cases = path.join(admin.folder, 'agentgate.test.yaml')
    const text = (expected: string) => `cases:
  - { name: reading, principal: maria, groups: [ eng ], resource: api, statement: GET /x, expect: ${expected} }
`
    try {
      writeFileSync(cases, text('allow'))
      const failing = await push(`${beginning}${denyAll}`)
      expect(failing).toMatchObject({ code: 7 })
      expect(failing.stderr).toMatch(/1 of its cases fail\nreading: expected allow, got deny by rule "frozen"/)
      expect(await digestAt()).toBe(before)
      writeFileSync(cases, text('deny'))
      const passing = await push(`${beginning}${denyAll}`)
      expect(passing).toMatchObject({ code: 0 })
      expect(passing.stdout).toContain('(1 case passed)')
    } finally {
      rmSync(cases)
      await admin.run(['policy', 'rollback', before])
    }
  })

  it('takes what locks out where that is said, and says so; the socket’s owner can go back', async () => {
    const before = await digestAt()
    const forced = await push(`admins: { policy: { group: others } }\n${access}${resources()}`, ['--force'])
    expect(forced).toMatchObject({ code: 0 })
    expect(forced.stdout).toContain('WARNING: you would administer nothing any more')
    expect((await admin.run(['policy', 'rollback'])).code).toBe(4)
    const env = { AGENTGATE_BROKER: team.broker.unix }
    expect(await team.broker.place.run(['policy', 'rollback'], { env })).toMatchObject({ code: 0 })
    expect(await digestAt()).toBe(before)
  })

  it('lets one of two pushes count that looked at the same policy', async () => {
    const token = await team.token('sam', ['sec'])
    const base = await digestAt()
    const body = (n: number) => {
      const text = policyOf(`${beginning}# ${n}\n`)
      writeFileSync(admin.policy, text)
      return admin.run(['policy', 'digest']).then(({ stdout }) => ({
        policy: { kind: 'file', digest: stdout.trim(), files: [{ name: 'agentgate.yaml', text }] },
        ...{ tests: [], base, force: false, check: false },
      }))
    }
    const bodies = [await body(1), await body(2), await body(3)]
    const answers = await Promise.all(bodies.map(async each => await team.call('POST', '/v1/policy', token, each)))
    expect(answers.map(each => each.status).sort()).toEqual([200, 409, 409])
    expect(answers.find(each => each.status === 409)!.text).toContain('POLICY_CHANGED')
    const won = bodies[answers.findIndex(each => each.status === 200)]!.policy.digest
    expect(await digestAt()).toBe(won)
    // What is said of it must be true.
    const lied = { ...bodies[0]!, base: won, policy: { ...bodies[0]!.policy, digest: base } }
    expect((await team.call('POST', '/v1/policy', token, lied)).status).toBe(400)
  })

  it('says that a broker whose file counts takes none, and warns of a file that locks everybody out', async () => {
    const file = await Team.start(beginning, { API_TOKEN: 'x' })
    try {
      const sam = await file.machine('sam', ['sec'])
      writeFileSync(sam.policy, file.policy.replace('eng', 'ops'))
      const refused = await sam.run(['policy', 'push'])
      expect(refused).toMatchObject({ code: 2 })
      expect(refused.stderr).toContain(
        `error: the policy of this broker is the file ${file.broker.place.policy}, and none that is pushed\nhint:  change it there, or have the broker started with --pushed-policy\n`,
      )
      file.replacePolicy(file.policy.replace(access, 'access: []\n'))
      await until('the broker warns', () => /has changed: nobody may use anything/.test(file.broker.said))
    } finally {
      await file[Symbol.asyncDispose]()
    }
    const locked = await RunningBroker.start(`version: 1\naccess: []\n${resources()}`, { API_TOKEN: 'x' })
    expect(locked.said).toMatch(/access: \[\] gives nobody anything/)
    await locked[Symbol.asyncDispose]()
  }, 60_000)
})
