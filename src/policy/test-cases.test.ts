import { describe, expect, it } from 'vitest'
import { renderProblem } from './problem.ts'
import { readTestFile, runTestCase, type TestResult } from './test-cases.ts'
import { compile, withRules } from './testing/policy-text.ts'

const policyText = withRules(
  '  - { name: no drops, when: { statement: drop }, unless: { group: dba }, then: deny, message: no }\n  - { name: nights, when: { time: { hours: 22:00-06:00 } }, then: approve }',
).concat('masks:\n  - { name: contact, columns: a.b, with: hash }\n')

function read(text: string) {
  return readTestFile({ name: 'a.test.yaml', shown: 'a.test.yaml', bytes: Buffer.from(text) })
}

async function run(text: string): Promise<readonly TestResult[]> {
  const file = read(text)
  if (file.kind === 'wrong') throw new Error(file.problems.map(renderProblem).join('\n'))
  const policy = await compile(policyText)
  return await Promise.all(
    file.cases.map(async each => await runTestCase(policy, each, Date.parse('2026-03-04T12:00:00Z'))),
  )
}

describe('cases beside a policy', () => {
  it('pass where the policy says what they expect', async () => {
    const results = await run(`
defaults: { principal: maria, groups: eng, resource: db }
cases:
  - { statement: drop t, expect: deny, rule: no drops }
  - { statement: drop t, groups: [ dba ], expect: allow, rule: null, masks: [ contact ] }
  - { statement: delete t, actor: claude, expect: deny, rule: null }
  - { statement: select t, at: "2026-03-04T23:00:00Z", expect: approve, rule: nights }
  - { name: no such scope is theirs, statement: select t, expect: allow }
`)
    expect(results.map(result => (result.kind === 'passed' ? 'passed' : result.message))).toEqual(
      Array(5).fill('passed'),
    )
    expect(results[0]?.case.name).toBe('drop t')
  })

  it.each([
    ['{ statement: drop t, expect: allow }', 'expected allow, got deny by rule "no drops" (agentgate.yaml:10): no'],
    [
      '{ statement: drop t, expect: deny, rule: nights }',
      'expected deny by rule "nights", got deny by rule "no drops" (agentgate.yaml:10): no',
    ],
    [
      '{ statement: drop t, expect: deny, rule: null }',
      'expected deny by no rule, got deny by rule "no drops" (agentgate.yaml:10): no',
    ],
    ['{ statement: select t, expect: allow, masks: [] }', 'expected masks none, got contact'],
    ['{ statement: select t, expect: allow, resource: dbb }', 'no resource "dbb" in agentgate.yaml (did you mean db?)'],
    ['{ statement: select t, expect: allow, scope: none }', 'db has no scope "none" (it has all)'],
  ])('fail where it does not: %s', async (given, message) => {
    const [result] = await run(`cases:\n  - ${given}\n`)
    expect(result).toMatchObject({ kind: 'failed', message })
  })

  it('share what the target looks like', () => {
    const file = read(
      'fixtures: { shop: "create table a()" }\ndefaults: { fixtures: shop }\ncases:\n  - { statement: a, expect: deny }\n  - { statement: a, expect: deny, fixtures: "create table b()" }\n',
    )
    expect(file.kind === 'ok' && file.cases.map(each => each.fixtures)).toEqual([
      'create table a()',
      'create table b()',
    ])
    const one = read('fixtures: "create table a()"\ncases: [ { statement: a, expect: deny } ]\n')
    expect(one.kind === 'ok' && one.cases[0]?.fixtures).toBe('create table a()')
  })

  it('are checked like a policy', () => {
    const file = read('cases:\n  - { statement: a, expect: dney }\n')
    expect(file.kind === 'wrong' && file.problems.map(renderProblem).join('\n')).toContain('did you mean deny?')
  })
})
