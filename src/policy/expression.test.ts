import { describe, expect, it } from 'vitest'
import type { ActionView } from './action.ts'
import { loadExpressionCompiler, type Expression } from './expression.ts'
import { agent, fakeAction, person } from './testing/fake-kind.ts'
import { all, compile, db, problemsOf, withRules } from './testing/policy-text.ts'

const compiler = await loadExpressionCompiler()
const place = { source: { name: 'a', shown: 'a', text: '', lineStarts: [0], hidden: [] }, start: 0, end: 1 }

function expression(text: string): Expression {
  const compiled = compiler(text, place)
  if ('severity' in compiled) throw new Error(compiled.message)
  return compiled
}

function evaluate(text: string, view: Partial<ActionView> = {}, subject = person('maria', ['eng'])) {
  const action: ActionView = {
    kind: 'fake',
    summary: 's',
    text: 'select 1',
    effect: 'read',
    verbs: ['select'],
    reads: ['public.orders'],
    writes: [],
    attributes: { rows: 5, method: null },
    ...view,
  }
  return expression(text).evaluate({ action, subject, resource: 'db', scope: 'read', client: null })
}

describe('expressions', () => {
  it.each([
    ['action.verbs.exists(v, v == "select")', 'true'],
    ['"public.orders" in action.reads && size(action.writes) == 0', 'true'],
    ['action.attributes.rows > 4', 'true'],
    ['action.text.matches("^sel.*1$")', 'true'],
    ['action.text.upperAscii().startsWith("SELECT")', 'true'],
    ['subject.proven == null', 'true'],
    ['subject.user == "maria" && "eng" in subject.groups && subject.actor == null', 'true'],
    ['resource == "db" && scope == "read" && client == null', 'true'],
    ['action.effect == "change"', 'false'],
    ['has(action.attributes.nope)', 'false'],
    ['size(action.parameters) == 0', 'true'],
    ['action.attributes.nope == 1', 'failed'],
    ['1 / 0 == 1', 'failed'],
    ['"text"', 'failed'],
  ])('%s is %s', (text, expected) => {
    expect(evaluate(text)).toBe(expected)
  })

  it.each([
    [
      'nested loops',
      'action.reads.all(a, action.reads.all(b, action.reads.all(c, a != "" || b != c)))',
      { reads: Array.from({ length: 300 }, String) },
    ],
    [
      'loops that call nothing',
      'action.reads.exists(a, action.reads.exists(b, action.reads.exists(c, false)))',
      { reads: Array.from({ length: 1000 }, String) },
    ],
    [
      'lists that grow',
      'action.reads.map(a, action.reads.map(b, action.reads.map(c, a))).size() > 0',
      { reads: Array.from({ length: 300 }, String) },
    ],
    ['a pattern over a long text', 'action.text.matches("(a|aa)+$")', { text: 'a'.repeat(1_000_000) }],
    [
      'the same behind a ||',
      'true && (action.reads.all(a, action.reads.all(b, action.text.contains("x"))) || true)',
      { text: 'x'.repeat(100_000), reads: Array.from({ length: 500 }, String) },
    ],
  ])('ends what costs too much: %s', (_, text, view) => {
    const started = performance.now()
    expect(evaluate(text, view)).toBe('too-costly')
    expect(performance.now() - started).toBeLessThan(2000)
  })

  it('starts afresh each time', () => {
    const costly = expression('action.text.contains("b")')
    const action: ActionView = {
      kind: 'f',
      summary: '',
      text: 'a'.repeat(1_500_000),
      effect: 'read',
      verbs: [],
      reads: [],
      writes: [],
      attributes: {},
    }
    for (let i = 0; i < 5; i++)
      expect(costly.evaluate({ action, subject: person(), resource: 'db', scope: 'a', client: null })).toBe('false')
  })

  it.each([
    ['acton.verbs == []', 'unknown name "acton"', 'did you mean action?'],
    ['action.verb == "x"', 'action has no "verb"', 'did you mean verbs?'],
    ['subject.group == "x"', 'subject has no "group"', 'did you mean groups?'],
    ['action.text.contain("x")', 'unknown function "contain"', 'did you mean contains?'],
    ['action.text.replace("a", "b") == ""', 'unknown function "replace"', ''],
    ['action.verbs.exists(v, w == 1)', 'unknown name "w"', ''],
    ['1 +', 'this cannot be read as a CEL expression', ''],
    [`${'('.repeat(2000)}1${')'.repeat(2000)}`, 'this cannot be read as a CEL expression', ''],
  ])('refuses %s beforehand', async (text, message, suggestion) => {
    const shown = await problemsOf(withRules(`  - { name: a, if: ${JSON.stringify(text)}, then: deny }`))
    expect(shown).toContain(message)
    expect(shown).toContain(suggestion)
  })
})

describe('a rule with an expression', () => {
  it('needs both its conditions and its expression', async () => {
    const policy = await compile(
      withRules(
        '  - { name: a, when: { actor: "*" }, if: "action.verbs.exists(v, v == \'delete\')", then: deny }',
        '    default: allow',
      ),
    )
    const decide = (text: string, subject = agent()) => policy.decide(subject, db, all, fakeAction(text), 0)
    expect(decide('delete t')).toMatchObject({ kind: 'deny', stable: false })
    expect(decide('insert t')).toMatchObject({ kind: 'allow', stable: false })
    expect(decide('delete t', person())).toMatchObject({ kind: 'allow', stable: true })
  })

  it.each(['deny', 'approve', 'allow'])('denies where it gives no answer, %s rule or not', async effect => {
    const policy = await compile(withRules(`  - { name: a, if: "action.attributes.nope == 1", then: ${effect} }`))
    expect(policy.decide(person(), db, all, fakeAction('select t'), 0)).toMatchObject({
      kind: 'deny',
      rule: { name: 'a' },
      message: 'the condition of rule "a" could not be evaluated for this',
    })
  })
})
