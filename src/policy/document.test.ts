import { describe, expect, it } from 'vitest'
import { problemsOf, withRules } from './testing/policy-text.ts'

/** A policy with one resource, given as the inside of a flow map. */
const resource = (inside: string) => `version: 1\nresources:\n  db: { kind: fake, address: "x:1", ${inside} }\n`

describe('what is wrong with a policy', () => {
  const cases: readonly [name: string, text: string, shows: string][] = [
    [
      'a word that is none, with its line and the nearest that is',
      'version: 1\nresources: { db: { kind: fake, address: "x:1" } }\nrules:\n  - name: a\n    when: { statement: [ udpate ] }\n    then: deny\n',
      [
        'agentgate.yaml:5:26  error: unknown statement "udpate"; expected one of select, insert, update, delete, drop, truncate, alter, set',
        '    5 |     when: { statement: [ udpate ] }',
        '                                 ^^^^^^ did you mean update?',
      ].join('\n'),
    ],
    [
      'an unknown key',
      resource('adress: y'),
      '3:37  error: unknown key "adress"; expected one of kind, address, tls, placement, port, default, credential, agents, …',
    ],
    ['the nearest key', resource('adress: y'), '^^^^^^ did you mean address?'],
    [
      'an unknown kind',
      'version: 1\nresources: { db: { kind: fak } }\n',
      'unknown kind "fak"; expected one of fake, other',
    ],
    [
      'a missing kind',
      'version: 1\nresources: { db: { port: 1 } }\n',
      '"kind" is missing; expected one of fake, other',
    ],
    ['a missing version', 'resources: {}\n', '"version" is missing; expected 1'],
    ['another version', 'version: 2\n', 'version is the number 2; expected 1'],
    ['an empty file', '', 'the file is empty; expected a map of keys'],
    ['a list for a file', '- a\n', 'the file is a list; expected a map of keys'],
    [
      'a number for text',
      withRules('  - { name: a, when: { user: 5 }, then: deny }'),
      'user is the number 5; expected text or a list',
    ],
    ['text for a number', resource('port: abc'), 'port is "abc"; expected a number'],
    ['half a number', resource('port: 1.5'), 'port is the number 1.5; expected a whole number'],
    ['a number out of range', resource('port: 70000'), 'port is the number 70000; expected at most 65535'],
    [
      'a scheme in an address',
      'version: 1\nresources: { db: { kind: fake, address: "http://x" } }\n',
      'address is "http://x"; expected host:port, without a scheme',
    ],
    [
      'IPv6 without brackets',
      'version: 1\nresources: { db: { kind: fake, address: "::1" } }\n',
      'expected brackets around an IPv6 address: [::1]:port',
    ],
    [
      'a reference in an address',
      'version: 1\nresources: { db: { kind: fake, address: "${env:HOST}:1" } }\n',
      '${…} is read in credentials only',
    ],
    [
      'no address',
      'version: 1\nresources: { db: { kind: fake } }\n',
      'db has no address; expected address: host:port, or a credential with a url',
    ],
    ['a name with a blank', 'version: 1\nresources: { "a b": { kind: fake } }\n', '"a b" cannot be a name here'],
    [
      'a duration without unit',
      resource('limits: { ttl: 5 }'),
      'ttl is the number 5; expected a duration such as 30s, 15m, 1h or 7d',
    ],
    [
      'a size without unit',
      'version: 1\nrecording: { results: { keep: "64" } }\n',
      'expected a size such as 64MB or 512KiB',
    ],
    [
      'an unknown TLS mode',
      resource('tls: verify'),
      'unknown tls "verify"; expected one of verify-full, verify-ca, require, off',
    ],
    ['an unknown TLS mode in a map', resource('tls: { mode: ful }'), 'unknown mode "ful"'],
    [
      'an unknown issuer',
      resource('credential: { issuer: statc }'),
      'unknown issuer "statc"; expected one of static, postgres-role, none',
    ],
    [
      'a credential without anything',
      resource('credential: { issuer: static }'),
      'a static credential needs url, user, password, secret or certificate',
    ],
    [
      'an unknown reference',
      resource('credential: { issuer: static, url: "${evn:X}" }'),
      'an unknown reference; expected ${env:NAME}',
    ],
    [
      'an unclosed reference',
      resource('credential: { issuer: static, url: "${env:X" }'),
      'a reference that is not closed with }',
    ],
    [
      'approvers of a deny rule',
      withRules('  - { name: a, when: { user: x }, then: deny, approvers: { count: 2 } }'),
      'approvers belong to then: approve',
    ],
    ['a rule about nothing', withRules('  - { name: a, then: deny }'), 'a rule needs when or if'],
    [
      'an empty list',
      withRules('  - { name: a, when: { user: [] }, then: deny }'),
      'user is an empty list; expected at least one',
    ],
    [
      'two rules of one name',
      withRules('  - { name: a, when: {}, then: deny }\n  - { name: a, when: {}, then: allow }'),
      'another rule is called "a"',
    ],
    [
      'hours that are none',
      withRules('  - { name: a, when: { time: { hours: 9-5 } }, then: deny }'),
      'hours is "9-5"; expected hours such as 09:00-18:00',
    ],
    [
      'days that are none',
      withRules('  - { name: a, when: { time: { days: mon-fry } }, then: deny }'),
      'expected days such as mon, or a range such as mon-fri',
    ],
    [
      'a zone that is none',
      withRules('  - { name: a, when: { time: { days: mon, zone: Mars } }, then: deny }'),
      'zone is "Mars"; expected a time zone such as Europe/Berlin or UTC',
    ],
    [
      'a rule about a resource that is not there',
      withRules('  - { name: a, when: { resource: dbb }, then: deny }'),
      'no resource "dbb"; there is db',
    ],
    [
      'a rule about a scope that is not there',
      withRules('  - { name: a, when: { scope: read }, then: deny }'),
      'no scope "read"; there is all',
    ],
    [
      'words of two kinds in one condition',
      withRules('  - { name: a, when: { statement: drop, method: GET }, then: deny }'),
      'no kind of resource knows all of this: statement (fake), method (other); write a rule for each',
    ],
    [
      'a column without a table',
      'version: 1\nmasks: [ { name: a, columns: email, with: redact } ]\n',
      'expected table.column or schema.table.column; for any table: *.column',
    ],
    [
      'an unknown mask',
      'version: 1\nmasks: [ { name: a, columns: a.b, with: blur } ]\n',
      'unknown with "blur"; expected one of redact, partial, hash, null',
    ],
    [
      'a mask of nothing',
      'version: 1\nmasks: [ { name: a, with: redact } ]\n',
      'a mask needs columns, fields or detect',
    ],
    [
      'access for nobody in particular',
      'version: 1\naccess: [ { who: {}, resources: "*", scopes: "*" } ]\n',
      'who needs user, group, claims or actor',
    ],
    [
      'a proven nobody',
      'version: 1\naccess: [ { who: { user: a, proven: true }, resources: "*", scopes: "*" } ]\n',
      'proven goes with actor',
    ],
    [
      'an issuer without TLS',
      'version: 1\nissuers: [ { issuer: "http://idp", audience: a } ]\n',
      'plain http:// is for loopback only: https:// elsewhere',
    ],
  ]
  it.each(cases)('%s', async (_, text, shows) => {
    expect(await problemsOf(text)).toContain(shows)
  })

  it('names every problem of a file, from its top to its end', async () => {
    const text = await problemsOf(
      'version: 1\nresources:\n  a: { kind: fake, address: "x:1", port: x, tls: y, what: z }\nmasks: 5\n',
    )
    expect(text.match(/agentgate\.yaml:\d+:\d+/g)).toEqual([
      'agentgate.yaml:3:42',
      'agentgate.yaml:3:50',
      'agentgate.yaml:3:53',
      'agentgate.yaml:4:8',
    ])
  })

  it('does not show a secret that somebody wrote into the file', async () => {
    for (const inside of [
      'credential: { issuer: static, password: hunter2 }',
      'credential: { issuer: static, secret: [ hunter2 ] }',
      'credential: { issuer: static, pasword: hunter2 }',
      'credential: { issuer: static, url: "postgres://app:hunter2@x/y" }',
      'prot: 1, credential: { issuer: static, secret: hunter2 }',
      'database: "postgres://app:hunter2@x/y", port: x',
    ]) {
      const text = await problemsOf(resource(inside))
      expect(text).toContain('error:')
      expect(text).not.toContain('hunter2')
    }
  })

  it('writes out what could move a cursor or turn reading direction', async () => {
    const text = await problemsOf(`version: 1\nresources: { db: { kind: "a\u202eb" } }\n# \u001b[2J\n`)
    expect(text).toContain('\\u202e')
    expect(text).not.toMatch(/[\u202e\u001b]/)
  })
})

