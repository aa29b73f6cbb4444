import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeyReader, type Key } from './keys.ts'

const read = (...chunks: string[]): Key[] => {
  const reader = new KeyReader()
  return chunks.flatMap(chunk => reader.push(chunk))
}
const anyText = fc.string({ unit: fc.integer({ min: 0, max: 0x10ffff }).map(code => String.fromCodePoint(code)) })
const named = (name: string) => ({ kind: 'named', name })

describe('KeyReader', () => {
  it.each([
    ['up', '\u001b[A', named('up')],
    ['up in application mode', '\u001bOA', named('up')],
    ['end', '\u001b[F', named('end')],
    ['end on rxvt', '\u001b[8~', named('end')],
    ['delete', '\u001b[3~', named('delete')],
    ['backspace', '\u007f', named('backspace')],
    ['enter', '\r', named('enter')],
    ['word right', '\u001b[1;5C', named('word-right')],
    ['alt-b', '\u001bb', named('word-left')],
    ['ctrl-s', '\u0013', { kind: 'control', letter: 's' }],
    ['a letter', 'a', { kind: 'character', text: 'a', alone: true }],
    ['a letter beyond the BMP', '🙂', { kind: 'character', text: '🙂', alone: true }],
  ])('reads %s', (_, sequence, key) => {
    expect(read(sequence)).toEqual([key])
  })

  it('says of keys that came together that they were not pressed alone', () => {
    expect(read('ab')).toEqual([
      { kind: 'character', text: 'a', alone: false },
      { kind: 'character', text: 'b', alone: false },
    ])
    expect(read('\ra')).toEqual([named('enter'), { kind: 'character', text: 'a', alone: false }])
  })

  it('keeps what is pasted apart from what is typed, however it is cut', () => {
    const whole = '\u001b[200~yes\ra\u001b[31m\u001b[201~'
    for (let cut = 1; cut < whole.length; cut++)
      expect(read(whole.slice(0, cut), whole.slice(cut)), `cut at ${cut}`).toEqual([
        { kind: 'paste', text: 'yes\na\u001b[31m' },
      ])
  })

  it('waits for the rest of a sequence, and takes a lone escape for the key', () => {
    const reader = new KeyReader()
    expect(reader.push('\u001b')).toEqual([])
    expect(reader.pending).toBe('escape')
    expect(reader.flush()).toEqual([named('escape')])
    expect(reader.push('\u001b[')).toEqual([])
    expect(reader.push('A')).toEqual([named('up')])
  })

  it('ignores sequences that are no key, such as a terminal’s own answers', () => {
    expect(read('\u001b[?62;4c')).toEqual([])
    expect(read('\u001b[24;80R')).toEqual([])
    expect(read('\u001b[I')).toEqual([])
  })

  it('gives the same keys at any split between keys', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', '\r', '\u001b[A', '\u0003', 'ß', '\u001b[3~')), sequences => {
        const kinds = (keys: Key[]) => keys.map(key => ({ ...key, alone: undefined }))
        expect(kinds(read(...sequences))).toEqual(kinds(read(sequences.join(''))))
      }),
    )
  })

  it('takes any bytes without throwing or holding on to them', () => {
    fc.assert(
      fc.property(fc.array(anyText), chunks => {
        const reader = new KeyReader()
        for (const chunk of chunks) reader.push(chunk)
        reader.flush()
        expect(reader.pending).toBe('nothing')
        expect(reader.push('x')).toEqual([{ kind: 'character', text: 'x', alone: true }])
      }),
    )
  })
})
