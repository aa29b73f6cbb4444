import { expect, test } from 'vitest'
import type { Effect, SqlAction, Statement } from './analysed.ts'
import { matches, whenSchema } from './when.ts'

function effect(verb: string, relation: string | null, changes: Partial<Effect> = {}): Effect {
  return { verb, relation, columns: [], where: 'none', through: [], ...changes }
}

function action(...statements: Partial<Statement>[]): SqlAction {
  const whole = statements.map(statement => ({
    text: '',
    verb: 'select',
    effects: [],
    functions: [],
    effect: 'read' as const,
    unknown: null,
    output: { kind: 'none' as const },
    changes: [],
    carries: [],
    compares: [],
    missing: [],
    transaction: false,
    parameterCount: 0,
    ...statement,
  }))
  const analysed = { text: '', shape: {}, fingerprint: '', statements: whole, refusal: null }
  return { kind: 'postgres', shape: analysed.shape, analysed, parameters: [] }
}

const deletePayments = action({ verb: 'delete', effects: [effect('delete', 'public.payments', { where: 'missing' })] })
const readPayments = action({ verb: 'select', effects: [effect('select', 'public.payments', { columns: ['id'] })] })
const readPaymentsDeleteOrders = action({
  verb: 'delete',
  effects: [
    effect('delete', 'public.orders', { where: 'missing' }),
    effect('select', 'public.payments', { columns: ['id'] }),
  ],
})
const unknown = action({ verb: 'do', effect: 'unknown', unknown: 'dynamic SQL' })

test.each<[string, unknown, SqlAction, boolean]>([
  ['a statement by its word', { statement: ['delete'] }, deletePayments, true],
  ['one word stands for a list of one', { statement: 'delete' }, deletePayments, true],
  ['another statement', { statement: ['update'] }, deletePayments, false],
  ['a group', { statement: ['write'] }, deletePayments, true],
  ['a group that does not hold it', { statement: ['ddl'] }, deletePayments, false],
  ['a table in any schema', { table: 'payments' }, readPayments, true],
  ['a table with its schema', { table: 'public.payments' }, readPayments, true],
  ['a table in another schema', { table: 'audit.payments' }, readPayments, false],
  ['a glob', { table: 'pay*' }, readPayments, true],
  ['a glob for a schema', { table: 'public.*' }, readPayments, true],
  ['a glob does not run over the dot', { table: 'pub*ments' }, readPayments, false],
  ['reading is not writing', { writes: 'payments' }, readPayments, false],
  ['reading', { reads: 'payments' }, readPayments, true],
  ['a missing WHERE', { statement: ['delete'], where: 'missing' }, deletePayments, true],
  [
    'a WHERE that is always true is missing',
    { where: 'missing' },
    action({ effects: [effect('delete', 'public.a', { where: 'constant' })] }),
    true,
  ],
  ['all keys must hold of one effect', { statement: ['delete'], table: 'payments' }, readPaymentsDeleteOrders, false],
  ['a column', { column: 'id' }, readPayments, true],
  [
    'a column that may be any',
    { column: 'id' },
    action({ effects: [effect('select', 'public.a', { columns: 'all' })] }),
    true,
  ],
  [
    'the second statement of a string',
    { statement: ['drop'] },
    action({ verb: 'select' }, { verb: 'drop', effects: [effect('drop', 'public.a')] }),
    true,
  ],
  ['a function', { function: 'pg_read_file' }, action({ functions: ['pg_catalog.pg_read_file'] }), true],
  ['a table with a dot in the pattern only', { table: '*.payments' }, readPayments, true],
])('matches %s', (_, when, asked, expected) => {
  expect(matches(whenSchema.parse(when), asked, 'holds')).toBe(expected)
})

test.each([{ statement: ['drop'] }, { table: 'payments' }, { where: 'missing' }, { function: 'x' }])(
  'what cannot be known counts as the worst for a refusal and as nothing for an exception: %j',
  when => {
    expect(matches(whenSchema.parse(when), unknown, 'holds')).toBe(true)
    expect(matches(whenSchema.parse(when), unknown, 'fails')).toBe(false)
  },
)

test.each<[string, unknown, SqlAction]>([
  [
    'another statement in the same string',
    { table: 'scratch' },
    action(
      { verb: 'delete', effects: [effect('delete', 'public.scratch')] },
      { verb: 'delete', effects: [effect('delete', 'public.orders')] },
    ),
  ],
  [
    'another effect of the same statement',
    { table: 'scratch' },
    action({ verb: 'delete', effects: [effect('delete', 'public.scratch'), effect('delete', 'public.orders')] }),
  ],
  ['another function', { function: 'now' }, action({ functions: ['pg_catalog.now', 'public.wipe'] })],
])('an exception does not carry along %s', (_, when, asked) => {
  expect(matches(whenSchema.parse(when), asked, 'fails')).toBe(false)
  expect(matches(whenSchema.parse(when), asked, 'holds')).toBe(true)
})

test('a pattern with many stars is matched without backtracking', () => {
  const asked = action({ effects: [effect('select', `public.${'a'.repeat(60)}`)] })
  expect(matches(whenSchema.parse({ table: `${'a*'.repeat(60)}b` }), asked, 'holds')).toBe(false)
})
