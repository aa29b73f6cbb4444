import { describe, expect, it, onTestFinished } from 'vitest'
import type { Action } from './action.ts'
import type { CompiledPolicy } from './compile.ts'
import type { ResourceName, ScopeName } from '../ids.ts'
import { agent, fakeAction, fakeKind, person } from './testing/fake-kind.ts'
import { all, compile, db, withRules } from './testing/policy-text.ts'
import type { Subject } from './subject.ts'

const noon = Date.parse('2026-03-04T12:00:00Z') // a Wednesday

function ask(policy: CompiledPolicy, text: string, subject: Subject = person(), nowMs = noon) {
  return policy.decide(subject, db, all, fakeAction(text), nowMs)
}

describe('deciding', () => {
  it.each([
    ['nothing: people are allowed', '', 'delete t', person(), 'allow'],
    ['nothing: agents may read', '', 'select t', agent(), 'allow'],
    ['nothing: agents may not change', '', 'delete t', agent(), 'deny'],
    ['nothing: what is not known counts as a change for agents', '', 'select t ?', agent(), 'deny'],
    [
      'an allow rule lets an agent change',
      '  - { name: a, when: { table: logs }, then: allow }',
      'insert logs',
      agent(),
      'allow',
    ],
    [
      'an allow rule covers all that an action does',
      '  - { name: a, when: { table: logs }, then: allow }',
      'insert logs; delete t',
      agent(),
      'deny',
    ],
    [
      'an allow rule gives no benefit of the doubt',
      '  - { name: a, when: { table: logs }, then: allow }',
      'insert logs ?',
      agent(),
      'deny',
    ],
    ['a deny rule', '  - { name: a, when: { statement: delete }, then: deny }', 'delete t', person(), 'deny'],
    [
      'a deny rule for any part',
      '  - { name: a, when: { statement: delete }, then: deny }',
      'select t; delete t',
      person(),
      'deny',
    ],
    [
      'a deny rule in doubt',
      '  - { name: a, when: { statement: delete }, then: deny }',
      'select t ?',
      person(),
      'deny',
    ],
    [
      'a deny rule for something else',
      '  - { name: a, when: { statement: delete }, then: deny }',
      'update t',
      person(),
      'allow',
    ],
    [
      'deny before approve, whatever their order',
      '  - { name: a, when: {}, then: approve }\n  - { name: b, when: {}, then: deny }',
      'select t',
      person(),
      'deny',
    ],
    [
      'approve before allow, whatever their order',
      '  - { name: a, when: {}, then: allow }\n  - { name: b, when: {}, then: approve }',
      'select t',
      person(),
      'approve',
    ],
    [
      'unless lifts',
      '  - { name: a, when: { statement: delete }, unless: { table: scratch }, then: deny }',
      'delete scratch',
      person(),
      'allow',
    ],
    [
      'unless lifts nothing that comes along',
      '  - { name: a, when: { statement: delete }, unless: { table: scratch }, then: deny }',
      'delete scratch; delete t',
      person(),
      'deny',
    ],
    [
      'unless lifts nothing in doubt',
      '  - { name: a, when: {}, unless: { table: scratch }, then: deny }',
      'delete scratch ?',
      person(),
      'deny',
    ],
    [
      'one of several unless',
      '  - { name: a, when: {}, unless: [ { group: dba }, { table: scratch } ], then: deny }',
      'delete scratch',
      person(),
      'allow',
    ],
    [
      'one of several when',
      '  - { name: a, when: [ { statement: drop }, { table: secret } ], then: deny }',
      'select secret',
      person(),
      'deny',
    ],
    [
      'all keys of a condition',
      '  - { name: a, when: { statement: drop, table: secret }, then: deny }',
      'select secret',
      person(),
      'allow',
    ],
    ['words of another kind', '  - { name: a, when: { method: GET }, then: deny }', 'select t', person(), 'allow'],
    [
      'unless with words of another kind lifts nothing',
      '  - { name: a, when: { actor: "*" }, unless: { method: GET }, then: deny }',
      'select t',
      agent(),
      'deny',
    ],
    [
      'allow limited by words of another kind allows nothing',
      '  - { name: a, when: { actor: "*" }, unless: { method: GET }, then: allow }',
      'delete t',
      agent(),
      'deny',
    ],
    ['effect', '  - { name: a, when: { actor: "*", effect: change }, then: approve }', 'delete t', agent(), 'approve'],
    [
      'effect not known, for a rule that asks',
      '  - { name: a, when: { actor: "*", effect: change }, then: approve }',
      'select t ?',
      agent(),
      'approve',
    ],
    [
      'effect not known, for a rule that allows',
      '  - { name: a, when: { actor: "*", effect: change }, then: allow }',
      'select t ?',
      agent(),
      'deny',
    ],
    [
      'effect not known, for an unless',
      '  - { name: a, when: {}, unless: { effect: read }, then: deny }',
      'select t ?',
      person(),
      'deny',
    ],
  ] as const)('%s', async (_, rules, text, subject, expected) => {
    const policy = await compile(withRules(rules === '' ? '  []' : rules))
    expect(ask(policy, text, subject).kind).toBe(expected)
  })

  it.each([
    ['user: maria', person('maria'), true],
    ['user: "m*"', person('maria'), true],
    ['user: [ jo, maria ]', person('maria'), true],
    ['user: jo', person('maria'), false],
    ['group: dba', person('maria', ['eng', 'dba']), true],
    ['group: dba', person('maria', ['eng']), false],
    ['actor: "*"', agent('claude'), true],
    ['actor: "*"', person(), false],
    ['actor: "cl*"', agent('claude'), true],
    ['actor: codex', agent('claude'), false],
    ['proven: true', agent('claude', [], { actor: { name: 'claude', proven: true } }), true],
    ['proven: true', agent('claude'), false],
    ['proven: true', person(), false],
    ['proven: false', agent('claude'), true],
    ['proven: false', person(), false],
    ['actor: codex, proven: true', agent('claude', [], { actor: { name: 'claude', proven: true } }), false],
    ['confined: true', agent('claude', [], { confined: true }), true],
    ['confined: false', agent('claude', [], { confined: true }), false],
    ['ticket: present', person('maria', [], { ticket: 'INC-1' }), true],
    ['ticket: present', person('maria', [], { ticket: '  ' }), false],
    ['ticket: missing', person(), true],
    ['ticket: "INC-*"', person('maria', [], { ticket: 'INC-1' }), true],
    ['ticket: "INC-*"', person(), false],
    ['purpose: present', person('maria', [], { purpose: 'why' }), true],
    ['scope: all', person(), true],
    ['resource: "d*"', person(), true],
    ['resource: "x*"', person(), false],
  ] as const)('when %s', async (when, subject, holds) => {
    const policy = await compile(withRules(`  - { name: a, when: { ${when} }, then: deny }`))
    expect(ask(policy, 'select t', subject).kind).toBe(holds ? 'deny' : 'allow')
  })

  it.each([
    ['hours: 09:00-18:00', '2026-03-04T12:00:00Z', true],
    ['hours: 09:00-18:00', '2026-03-04T18:00:00Z', false],
    ['hours: 22:00-06:00', '2026-03-04T23:00:00Z', true],
    ['hours: 22:00-06:00', '2026-03-04T05:59:00Z', true],
    ['hours: 22:00-06:00', '2026-03-04T06:00:00Z', false],
    ['hours: 09:00-18:00, zone: America/New_York', '2026-03-04T09:30:00Z', false],
    ['hours: 09:00-18:00, zone: America/New_York', '2026-03-04T14:30:00Z', true],
    ['days: mon-fri', '2026-03-04T12:00:00Z', true],
    ['days: sat-mon', '2026-03-08T12:00:00Z', true],
    ['days: sat-mon', '2026-03-03T12:00:00Z', false],
    ['days: fri, hours: 22:00-06:00', '2026-03-07T02:00:00Z', true], // Saturday, but Friday's night
    ['days: fri, hours: 22:00-06:00', '2026-03-06T02:00:00Z', false],
    ['hours: 00:00-24:00', '2026-03-04T23:59:59Z', true],
  ])('time %s at %s', async (time, at, holds) => {
    const policy = await compile(withRules(`  - { name: a, when: { time: { ${time} } }, then: deny }`))
    const verdict = ask(policy, 'select t', person(), Date.parse(at))
    expect(verdict).toMatchObject({ kind: holds ? 'deny' : 'allow', stable: false })
  })

  it('asks for the client’s program, and takes an unknown one for the worst', async () => {
    const policy = await compile(
      withRules(
        '  - { name: a, when: { client: "node*" }, then: deny }\n  - { name: b, when: { statement: delete }, unless: { client: psql }, then: deny }',
      ),
    )
    const decide = (client: string | null, text: string) =>
      policy.decider(person(), db, all, client === null ? null : { program: client }).decide(fakeAction(text), noon)
    expect(decide('psql', 'select t')).toMatchObject({ kind: 'allow', stable: true })
    expect(decide('psql', 'delete t').kind).toBe('allow')
    expect(decide('nodejs', 'select t')).toMatchObject({ kind: 'deny', stable: true })
    expect(decide(null, 'select t')).toMatchObject({ kind: 'deny', stable: false })
    expect(policy.asksForClient(db)).toBe(true)
    expect((await compile(withRules('  []'))).asksForClient(db)).toBe(false)
  })

  it('says who denied, where and what would help', async () => {
    const policy = await compile(
      withRules(
        '  - { name: no unbounded writes, when: { statement: [ update, delete ], where: missing }, then: deny, message: an UPDATE or DELETE needs a WHERE }\n  - { name: drops, when: { statement: drop }, unless: { ticket: present }, then: deny }\n  - { name: c, when: { statement: alter }, then: deny, hint: ask the dba }',
      ),
    )
    expect(ask(policy, 'delete t')).toEqual({
      kind: 'deny',
      rule: { name: 'no unbounded writes', place: 'agentgate.yaml:10' },
      message: 'an UPDATE or DELETE needs a WHERE',
      hint: 'add a WHERE',
      stable: true,
    })
    expect(ask(policy, 'drop t')).toMatchObject({
      message: 'drops',
      hint: 'name a ticket: agentgate connect --ticket …',
    })
    expect(ask(policy, 'alter t')).toMatchObject({ hint: 'ask the dba' })
    expect(ask(policy, 'insert t', agent())).toMatchObject({
      rule: null,
      message: 'agents may only read on db, and this changes something',
      hint: 'see why: agentgate policy explain db',
    })
  })

  it('names the first of several rules with the same effect', async () => {
    const policy = await compile(
      withRules('  - { name: first, when: {}, then: deny }\n  - { name: second, when: {}, then: deny }'),
    )
    expect(ask(policy, 'select t')).toMatchObject({ rule: { name: 'first' } })
  })

  it('asks once for several rules, as strictly as all of them', async () => {
    const rules = (second: string) =>
      `  - { name: a, when: {}, then: approve, approvers: { group: [ dba, sec ], within: 5m } }\n  - { name: b, when: {}, then: approve, approvers: { ${second} } }`
    expect(
      ask(await compile(withRules(rules('group: [ sec, ops ], count: 2, not-self: true, within: 1h'))), 'select t'),
    ).toMatchObject({
      kind: 'approve',
      rule: { name: 'a' },
      approvers: { groups: ['sec'], count: 2, notSelf: true, withinSeconds: 300 },
    })
    expect(ask(await compile(withRules(rules('count: 2'))), 'select t')).toMatchObject({
      approvers: { groups: ['dba', 'sec'], count: 2 },
    })
    expect(ask(await compile(withRules(rules('group: ops'))), 'select t')).toMatchObject({
      kind: 'deny',
      message: 'it needs approval by dba or sec and by ops, and no one answer can be both',
    })
  })

  it.each([
    ['default: deny', person(), 'select t', 'deny'],
    ['default: allow', agent(), 'delete t', 'allow'],
    ['default: read', person(), 'delete t', 'deny'],
    ['default: read', person(), 'select t', 'allow'],
    ['default: { agents: deny }', agent(), 'select t', 'deny'],
    ['default: { agents: deny }', person(), 'delete t', 'allow'],
    ['default: { people: read }', agent(), 'select t', 'allow'],
  ] as const)('%s', async (line, subject, text, expected) => {
    const policy = await compile(withRules('  []', `    ${line}`))
    expect(ask(policy, text, subject).kind).toBe(expected)
  })
})

