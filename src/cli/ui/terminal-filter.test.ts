import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TerminalFilter, type FilterMode } from './terminal-filter.ts'

const filtered = (mode: FilterMode, text: string) => new TerminalFilter(mode).push(Buffer.from(text))

describe('a recorded terminal on a screen', () => {
  it.each([
    [
      'colours and cursor stay',
      '\u001b[1;31mred\u001b[0m\u001b[2;5Hx\u001b[K',
      '\u001b[1;31mred\u001b[0m\u001b[2;5Hx\u001b[K',
    ],
    ['true colour stays', '\u001b[38:2::1:2:3mx', '\u001b[38:2::1:2:3mx'],
    ['the alternate screen stays', '\u001b[?1049hx\u001b[?25l', '\u001b[?1049hx\u001b[?25l'],
    ['line drawing stays', '\u001b(0lqk\u001b(B', '\u001b(0lqk\u001b(B'],
    ['titles go', '\u001b]0;owned\u0007x', 'x'],
    ['the clipboard goes', '\u001b]52;c;cm0gLXJmIC8=\u001b\\x', 'x'],
    ['links go, their text stays', '\u001b]8;;http://evil\u001b\\text\u001b]8;;\u001b\\', 'text'],
    ['device strings go', '\u001bP+q544e\u001b\\x\u001b_hidden\u001b\\y\u001b^also\u001b\\z', 'xyz'],
    [
      'questions that the terminal would answer go',
      '\u001b[6n\u001b[c\u001b[>c\u001b[5n\u001bZ\u001b[21t\u001b[?1$px',
      'x',
    ],
    ['mouse reports and bracketed paste go', '\u001b[?1000h\u001b[?1006h\u001b[?2004hx', 'x'],
    ['modes mixed with others go as a whole', '\u001b[?25;1000hx', 'x'],
    ['repeating goes', 'a\u001b[99999999bx', 'ax'],
    ['a full reset goes', '\u001bcx', 'x'],
    ['C1 controls go', 'a\u009b6nb\u0090c', 'a6nbc'],
    ['bidi and invisible marks go', 'a\u202eb\u2066c\u200bd\u{e0041}', 'abcd'],
    ['bells and other controls go', 'a\u0007b\u0000c\u000ed', 'abcd'],
  ])('%s', (_, text, expected) => {
    expect(filtered('screen', text)).toBe(expected)
  })

  it('ends a string that never ends with nothing, and keeps no memory of it', () => {
    const filter = new TerminalFilter('screen')
    for (let count = 0; count < 1000; count++) expect(filter.push(Buffer.from('\u001b]0;' + 'x'.repeat(1000)))).toBe('')
  })

  it('leaves the alternate screen only where the recording was in it', () => {
    const filter = new TerminalFilter('screen')
    expect(filter.reset()).not.toContain('1049')
    filter.push(Buffer.from('\u001b[?1049h'))
    expect(filter.reset()).toContain('\u001b[?1049l')
  })
})

describe('a recorded terminal as text', () => {
  it.each([
    ['escapes go', '\u001b[31mred\u001b[0m\u001b]0;t\u0007!', 'red!'],
    ['line ends are one', 'a\r\nb\nc\r\r\nd', 'a\nb\nc\nd'],
    ['what is written over stays', '10 %\r20 %\r\n', '10 %\n20 %\n'],
    ['tabs stay, backspaces go', 'a\tb\bc', 'a\tbc'],
  ])('%s', (_, text, expected) => {
    expect(filtered('plain', text)).toBe(expected)
  })
})

describe('any bytes', () => {
  const bytes = fc.array(
    fc.oneof(
      fc.constantFrom('\u001b', '[', ']', 'P', '?', '1', ';', 'h', 'm', 'n', '\u0007', '\\', '\r', '\n', '\u009b', 'é'),
      fc.string({ unit: 'binary', maxLength: 3 }),
    ),
    { maxLength: 60 },
  )

  it('give the same at any split, and no sequence but the harmless', () => {
    const harmless =
      /^(?:[^\u0000-\u0007\u000b\u000c\u000e-\u001f\u007f-\u009f]|\u001b\[[\d;:]*[ABCDEFGHJKLMPSTX@dfmrsu]|\u001b\[\?(?:7|12|25|47|1047|1049)(?:;(?:7|12|25|47|1047|1049))*[hl]|\u001b[78DME]|\u001b\([B0])*$/u
    fc.assert(
      fc.property(bytes, fc.nat(200), (pieces, cut) => {
        const all = Buffer.from(pieces.join(''))
        const whole = new TerminalFilter('screen').push(all)
        const parts = new TerminalFilter('screen')
        expect(parts.push(all.subarray(0, cut)) + parts.push(all.subarray(cut))).toBe(whole)
        expect(whole).toMatch(harmless)
        expect(new TerminalFilter('plain').push(all)).not.toContain('\u001b')
      }),
      { numRuns: 2000 },
    )
  })
})
