import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ProtocolError } from '../../../errors.ts'
import { Hasher } from '../../../masking/hasher.ts'
import type { MaskStrategy } from '../../../policy/action.ts'
import { Secret } from '../../../secret.ts'
import type { ColumnMask, MaskPlan } from './mask-plan.ts'
import { createRowMasker, type ResultField } from './result-masker.ts'

const hasher = new Hasher(new Secret('0123456789abcdef0123456789abcdef'))
const clear: ColumnMask = { kind: 'clear' }
const masked = (strategy: MaskStrategy): ColumnMask => ({ kind: 'mask', mask: 'contact data', with: strategy })
const redact = masked({ kind: 'redact' })

type Cell = Buffer | string | null

function dataRow(cells: readonly Cell[]): Buffer {
  const parts = cells.map(cell => {
    if (cell === null) return Buffer.from([255, 255, 255, 255])
    const bytes = Buffer.from(cell as string)
    const length = Buffer.alloc(4)
    length.writeInt32BE(bytes.length)
    return Buffer.concat([length, bytes])
  })
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(7)
  head.write('D')
  head.writeInt32BE(6 + body.length, 1)
  head.writeInt16BE(cells.length, 5)
  return Buffer.concat([head, body])
}

function readRows(bytes: Buffer): (Buffer | null)[][] {
  const rows: (Buffer | null)[][] = []
  for (let at = 0; at < bytes.length;) {
    expect(bytes.toString('latin1', at, at + 1)).toBe('D')
    const end = at + 1 + bytes.readInt32BE(at + 1)
    const row: (Buffer | null)[] = []
    let cell = at + 7
    for (let count = bytes.readInt16BE(at + 5); count > 0; count--) {
      const length = bytes.readInt32BE(cell)
      cell += 4
      row.push(length < 0 ? null : bytes.subarray(cell, cell + length))
      cell += Math.max(length, 0)
    }
    expect(cell).toBe(end)
    rows.push(row)
    at = end
  }
  return rows
}

const text = (name: string): ResultField => ({ name, typeOid: 25, format: 'text' })

function maskOne(strategy: MaskStrategy, typeOid: number, format: 'text' | 'binary', cell: Cell): Buffer | null {
  const masker = createRowMasker([masked(strategy)], [{ name: 'c', typeOid, format }], { hasher })
  return readRows(masker.mask(dataRow([cell])))[0]?.[0] ?? null
}

describe('rows', () => {
  it('passes what is clear as it came, the same buffer', () => {
    const rows = dataRow(['1', 'a@b.de'])
    expect(createRowMasker('clear', [text('a'), text('b')], { hasher }).mask(rows)).toBe(rows)
    expect(createRowMasker([clear, clear], [text('a'), text('b')], { hasher }).mask(rows)).toBe(rows)
  })

  it('replaces only masked columns, keeps NULL, over several rows in one call', () => {
    const masker = createRowMasker([clear, redact, clear], [text('id'), text('email'), text('note')], { hasher })
    const rows = Buffer.concat([
      dataRow(['1', 'ann@example.com', 'x']),
      dataRow(['2', null, null]),
      dataRow(['3', '', 'y']),
    ])
    expect(readRows(masker.mask(rows)).map(row => row.map(cell => cell?.toString() ?? null))).toEqual([
      ['1', '[masked]', 'x'],
      ['2', null, null],
      ['3', '[masked]', 'y'],
    ])
    expect(masker.maskedColumns).toEqual(['email'])
  })

  it('refuses a plan of another width', () => {
    expect(() => createRowMasker([redact], [text('a'), text('b')], { hasher })).toThrow('does not fit')
  })

  const good = dataRow(['one', 'two'])
  const damaged: [string, (bytes: Buffer) => Buffer][] = [
    ['another message', bytes => Buffer.concat([Buffer.from('C'), bytes.subarray(1)])],
    ['a cut frame', bytes => bytes.subarray(0, bytes.length - 1)],
    ['a cut head', bytes => bytes.subarray(0, 4)],
    ['a frame longer than its columns', bytes => patch(Buffer.concat([bytes, Buffer.from('x')]), 1, bytes.length)],
    ['a frame shorter than its head', bytes => patch(bytes, 1, 4)],
    ['a negative frame length', bytes => patch(bytes, 1, -8)],
    ['another number of columns', bytes => patch(bytes, 3, (bytes.readInt16BE(3) << 16) | 3)],
    ['a value longer than its frame', bytes => patch(bytes, 7, 1_000_000)],
    ['a value length of -2', bytes => patch(bytes, 7, -2)],
    ['a value that swallows the next length', bytes => patch(bytes, 7, 9)],
  ]
  function patch(bytes: Buffer, at: number, value: number): Buffer {
    const copy = Buffer.from(bytes)
    copy.writeInt32BE(value, at)
    return copy
  }
  it.each(damaged)('refuses %s', (_, damage) => {
    const masker = createRowMasker([clear, redact], [text('a'), text('b')], { hasher })
    expect(() => masker.mask(damage(good))).toThrow(ProtocolError)
    expect(() => masker.mask(Buffer.concat([good, damage(good)]))).toThrow(ProtocolError)
  })
})

