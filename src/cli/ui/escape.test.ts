import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { escapeLine, escapeLines, flatten } from './escape.ts'

describe('text from outside', () => {
  it.each([
    ['an escape sequence', 'a\u001b[2Jb', 'a\\x1b[2Jb'],
    ['a C1 control', 'a\u009b31mb', 'a\\x9b31mb'],
    ['a bell', '\u0007', '\\x07'],
    ['a carriage return', 'select 1\rdrop', 'select 1\\rdrop'],
    ['a line break', 'a\nb', 'a\\nb'],
    ['a right-to-left override', 'a\u202eb', 'a\\u202eb'],
    ['an isolate', '\u2066x\u2069', '\\u2066x\\u2069'],
    ['zero width', 'pay\u200bments', 'pay\\u200bments'],
    ['a line separator', 'a\u2028b', 'a\\u2028b'],
    ['a tag character', 'a\u{e0041}b', 'a\\u{e0041}b'],
    ['a lone surrogate', 'a\ud800b', 'a\\ud800b'],
    ['a soft hyphen', 'a\u00adb', 'a\\xadb'],
    ['letters of any script', 'naïve Ωμέγα 漢字 🙂', 'naïve Ωμέγα 漢字 🙂'],
  ])('shows %s', (_, text, shown) => {
    expect(escapeLine(text)).toBe(shown)
  })

  it('never lets a control through', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ min: 0, max: 0x10ffff }).map(code => String.fromCodePoint(code)) }),
        text => {
          for (const line of [escapeLine(text), flatten(text), ...escapeLines(text)])
            expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/)
        },
      ),
    )
  })

  it('keeps lines and widens tabs where several are shown', () => {
    expect(escapeLines('a\n\tb\r\nc')).toEqual(['a', '    b', 'c'])
  })

  it('makes one line of a statement', () => {
    expect(flatten('  select 1\n\t from   orders ')).toBe('select 1 from orders')
  })
})
