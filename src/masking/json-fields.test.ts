import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Secret } from '../secret.ts'
import { Hasher } from './hasher.ts'
import { FieldMasker, NotJson } from './json-fields.ts'
import type { Strategy } from './strategies.ts'

const hasher = new Hasher(new Secret('0123456789abcdef0123456789abcdef'))
const mask = (path: string, text: string, strategy: Strategy = { kind: 'redact' }) =>
  new FieldMasker([{ path, with: strategy }], hasher).mask(Buffer.from(text)).toString()

describe('a field', () => {
  const cases: [string, string, string][] = [
    ['email', '{"email":"a@b.de","x":1}', '{"email":"[masked]","x":1}'],
    ['email', '[{"user":{"email" :\t"a@b.de" }}]', '[{"user":{"email" :\t"[masked]" }}]'],
    [
      'user.email',
      '{"email":"a","user":{"email":"b"},"users":[{"email":"c"}]}',
      '{"email":"a","user":{"email":"[masked]"},"users":[{"email":"c"}]}',
    ],
    [
      'users.email',
      '{"users":[[{"email":"c"},{"email":"d"}]]}',
      '{"users":[[{"email":"[masked]"},{"email":"[masked]"}]]}',
    ],
    [
      '$.users[*].email',
      '{"users":[{"email":"c"}],"x":{"users":{"email":"d"}}}',
      '{"users":[{"email":"[masked]"}],"x":{"users":{"email":"d"}}}',
    ],
    ['a.*.b', '{"a":{"x":{"b":"1"},"b":"2"}}', '{"a":{"x":{"b":"[masked]"},"b":"2"}}'],
    [
      'a.**.b',
      '{"a":{"b":"1","x":{"y":{"b":"2"}}},"b":"3"}',
      '{"a":{"b":"[masked]","x":{"y":{"b":"[masked]"}}},"b":"3"}',
    ],
    ['email', '{"em\\u0061il":"a@b.de"}', '{"em\\u0061il":"[masked]"}'],
    ['email', '{"email":"a","email":"b"}', '{"email":"[masked]","email":"[masked]"}'],
    ['email', '{"x":"\\"email\\":\\"a\\"","email":"\\"}b"}', '{"x":"\\"email\\":\\"a\\"","email":"[masked]"}'],
    ['a', '{"a":{"b":["}",{"c":1}]},"d":1}', '{"a":null,"d":1}'],
    ['a', '{"a":12.5e3}', '{"a":null}'],
    ['a', '{"a":true,"b":[{"a":null}]}', '{"a":null,"b":[{"a":null}]}'],
    ['a', '["a","b"]', '["a","b"]'],
    ['a', '"a"', '"a"'],
    ['a', '{"b":12345678901234567890123}', '{"b":12345678901234567890123}'],
  ]
  it.each(cases)('%s in %s', (path, text, expected) => expect(mask(path, text)).toBe(expected))

  it('is shown as the mask says', () => {
    expect(mask('e', '{"e":"maria@example.com"}', { kind: 'partial' })).toBe('{"e":"m***@e***.com"}')
    expect(mask('e', '{"e":"x"}', { kind: 'hash' })).toMatch(/^\{"e":"h_[0-9a-f]{24}"\}$/)
    expect(mask('e', '{"e":"x","f":{"e":7}}', { kind: 'constant', value: '0' })).toBe('{"e":"0","f":{"e":0}}')
    expect(mask('e', '{"e":"x"}', { kind: 'constant', value: 'a"b' })).toBe('{"e":"a\\"b"}')
    expect(mask('e', '{"e":"x"}', { kind: 'null' })).toBe('{"e":null}')
  })

  it.each(['', '{', '{"a":1,}', "{'a':1}", '{"a":1}{"a":2}', '{"a":/**/1}', '\ufeff{}'])(
    'is not looked for in %j',
    text => {
      expect(() => mask('a', text)).toThrow(NotJson)
    },
  )
})

it('hides the field and nothing else, in any JSON', () => {
  const hide = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(hide)
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [
        key,
        key !== 'k' ? hide(each) : typeof each === 'string' ? '[masked]' : null,
      ]),
    )
  }
  const json = fc.letrec(tie => ({
    value: fc.oneof(
      { maxDepth: 5 },
      fc.string({ unit: 'binary' }),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(null, true, {}),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.constantFrom('k', 'a', '"', 'é', '}'), tie('value'), { maxKeys: 4 }),
    ),
  })).value
  fc.assert(
    fc.property(json, fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
      const text = JSON.stringify(value, undefined, indent)
      expect(JSON.parse(mask('k', text))).toEqual(hide(JSON.parse(text)))
    }),
    { numRuns: 1000 },
  )
})
