import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Hasher } from '../../../masking/hasher.ts'
import { Secret } from '../../../secret.ts'
import { type CopyFormat, copyRefusal, createCopyMasker } from './copy-masker.ts'
import type { ColumnMask } from './mask-plan.ts'

const hasher = new Hasher(new Secret(Buffer.alloc(32, 7).toString('base64')))
const text: CopyFormat = {
  format: 'text',
  delimiter: '\t',
  quote: '"',
  escape: '"',
  nullText: '\\N',
  header: false,
}
const csv: CopyFormat = { ...text, format: 'csv', delimiter: ',', nullText: '' }
const binary: CopyFormat = { ...text, format: 'binary' }
const clear: ColumnMask = { kind: 'clear' }
const partial: ColumnMask = { kind: 'mask', mask: 'm', with: { kind: 'partial' } }
const redact: ColumnMask = { kind: 'mask', mask: 'm', with: { kind: 'redact' } }
const detect: ColumnMask = { kind: 'detect', mask: 'm', detectors: ['email'], with: { kind: 'redact' } }

function masked(format: CopyFormat, plan: readonly ColumnMask[], pieces: readonly Buffer[], typeOid = 25): string {
  const columns = plan.map((_, index) => ({ name: `c${index}`, typeOid }))
  const masker = createCopyMasker(plan, columns, format, { hasher })
  const messages = pieces.map(piece => {
    const head = Buffer.from('d\0\0\0\0')
    head.writeInt32BE(piece.length + 4, 1)
    return Buffer.concat([head, piece])
  })
  // Some in one go, as one read brings them, the rest one by one.
  const half = Math.floor(messages.length / 2)
  const out = [Buffer.concat(messages.slice(0, half)), ...messages.slice(half)].map(each => masker.mask(each))
  masker.end?.()
  let content = ''
  for (const bytes of out)
    for (let at = 0; at < bytes.length;) {
      expect(bytes[at]).toBe(0x64)
      const length = bytes.readInt32BE(at + 1)
      expect(length).toBeGreaterThan(4)
      content += bytes.toString('latin1', at + 5, at + 1 + length)
      at += 1 + length
    }
  return content
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...[...cuts].map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end))
}

const int32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
const tuple = (...values: readonly (string | null)[]) =>
  Buffer.concat([
    Buffer.of(0, values.length),
    ...values.flatMap(value => (value === null ? [int32(-1)] : [int32(value.length), Buffer.from(value)])),
  ])
const binaryHead = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), int32(0), int32(3), Buffer.from('ext')])
const trailer = Buffer.of(0xff, 0xff)

const cases: readonly (readonly [string, CopyFormat, readonly ColumnMask[], Buffer, RegExp | string])[] = [
  [
    'text',
    text,
    [clear, redact, clear],
    Buffer.from('1\tsec\\tret\\\\\tx\n\\N\t\\N\t\\N\n2\t\ty\\\nz\n'.replace('\\\nz', '\\nz')),
    '1\t[masked]\tx\n\\N\t\\N\t\\N\n2\t[masked]\ty\\nz\n',
  ],
  [
    'text, a delimiter in a value',
    { ...text, delimiter: '|' },
    [redact, clear],
    Buffer.from('a\\|b|c\\|d\n'),
    '[masked]|c\\|d\n',
  ],
  [
    'text, what is found',
    text,
    [detect, clear],
    Buffer.from('to a@example.org\\tnow\tb\n'),
    'to [masked:email]\\tnow\tb\n',
  ],
  ['text with a header', { ...text, header: true }, [redact], Buffer.from('name\nvalue\n'), 'name\n[masked]\n'],
  [
    'csv',
    csv,
    [redact, clear],
    Buffer.from('"a\n""b"",",1\n,2\n"",3\nx,"y\n"\n'),
    '"[masked]",1\n,2\n"[masked]",3\n[masked],"y\n"\n',
  ],
  [
    'csv with another escape',
    { ...csv, escape: '\\', quote: "'" },
    [redact, clear],
    Buffer.from("'a\\'\n\\\\',1\nb\\,'c\\'\n'\n"),
    "'[masked]',1\n[masked],'c\\'\n'\n",
  ],
  ['csv, a part of a value', csv, [partial], Buffer.from('"some ""text"" that, is long"\n'), /^(?!.*that, is)/s],
  [
    'binary',
    binary,
    [clear, redact],
    Buffer.concat([binaryHead, tuple('a', 'secret'), tuple(null, null), tuple('', ''), trailer]),
    Buffer.concat([binaryHead, tuple('a', '[masked]'), tuple(null, null), tuple('', '[masked]'), trailer]).toString(
      'latin1',
    ),
  ],
]