describe('what may be kept', () => {
  const varying = '  - { name: a, when: { statement: update, rows: 10 }, then: approve }'

  it('is a verdict that only the shape decides', async () => {
    const policy = await compile(withRules(varying))
    expect(ask(policy, 'select t')).toMatchObject({ kind: 'allow', stable: true })
  })

  it('is no verdict where a bound value may matter', async () => {
    const policy = await compile(withRules(varying))
    expect(ask(policy, 'update t rows=5')).toMatchObject({ kind: 'allow', stable: false })
    expect(ask(policy, 'update t rows=50')).toMatchObject({ kind: 'approve', stable: false })
    expect(ask(policy, 'update t rows=5')).toMatchObject({ kind: 'allow', stable: false })
  })

  it('is a refusal that a varying rule cannot change', async () => {
    const policy = await compile(withRules(`  - { name: no, when: { statement: update }, then: deny }\n${varying}`))
    expect(ask(policy, 'update t rows=5')).toMatchObject({ kind: 'deny', stable: true })
  })

  it('is not what an unless may lift later', async () => {
    const policy = await compile(
      withRules('  - { name: a, when: { statement: drop }, unless: { time: { hours: 09:00-18:00 } }, then: deny }'),
    )
    expect(ask(policy, 'drop t', person(), noon)).toMatchObject({ kind: 'allow', stable: false })
    expect(ask(policy, 'drop t', person(), Date.parse('2026-03-04T20:00:00Z'))).toMatchObject({
      kind: 'deny',
      stable: false,
    })
    expect(ask(policy, 'select t')).toMatchObject({ kind: 'allow', stable: true })
  })

  it('is asked of the kind once', async () => {
    const policy = await compile(withRules('  - { name: a, when: { statement: drop }, then: deny }'))
    const subject = person()
    const first = policy.decide(subject, db, all, fakeAction('select kept'), noon)
    const before = fakeKind.calls
    for (let i = 0; i < 100; i++) expect(policy.decide(subject, db, all, fakeAction('select kept'), noon)).toBe(first)
    expect(fakeKind.calls).toBe(before)
  })
})