describe('markers', () => {
  const uuid = '6f1c1a9e-1d0b-4a0e-9f3e-0123456789ab'
  const cases: [string, MaskStrategy, number, 'text' | 'binary', Cell, string | Buffer | null | RegExp][] = [
    ['text', { kind: 'redact' }, 25, 'binary', 'x', '[masked]'],
    ['varchar to NULL', { kind: 'null' }, 1043, 'text', 'x', null],
    ['text to a constant', { kind: 'constant', value: 'n/a' }, 25, 'text', 'x', 'n/a'],
    ['an address in part', { kind: 'partial' }, 25, 'text', 'maria@example.com', 'm***@e***.com'],
    ['an integer', { kind: 'redact' }, 23, 'text', '42', null],
    ['an integer in part', { kind: 'partial' }, 20, 'text', '4111111111111111', null],
    [
      'an integer to a constant',
      { kind: 'constant', value: '-7' },
      20,
      'binary',
      Buffer.alloc(8, 9),
      Buffer.from('fffffffffffffff9', 'hex'),
    ],
    ['an integer to no integer', { kind: 'constant', value: 'n/a' }, 23, 'text', '42', null],
    ['an integer out of range', { kind: 'constant', value: '40000' }, 21, 'text', '42', null],
    ['a truth value', { kind: 'constant', value: 'false' }, 16, 'binary', Buffer.from([1]), Buffer.from([0])],
    [
      'a numeric',
      { kind: 'constant', value: '-12345.6' },
      1700,
      'binary',
      Buffer.alloc(8),
      Buffer.from('0003000140000001' + '0001' + '0929' + '1770', 'hex'),
    ],
    [
      'a date',
      { kind: 'constant', value: '2000-01-02' },
      1082,
      'binary',
      Buffer.alloc(4, 9),
      Buffer.from('00000001', 'hex'),
    ],
    ['a date that does not exist', { kind: 'constant', value: '2001-02-29' }, 1082, 'text', '2020-01-01', null],
    [
      'a time stamp',
      { kind: 'constant', value: '2000-01-01 00:00:01' },
      1184,
      'binary',
      Buffer.alloc(8, 9),
      Buffer.from('00000000000f4240', 'hex'),
    ],
    ['a date, redacted', { kind: 'redact' }, 1082, 'text', '1970-05-05', null],
    ['json', { kind: 'redact' }, 114, 'text', '{"a":1}', '"[masked]"'],
    ['jsonb, binary', { kind: 'redact' }, 3802, 'binary', '\x01{"a":1}', '\x01"[masked]"'],
    ['jsonb, hashed', { kind: 'hash' }, 3802, 'binary', '\x01{"a":1}', /^\x01"h_[0-9a-f]{24}"$/],
    ['bytea, text', { kind: 'redact' }, 17, 'text', '\\xff', '\\x5b6d61736b65645d'],
    ['bytea, binary', { kind: 'redact' }, 17, 'binary', Buffer.from([255]), '[masked]'],
    ['text[]', { kind: 'redact' }, 1009, 'text', '{a}', '{"[masked]"}'],
    ['int[]', { kind: 'redact' }, 1007, 'text', '{1}', null],
    ['"char"', { kind: 'redact' }, 18, 'text', 'a', '*'],
    ['inet', { kind: 'redact' }, 869, 'text', '10.0.0.1', null],
    ['an enum or composite', { kind: 'redact' }, 16_500, 'text', '(a,b)', null],
    ['uuid', { kind: 'redact' }, 2950, 'text', uuid, null],
    [
      'uuid, hashed',
      { kind: 'hash' },
      2950,
      'text',
      uuid,
      /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    ],
  ]
  it.each(cases)('%s', (_, strategy, typeOid, format, cell, expected) => {
    const actual = maskOne(strategy, typeOid, format, cell)
    if (expected === null) expect(actual).toBeNull()
    else if (expected instanceof RegExp) expect(actual?.toString('latin1')).toMatch(expected)
    else expect(actual).toEqual(Buffer.from(expected as string))
  })

  it('hashes a uuid to the same in both formats', () => {
    const binary = maskOne({ kind: 'hash' }, 2950, 'binary', Buffer.from(uuid.replaceAll('-', ''), 'hex'))
    const plain = maskOne({ kind: 'hash' }, 2950, 'text', uuid)
    expect(binary?.toString('hex')).toBe(plain?.toString().replaceAll('-', ''))
  })

  it('knows text types of the database by their oid', () => {
    const fields: ResultField[] = [{ name: 'c', typeOid: 16_500, format: 'text' }]
    const masker = createRowMasker([redact], fields, { hasher, textOids: new Set([16_500]) })
    expect(readRows(masker.mask(dataRow(['a@b.de'])))[0]?.[0]?.toString()).toBe('[masked]')
  })
})