describe('a folder of files', () => {
  const one =
    'version: 1\nresources: { db: { kind: fake, address: "x:1" } }\nrules: [ { name: a, when: {}, then: deny } ]\n'

  it('is read as one', async () => {
    expect(await problemsOf(one, 'version: 1\nrules: [ { name: b, when: { resource: db }, then: deny } ]\n')).toBe('')
  })

  it.each([
    ['a resource', one, 'resource "db" stands here twice'],
    ['a rule', 'version: 1\nrules: [ { name: a, when: {}, then: deny } ]\n', 'another rule is called "a"'],
  ])('refuses %s that is there twice', async (_, second, shows) => {
    const text = await problemsOf(one, second)
    expect(text).toContain('policies/1.yaml:')
    expect(text).toContain(shows)
  })

  it.each([
    ['then: limit, results: { keep: full }', 'results: { rows: …, bytes: … } belongs to then: limit'],
    ['then: record, results: { rows: 1 }', 'results: { keep: full } or { keep: none } belongs to then: record'],
    ['then: record', 'results: { keep: full } or { keep: none } belongs to then: record'],
    ['then: deny, results: { keep: none }', 'results: { keep: full } or { keep: none } belongs to then: record'],
    [
      'then: record, results: { keep: none }, message: no',
      'nobody is shown the message of then: allow and then: record',
    ],
  ])('refuses a rule with %s', async (rule, shows) => {
    expect(await problemsOf(`version: 1\nrules:\n  - { name: a, when: {}, ${rule} }\n`)).toContain(shows)
  })

  it('refuses a section of which there is one', async () => {
    const recording = 'version: 1\nrecording: { results: { keep: 1MB } }\n'
    expect(await problemsOf(recording, recording)).toContain('recording stands in another file of this policy already')
  })
})