describe('masks', () => {
  const text = `version: 1
resources:
  db: { kind: fake, address: "x:1" }
  web: { kind: fake, address: "x:1" }
masks:
  - { name: contact, resource: db, columns: [ customers.email, "*.ssn" ], with: partial }
  - { name: for agents, columns: a.b, with: { constant: x }, when: { actor: "*" } }
  - { name: not for support, columns: a.c, with: null, unless: { group: support } }
  - { name: secrets, resource: web, detect: [ api-key ], with: redact }
`
  const named = (policy: CompiledPolicy, subject: Subject, resource: string) =>
    policy.masks(subject, resource as ResourceName).map(mask => mask.name)

  it('hold for whom and what they name', async () => {
    const policy = await compile(text)
    expect(named(policy, person(), 'db')).toEqual(['contact', 'not for support'])
    expect(named(policy, agent(), 'db')).toEqual(['contact', 'for agents', 'not for support'])
    expect(named(policy, person('x', ['support']), 'web')).toEqual(['secrets'])
    expect(policy.masks(person(), db)[0]).toEqual({
      name: 'contact',
      place: 'agentgate.yaml:6',
      columns: ['customers.email', '*.ssn'],
      fields: [],
      detect: [],
      with: { kind: 'partial' },
    })
    expect(policy.masks(agent(), db)[1]?.with).toEqual({ kind: 'constant', value: 'x' })
    expect(policy.masks(person(), db)[1]?.with).toEqual({ kind: 'null' })
  })

  it('are the same array as long as the policy lives, for everyone they hold for alike', async () => {
    const policy = await compile(text)
    const subject = person()
    const masks = policy.masks(subject, db)
    expect(policy.masks(subject, db)).toBe(masks)
    expect(policy.masks(person('someone else'), db)).toBe(masks)
    expect(policy.decider(subject, db, 'default' as ScopeName).masks).toBe(masks)
    const verdict = policy.decide(subject, db, 'default' as ScopeName, fakeAction('select t'), noon)
    expect(verdict.kind === 'allow' && verdict.masks).toBe(masks)
  })
})

