import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TextBuffer } from './text-buffer.ts'

/** The text with `|` where the cursor is. */
function shown(buffer: TextBuffer): string {
  return buffer.lines
    .map((line, row) => (row === buffer.row ? `${line.slice(0, buffer.column)}|${line.slice(buffer.column)}` : line))
    .join('\n')
}

const at = (marked: string): TextBuffer => {
  const [before = '', after = ''] = marked.split('|')
  let buffer = TextBuffer.of(before + after)
  for (let row = 1; row < before.split('\n').length; row++) buffer = buffer.down()
  buffer = buffer.home()
  for (let index = 0; index < (before.split('\n').at(-1) ?? '').length; index++) buffer = buffer.right()
  return buffer
}

describe('TextBuffer', () => {
  it.each<[string, string, (buffer: TextBuffer) => TextBuffer, string]>([
    ['types', 'ab|cd', b => b.insert('X'), 'abX|cd'],
    ['breaks a line', 'ab|cd', b => b.insert('\n'), 'ab\n|cd'],
    ['pastes several lines', 'a|b', b => b.insert('1\r\n2\n3'), 'a1\n2\n3|b'],
    ['deletes backwards', 'ab|c', b => b.backspace(), 'a|c'],
    ['joins lines backwards', 'ab\n|cd', b => b.backspace(), 'ab|cd'],
    ['joins lines forwards', 'ab|\ncd', b => b.delete(), 'ab|cd'],
    ['deletes nothing at the end', 'ab|', b => b.delete(), 'ab|'],
    ['kills to the end of the line', 'ab|cd\nef', b => b.killLine(), 'ab|\nef'],
    ['kills a word', 'select from|', b => b.killWord(), 'select |'],
    ['goes over a line’s end', 'ab|\ncd', b => b.right(), 'ab\n|cd'],
    ['goes up to a shorter line', 'a\nbcd|', b => b.up(), 'a|\nbcd'],
    ['goes by words', '|where id = 5', b => b.wordRight().wordRight(), 'where id| = 5'],
    ['stays at the start', '|ab', b => b.left().up().backspace(), '|ab'],
  ])('%s', (_, before, change, after) => {
    expect(shown(change(at(before)))).toBe(after)
  })

  it('treats what a person sees as one character as one', () => {
    const family = '👩‍👩‍👧'
    expect(TextBuffer.of('').insert(`a${family}`).backspace().text).toBe('a')
  })

  it('keeps its cursor inside the text, whatever is done', () => {
    const steps: ((buffer: TextBuffer) => TextBuffer)[] = [
      b => b.insert('x'),
      b => b.insert('\n'),
      b => b.insert('漢 z'),
      b => b.backspace(),
      b => b.delete(),
      b => b.left(),
      b => b.right(),
      b => b.up(),
      b => b.down(),
      b => b.home(),
      b => b.end(),
      b => b.wordLeft(),
      b => b.wordRight(),
      b => b.killLine(),
      b => b.killWord(),
    ]
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...steps)), taken => {
        const buffer = taken.reduce((now, change) => change(now), TextBuffer.of('one\ntwo three'))
        expect(buffer.row).toBeLessThan(buffer.lines.length)
        expect(buffer.column).toBeLessThanOrEqual(buffer.lines[buffer.row]!.length)
      }),
    )
  })
})
