import { describe, expect, it } from 'vitest'
import { explain } from './explain.ts'
import { agent, fakeAction, person } from './testing/fake-kind.ts'
import { all, compile, db, withRules } from './testing/policy-text.ts'
import type { Subject } from './subject.ts'

async function why(rules: string, text: string, subject: Subject = person(), at = '2026-03-04T12:00:00Z') {
  const policy = await compile(withRules(rules))
  const resource = policy.declaration.resources.get(db)!
  const scope = policy.resource('db').scopes.get(all)!
  const question = { subject, resource, scope, client: undefined, action: fakeAction(text), nowMs: Date.parse(at) }
  return explain(policy, question)
}

describe('explaining', () => {
  it.each([
    ['{ statement: drop }', 'drop t', person(), true, 'statement drop'],
    ['{ statement: drop }', 'select t', person(), false, 'not statement drop'],
    [
      '{ statement: [ drop, delete ], table: a }',
      'select b',
      person(),
      false,
      'not statement drop, delete, not table a',
    ],
    [
      '{ statement: drop, table: a }',
      'drop b; select a',
      person(),
      false,
      'statement and table hold, but of different parts of it',
    ],
    ['{ actor: "*" }', 'select t', person(), false, 'is about actor *, this is a person alone'],
    ['{ group: dba }', 'select t', person('maria', ['eng']), false, 'is about group dba, this is eng'],
    ['{ user: "j*" }', 'select t', person(), false, 'is about user j*, this is maria'],
    ['{ ticket: present }', 'select t', person(), false, 'is about ticket present, this is missing'],
    ['{ confined: true }', 'select t', agent(), false, 'is about confined askers'],
    ['{ resource: "x*" }', 'select t', person(), false, 'is about resource x*'],
    ['{ effect: change }', 'select t', person(), false, 'is about what has effect change, this has read'],
    ['{ time: { hours: 13:00-14:00 } }', 'select t', person(), false, 'is about another time'],
    ['{ method: GET }', 'select t', person(), false, 'uses words that fake does not know'],
    ['{}', 'select t', person(), true, 'whatever is asked'],
  ] as const)('%s for %s', async (when, text, subject, applies, reason) => {
    const { rules } = await why(`  - { name: a, when: ${when}, then: deny }`, text, subject)
    expect(rules).toEqual([{ rule: { name: 'a', place: 'agentgate.yaml:10' }, effect: 'deny', applies, why: reason }])
  })

  it('says what lifted a rule', async () => {
    const { rules, verdict } = await why(
      '  - { name: a, when: { statement: drop }, unless: { group: dba }, then: deny }',
      'drop t',
      person('m', ['dba']),
    )
    expect(rules[0]).toMatchObject({ applies: false, why: 'lifted by unless: group dba' })
    expect(verdict.kind).toBe('allow')
  })

  it('says that an expression is false, or gives no answer', async () => {
    const { rules } = await why(
      '  - { name: a, if: "1 == 2", then: deny }\n  - { name: b, if: "1 / 0 == 1", then: allow }',
      'drop t',
    )
    expect(rules.map(rule => rule.why)).toEqual(['its if: is false', 'its if: gives no answer, so this is denied'])
  })

  it('agrees with the decision', async () => {
    const { rules, verdict, view } = await why(
      '  - { name: a, when: { statement: drop }, then: deny }\n  - { name: b, when: { effect: change }, then: approve }',
      'drop t',
    )
    expect(view.effect).toBe('change')
    expect(rules.map(rule => rule.applies)).toEqual([true, true])
    expect(verdict).toMatchObject({ kind: 'deny', rule: { name: 'a' } })
  })
})