describe('what is no longer to be had', () => {
  it('is refused, not thrown', async () => {
    const policy = await compile(withRules('  []'))
    const action: Action = fakeAction('select t')
    expect(policy.decide(person(), 'gone' as ResourceName, all, action, noon)).toMatchObject({
      kind: 'deny',
      message: 'gone is no longer in agentgate.yaml',
    })
    expect(policy.decide(person(), db, 'gone' as ScopeName, action, noon)).toMatchObject({
      kind: 'deny',
      message: 'maria may not use scope gone of db',
    })
  })
})

describe('counts', () => {
  it('are of what can apply to a resource', async () => {
    const policy = await compile(
      withRules(
        '  - { name: a, when: { statement: drop }, then: deny }\n  - { name: b, when: { method: GET }, then: deny }\n  - { name: c, when: {}, then: approve }\n  - { name: d, when: { resource: "x-*" }, then: deny }\nmasks:\n  - { name: m, columns: a.b, with: hash }',
      ),
    )
    expect(policy.counts(db)).toEqual({ deny: 1, approve: 1, masks: 1 })
  })
})

describe('limits of results', () => {
  const rules = `
  - { name: small, when: { statement: select }, then: limit, results: { rows: 1000, bytes: 1MB } }
  - { name: smaller, when: { table: t }, then: limit, results: { rows: 10 } }
  - { name: no drops, when: { statement: drop }, then: deny }`

  it('are the least of all rules that match, and change nothing else', async () => {
    const policy = await compile(withRules(rules))
    Object.assign(fakeKind, { limitsResults: true })
    onTestFinished(() => void Object.assign(fakeKind, { limitsResults: false }))
    expect(ask(policy, 'select u')).toMatchObject({
      kind: 'allow',
      limit: { rule: { name: 'small' }, rows: 1000, bytes: 1_000_000 },
    })
    expect(ask(policy, 'select t')).toMatchObject({
      kind: 'allow',
      limit: { rule: { name: 'smaller' }, rows: 10, bytes: 1_000_000 },
    })
    expect(ask(policy, 'insert u')).not.toHaveProperty('limit')
    expect(ask(policy, 'drop t')).toMatchObject({ kind: 'deny', rule: { name: 'no drops' } })
  })

  it('deny where the kind cannot keep them', async () => {
    const policy = await compile(withRules(rules))
    expect(ask(policy, 'select u')).toMatchObject({ kind: 'deny', rule: { name: 'small' } })
    expect(ask(policy, 'insert u')).toMatchObject({ kind: 'allow' })
  })
})

