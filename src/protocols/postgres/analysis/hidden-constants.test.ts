import { expect, test } from 'vitest'
import type { Mask } from '../../../policy/action.ts'
import type { AnalysedText } from './analysed.ts'
import { hideConstants } from './hidden-constants.ts'

const mask: Mask = {
  name: 'contact data',
  place: '',
  columns: ['customers.email'],
  fields: [],
  detect: [],
  with: { kind: 'redact' },
}

function analysed(text: string, relation = 'public.customers'): AnalysedText {
  const effect = { verb: 'select', relation, columns: ['email'], where: 'present' as const, through: [] }
  return {
    text,
    fingerprint: '',
    refusal: null,
    statements: [
      {
        text,
        verb: 'select',
        effects: [effect],
        functions: [],
        effect: 'read',
        unknown: null,
        output: { kind: 'none' },
        changes: [],
        carries: [],
        missing: [],
        transaction: false,
        parameterCount: 0,
      },
    ],
  }
}

test.each([
  ["select * from customers where email = 'secret@x.org'", "select * from customers where email = '…'"],
  ["where a = E'se\\'cret' and b = 1", "where a = '…' and b = …"],
  ["where a = 'it''s secret'", "where a = '…'"],
  ["where a = U&'secret' or a = N'secret' or a = X'5ec2e7'", "where a = '…' or a = '…' or a = '…'"],
  ['where a = $$secret$$ and b = $t$sec$$ret$t$', "where a = '…' and b = '…'"],
  ['where "it\'s" = 12.5e3 and $1 = c2', 'where "it\'s" = … and $1 = c2'],
  ['select 1 /* secret /* nested */ still secret */ from t -- secret\nwhere 2', 'select …  from t \nwhere …'],
  ["select 'open secret", "select '…'"],
])('hides constants of %s', (text, shown) => {
  const hidden = hideConstants(analysed(text), [mask])
  expect(hidden.text).not.toMatch(/secret|5ec2e7/)
  expect(hidden.text).toBe(shown)
  expect(hidden.hiddenParameters).toBe('all')
})

test('a statement that touches no masked table is shown as it is', () => {
  const text = "select * from orders where status = 'paid'"
  expect(hideConstants(analysed(text, 'public.orders'), [mask])).toEqual({ text, hiddenParameters: new Set() })
  expect(hideConstants(analysed(text, 'public.orders'), [{ ...mask, columns: ['*.ssn'] }]).text).not.toContain('paid')
})
