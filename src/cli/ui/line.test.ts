import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { truncate, widthOf, wrap } from './line.ts'

describe('wrap', () => {
  it('breaks at blanks, and words only where they are too long', () => {
    expect(wrap('select id from orders', 12)).toEqual(['select id', 'from orders'])
    expect(wrap('aaaaaaaaaa', 4)).toEqual(['aaaa', 'aaaa', 'aa'])
    expect(wrap('  indented text', 10)).toEqual(['  indented', 'text'])
    expect(wrap('', 10)).toEqual([''])
  })

  it('loses nothing but blanks and keeps to the width', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 8, max: 30 }), (text, width) => {
        const lines = wrap(text, width)
        expect(lines.join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''))
        for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width)
      }),
    )
  })
})

describe('truncate', () => {
  it.each([
    ['short', 10, 'short'],
    ['exactly ten', 11, 'exactly ten'],
    ['too long for it', 8, 'too lon…'],
    ['漢字漢字', 5, '漢字…'],
    ['x', 0, ''],
  ])('%s in %d columns is %s', (text, width, expected) => {
    expect(truncate(text, width)).toBe(expected)
  })
})