describe('what is recorded of results', () => {
  const rules = `
  - { name: exports, when: { table: t }, then: record, results: { keep: full } }
  - { name: health, when: { table: p }, then: record, results: { keep: none } }
  - { name: no drops, when: { statement: drop }, then: deny }
  - { name: asks, when: { statement: delete }, then: approve }`

  it.each([
    ['select t', 'allow', { rule: { name: 'exports' }, keep: 'full' }],
    ['select p', 'allow', { rule: { name: 'health' }, keep: 'none' }],
    ['delete t', 'approve', { rule: { name: 'exports' }, keep: 'full' }],
    ['select p; select t', 'allow', { rule: { name: 'exports' }, keep: 'full' }],
    ['select u', 'allow', undefined],
    ['drop t', 'deny', undefined],
  ])('%s', async (text, kind, record) => {
    const verdict = ask(await compile(withRules(rules)), text)
    expect(verdict.kind).toBe(kind)
    expect('record' in verdict ? verdict.record : undefined).toEqual(
      record === undefined
        ? undefined
        : expect.objectContaining({ keep: record.keep, rule: expect.objectContaining(record.rule) as unknown }),
    )
  })

  it('in doubt is more, never less', async () => {
    const policy = await compile(
      withRules(`
  - { name: whole, when: { client: psql, statement: select }, then: record, results: { keep: full } }
  - { name: nothing, when: { client: psql, statement: insert }, then: record, results: { keep: none } }`),
    )
    // Nobody knows yet which program it is.
    expect(ask(policy, 'select t')).toMatchObject({ record: { keep: 'full' } })
    expect(ask(policy, 'insert t')).not.toHaveProperty('record')
  })

  it('an expression that gives no answer denies', async () => {
    const policy = await compile(
      withRules('  - { name: broken, if: "1 / 0 == 1", then: record, results: { keep: none } }'),
    )
    expect(ask(policy, 'select t')).toMatchObject({ kind: 'deny', rule: { name: 'broken' } })
  })
})