/** As CopyAttributeOutText and CopyAttributeOutCSV write it (src/backend/commands/copyto.c). */
function written(format: CopyFormat, value: string | null): string {
  if (value === null) return format.nullText
  if (format.format === 'csv') {
    const plain =
      value !== format.nullText &&
      !/[\r\n]/.test(value) &&
      ![format.delimiter, format.quote].some(each => value.includes(each))
    const escaped = Array.from(value).map(
      each => (each === format.quote || each === format.escape ? format.escape : '') + each,
    )
    return plain ? value : `${format.quote}${escaped.join('')}${format.quote}`
  }
  const letters: Readonly<Record<string, string>> = { '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v' }
  return Array.from(value)
    .map(each => {
      const letter = letters[each]
      if (letter !== undefined) return `\\${letter}`
      return each === '\\' || each === format.delimiter ? `\\${each}` : each
    })
    .join('')
}

const anything = fc.option(fc.string({ unit: fc.constantFrom(...Array.from('ab,|\t"\'\\\n\rN.')), maxLength: 8 }))

describe('a copy', () => {
  test.each([
    ['text', text],
    ['text, another delimiter', { ...text, delimiter: '|', nullText: 'nil' }],
    ['csv', csv],
    ['csv with another escape', { ...csv, escape: '\\', quote: "'" }],
  ] as const)('%s of anything: only what is masked changes', (_, format) => {
    const row = (values: readonly (string | null)[]) =>
      `${values.map(each => written(format, each)).join(format.delimiter)}\n`
    fc.assert(
      fc.property(
        fc.array(fc.tuple(anything, anything, anything)),
        fc.array(fc.nat(), { maxLength: 6 }),
        (rows, cuts) => {
          const marker = (value: string | null) => {
            if (value === null) return format.nullText
            return written(format, value).startsWith(format.quote) && format.format === 'csv'
              ? `${format.quote}[masked]${format.quote}`
              : '[masked]'
          }
          const expected = rows.map(([first, second, third]) =>
            [written(format, first), marker(second), written(format, third)].join(format.delimiter),
          )
          expect(masked(format, [clear, redact, clear], split(Buffer.from(rows.map(row).join('')), cuts))).toBe(
            expected.map(each => `${each}\n`).join(''),
          )
        },
      ),
      { numRuns: 300 },
    )
  })

  test.each(cases)('%s', (_, format, plan, content, expected) => {
    expect(masked(format, plan, [content])).toEqual(
      typeof expected === 'string' ? expected : expect.stringMatching(expected),
    )
  })

  test.each(cases)('%s: cut anywhere, the same', (_, format, plan, content) => {
    const whole = masked(format, plan, [content])
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 12 }), cuts => {
        expect(masked(format, plan, split(content, cuts))).toBe(whole)
      }),
    )
    expect(
      masked(
        format,
        plan,
        Array.from(content, byte => Buffer.of(byte)),
      ),
    ).toBe(whole)
  })

  test.each<[string, CopyFormat, Buffer]>([
    ['a row of fewer columns', text, Buffer.from('1\n')],
    ['a row of more columns', text, Buffer.from('1\t2\t3\n')],
    ['csv of more columns', csv, Buffer.from('1,2,3\n')],
    ['a row without an end', text, Buffer.from('1\t2')],
    ['quotes without an end', csv, Buffer.from('1,"2\n')],
    ['no signature', binary, Buffer.alloc(40)],
    ['a tuple of other columns', binary, Buffer.concat([binaryHead, tuple('a'), trailer])],
    ['a length below -1', binary, Buffer.concat([binaryHead, Buffer.of(0, 2), int32(-2), int32(-1), trailer])],
    ['no trailer', binary, Buffer.concat([binaryHead, tuple('a', 'b')])],
    ['bytes behind the trailer', binary, Buffer.concat([binaryHead, trailer, Buffer.of(0)])],
    [
      'flags that are not known',
      binary,
      Buffer.concat([binaryHead.subarray(0, 11), int32(0x10000), int32(0), trailer]),
    ],
  ])('%s is not passed on', (_, format, content) => {
    expect(() => masked(format, [clear, redact], [content])).toThrow(/postgres/)
  })

  test.each<[Partial<CopyFormat>]>([
    [{ nullText: 'é' }],
    [{ nullText: '\\' }],
    [{ nullText: 'a\tb' }],
    [{ delimiter: '€' }],
    [{ delimiter: '' }],
    [{ format: 'csv', quote: '\t' }],
    [{ format: 'csv', quote: '«' }],
    [{ format: 'csv', nullText: '"' }],
  ])('%j is refused', changes => {
    expect(copyRefusal({ ...text, ...changes })).toMatch(/^(its|what) /)
  })

  test('the usual formats are not', () => {
    for (const format of [text, csv, binary]) expect(copyRefusal(format)).toBeUndefined()
  })

  test('of a type that is not known NULL remains', () => {
    expect(masked(text, [clear, redact], [Buffer.from('a\tb\n')], 23)).toBe('a\t\\N\n')
    expect(masked(csv, [clear, redact], [Buffer.from('a,"b"\n')], 600)).toBe('a,\n')
  })
})
