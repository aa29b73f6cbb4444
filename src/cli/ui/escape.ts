// What a terminal would act on or reorder rather than show: C0 and C1 controls, DEL, bidirectional marks and isolates
// (UAX #9 §2), zero-width and line-separating characters, tag characters, lone surrogates. Text from outside (SQL, host
// names, reasons) passes here before it meets a terminal.

const unshowable =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu

/** One line, safe to show: line breaks and tabs become `\n` and `\t` as they are written in code. */
export function escapeLine(text: string): string {
  return text.replace(unshowable, escapeOne)
}

/** Several lines, safe to show: line breaks stay, a tab becomes four blanks. */
export function escapeLines(text: string): string[] {
  return text.split(/\r\n|\n/).map(line => escapeLine(line.replaceAll('\t', '    ')))
}

/** A statement on one line, as a list shows it: runs of white space are one blank. */
export function flatten(text: string): string {
  return escapeLine(text.replace(/[ \t\r\n]+/g, ' ').trim())
}

function escapeOne(character: string): string {
  switch (character) {
    case '\n':
      return '\\n'
    case '\r':
      return '\\r'
    case '\t':
      return '\\t'
    default: {
      const code = character.codePointAt(0) ?? 0
      if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`
      return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`
    }
  }
}