describe('detectors', () => {
  const look = (
    cell: Cell,
    typeOid: number,
    format: 'text' | 'binary' = 'text',
    strategy: MaskStrategy = { kind: 'redact' },
  ) => {
    const column: ColumnMask = {
      kind: 'detect',
      detectors: ['email', 'card-number', 'private-key'],
      mask: 'm',
      with: strategy,
    }
    const masker = createRowMasker([clear, column], [text('id'), { name: 'note', typeOid, format }], { hasher })
    const rows = Buffer.concat([dataRow(['ann@example.com', cell]), dataRow(['2', 'x'])])
    const shown = readRows(masker.mask(rows))
    expect(shown[0]?.[0]?.toString()).toBe('ann@example.com')
    expect(shown[1]?.[1]?.toString()).toBe('x')
    const value = shown[0]?.[1] ?? null
    expect(masker.maskedColumns).toEqual(
      value !== null && cell !== null && value.equals(Buffer.from(cell as string)) ? [] : ['note'],
    )
    return value?.toString('latin1') ?? null
  }
  const int8 = (value: bigint) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64BE(value)
    return bytes
  }
  it('within text', () => {
    expect(look('mail ann@example.com now', 25)).toBe('mail [masked:email] now')
    expect(look('mail nobody', 25)).toBe('mail nobody')
  })

  it('as each type can bear it', () => {
    expect(look('ann@example.com', 25, 'binary', { kind: 'partial' })).toBe('a***@e***.com')
    expect(look('ann@example.com', 25, 'text', { kind: 'null' })).toBeNull()
    expect(look('by ann@example.com', 25, 'text', { kind: 'null' })).toBe('by [masked:email]')
    expect(look('{"a":"x\\nann@example.com","b":4111111111111111}', 114)).toBe('{"a":"x\\n[masked:email]","b":null}')
    expect(look('\x01{"a":"ann@example.com"}', 3802, 'binary')).toBe('\x01{"a":"[masked:email]"}')
    expect(look('{x,"ann@example.com, y"}', 1009)).toBe('{x,"[masked:email], y"}')
    expect(look('{ann@example.com}', 1009, 'text', { kind: 'constant', value: 'a,b' })).toBeNull()
    expect(look('\0\0\0\x0fann@example.com', 1009, 'binary')).toBeNull()
    expect(look('(4,ann@example.com)', 16_400)).toBe('(4,[masked:email])')
    expect(look(`\\x${Buffer.from('ann@example.com').toString('hex')}`, 17)).toBeNull()
    expect(look(Buffer.from('\0ann@example.com'), 17, 'binary')).toBeNull()
    expect(look('4111111111111111', 20)).toBeNull()
    expect(look(int8(4111111111111111n), 20, 'binary')).toBeNull()
    expect(look(int8(1234n), 20, 'binary')).toBe(int8(1234n).toString('latin1'))
    expect(look(Buffer.from('0004000300000000' + '1010' + '0457' + '0457' + '0457', 'hex'), 1700, 'binary')).toBe(
      '\0\x04\0\x03\0\0\0\0\x10\x10\x04W\x04W\x04W',
    )
    expect(look(Buffer.from('0004000300000000' + '100f' + '0457' + '0457' + '0457', 'hex'), 1700, 'binary')).toBeNull()
    expect(look('{4111111111111111}', 1016)).toBeNull()
    expect(look('2026-11-21', 1082)).toBe('2026-11-21')
  })
})

