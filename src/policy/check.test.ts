import { describe, expect, it } from 'vitest'
import { checkPolicy, standings } from './check.ts'
import { positionOf } from './problem.ts'
import { compile, withRules } from './testing/policy-text.ts'

async function findings(text: string): Promise<string[]> {
  const problems = checkPolicy(await compile(text))
  return problems.map(({ severity, place, message }) => `${positionOf(place).line} ${severity}: ${message}`)
}

const issuers = 'issuers: [ { issuer: "https://idp.example.com", audience: a } ]\n'
const resource = (inside: string) => `version: 1\nresources:\n  db: { kind: fake, ${inside} }\n`

describe('checking a policy', () => {
  it('finds nothing wrong with a plain one', async () => {
    expect(await findings(withRules('  - { name: a, when: { statement: drop }, then: deny }'))).toEqual([])
  })

  it.each([
    [
      'not-self without anybody else',
      withRules('  - { name: a, when: {}, then: approve, approvers: { not-self: true } }'),
      '10 error: not-self can never be met: without issuers there is nobody but you to approve',
    ],
    [
      'two approvers without anybody else',
      withRules('  - { name: a, when: {}, then: approve, approvers: { count: 2 } }'),
      '10 error: count: 2 can never be met: without issuers there is one approver, you',
    ],
    [
      'a group of approvers without anybody else',
      withRules('  - { name: a, when: {}, then: approve, approvers: { group: dba } }'),
      '10 warning: without issuers only you approve, and only while this machine has you in group dba',
    ],
    [
      'an issuer without TLS',
      'version: 1\nissuers:\n  - { issuer: "http://127.0.0.1:8080", audience: a }\n',
      '3 warning: http://127.0.0.1:8080 is for trying things out: whoever has that port on this machine can be anybody',
    ],
    [
      'claims without anybody who has any',
      'version: 1\nresources: { db: { kind: fake, address: x } }\naccess:\n  - { who: { claims: { a: b } }, resources: db, scopes: "*" }\n',
      '4 error: claims can never be met: without issuers nobody has any',
    ],
    [
      'masks in local placement',
      'version: 1\nresources: { db: { kind: fake, address: x } }\nmasks:\n  - { name: a, columns: a.b, with: hash }\n',
      '4 warning: masks hold in local placement only for confined children; db is local (docs/policy.md)',
    ],
    [
      'a gateway',
      resource('address: x, placement: gateway'),
      '3 warning: placement: gateway comes with the broker; connect refuses db until then',
    ],
    [
      'no TLS',
      resource('address: x, tls: off'),
      '3 warning: tls: off sends the credential of db, and all data, in the clear',
    ],
    [
      'TLS with any certificate',
      resource('address: x, tls: require'),
      '3 warning: tls: require checks no certificate: whoever is on the way can pass for db',
    ],
    [
      'TLS with any name',
      resource('address: x, tls: verify-ca'),
      '3 warning: tls: verify-ca lets any server with a certificate of that authority pass for db',
    ],
    [
      'a pattern that matches nothing',
      withRules('  - { name: a, when: { resource: "x-*" }, then: deny }'),
      '10 warning: no resource is called x-*, so this never applies',
    ],
    [
      'a rule for a kind that is not there',
      withRules('  - { name: a, when: { method: GET }, then: deny }'),
      '10 warning: rule "a" applies to no resource here: none is of a kind that knows its words',
    ],
    [
      'a rule that names a resource of another kind',
      withRules('  - { name: a, when: { resource: db, method: GET }, then: deny }'),
      '10 warning: rule "a" names db, but does not apply to it: fake does not know its words',
    ],
    [
      'an unless of another kind',
      withRules('  - { name: a, when: {}, unless: { method: GET }, then: deny }'),
      '10 warning: unless of rule "a" lifts nothing on db: fake does not know its words',
    ],
    [
      'an allow rule that an unless of another kind closes',
      withRules('  - { name: a, when: {}, unless: { method: GET }, then: allow }'),
      '10 warning: rule "a" allows nothing on db: fake does not know the words of its unless',
    ],
    [
      'a record rule that an unless of another kind closes',
      withRules('  - { name: a, when: {}, unless: { method: GET }, then: record, results: { keep: none } }'),
      '10 warning: rule "a" keeps everything of db: fake does not know the words of its unless',
    ],
    [
      'results kept whole without a quota',
      withRules('  - { name: a, when: {}, then: record, results: { keep: full } }'),
      '10 warning: rule "a" keeps results whole: a large one fills this disk, where recording.spool sets no limit',
    ],
    [
      'what nothing acts on yet',
      `version: 1\nrecording: { bucket: "s3://a" }\n`,
      '2 warning: recording.bucket: read, but nothing acts on it yet',
    ],
  ])('finds %s', async (_, text, expected) => {
    expect(await findings(text)).toContain(expected)
  })

  it('takes approvers as they are where there are issuers', async () => {
    const text =
      issuers +
      withRules('  - { name: a, when: {}, then: approve, approvers: { group: dba, not-self: true, count: 2 } }')
    expect((await findings(text)).filter(finding => finding.includes('error'))).toEqual([])
  })

  it('says what holds by default', async () => {
    const text = `version: 1\nresources:\n  db: { kind: fake, address: x, scopes: { read: , write: } }\n  web: { kind: other, address: "x:1", default: { agents: deny } }\n`
    expect(standings(await compile(text))).toEqual([
      {
        resource: 'db',
        kind: 'fake',
        people: 'allow',
        agents: 'read',
        scopes: ['read', 'write'],
        agentScopes: ['read'],
      },
      {
        resource: 'web',
        kind: 'other',
        people: 'allow',
        agents: 'deny',
        scopes: ['default'],
        agentScopes: ['default'],
      },
    ])
    expect(standings(await compile(`${text}access: []\n`))[0]?.agentScopes).toBeNull()
  })
})
