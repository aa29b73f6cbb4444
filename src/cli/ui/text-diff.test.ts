import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { diffLines } from './text-diff.ts'

describe('diffLines', () => {
  it('says what was removed and what was added', () => {
    const signs = { same: ' ', removed: '-', added: '+' }
    const shown = diffLines('update t\nset a = 1\nwhere id = $1', 'update t\nset a = 1\nwhere id = $1\n  and b')
    expect(shown.map(({ kind, text }) => signs[kind] + text)).toEqual([
      ' update t',
      ' set a = 1',
      ' where id = $1',
      '+  and b',
    ])
  })

  it('holds exactly the old text and the new one', () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c', ''), { minLength: 1 }).map(lines => lines.join('\n'))
    fc.assert(
      fc.property(text, text, (before, after) => {
        const diff = diffLines(before, after)
        const side = (other: string) => diff.filter(line => line.kind !== other).map(line => line.text)
        expect(side('added').join('\n')).toBe(before)
        expect(side('removed').join('\n')).toBe(after)
      }),
    )
  })
})