describe('any plan, any rows', () => {
  const strategies = fc.constantFrom<MaskStrategy>(
    { kind: 'redact' },
    { kind: 'partial' },
    { kind: 'hash' },
    { kind: 'null' },
    { kind: 'constant', value: 'c'.repeat(200) },
    { kind: 'constant', value: '' },
  )
  const field = fc.record({
    mask: fc.option(strategies),
    typeOid: fc.constantFrom(25, 1043, 23, 114, 3802, 17, 2950, 1009, 16_400),
    format: fc.constantFrom('text' as const, 'binary' as const),
  })
  // Masked values are of bytes that no marker has, so that one in the output shows.
  const secret = fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes.map(byte => 0x01 + (byte % 3) * 5)))
  const open = fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes))

  it('keeps clear columns byte for byte and lets no masked byte through', () => {
    fc.assert(
      fc.property(
        fc.array(field, { maxLength: 8 }).chain(columns =>
          fc.record({
            columns: fc.constant(columns),
            rows: fc.array(fc.tuple(...columns.map(({ mask }) => fc.option(mask === null ? open : secret))), {
              minLength: 1,
              maxLength: 20,
            }),
          }),
        ),
        ({ columns, rows }) => {
          const plan: MaskPlan = columns.map(({ mask }) => (mask === null ? clear : masked(mask)))
          const fields = columns.map(({ typeOid, format }, index) => ({ name: `c${index}`, typeOid, format }))
          const result = readRows(createRowMasker(plan, fields, { hasher }).mask(Buffer.concat(rows.map(dataRow))))
          expect(result.length).toBe(rows.length)
          for (const [number, row] of rows.entries())
            for (const [index, cell] of row.entries()) {
              const shown = result[number]?.[index] ?? null
              if (cell === null) expect(shown).toBeNull()
              else if (columns[index]?.mask === null) expect(shown?.equals(cell)).toBe(true)
              else if (shown !== null) expect(cell.length > 1 && shown.includes(cell)).toBe(false)
            }
        },
      ),
      { numRuns: process.env['SLOW'] ? 20_000 : 500 },
    )
  })

  it('answers random bytes with rows or a ProtocolError', () => {
    const fields = [text('a'), text('b')]
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (bytes, typed) => {
        const rows = Buffer.from(bytes)
        if (typed && rows.length > 7) {
          rows.write('D')
          rows.writeInt32BE(rows.length - 1, 1)
          rows.writeInt16BE(2, 5)
        }
        try {
          createRowMasker([clear, redact], fields, { hasher }).mask(rows)
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
      }),
    )
  })
})
