import { stripVTControlCharacters } from 'node:util'
import stringWidth from 'string-width'

/** Columns that a text takes on a terminal; colours take none. */
export function widthOf(text: string): number {
  return stringWidth(text)
}

/** At most `width` columns, the rest as `…`. Plain text only: colour it afterwards. */
export function truncate(text: string, width: number): string {
  if (text.length <= width && isAscii(text)) return text
  if (widthOf(text) <= width) return text
  if (width < 1) return ''
  let kept = ''
  let used = 0
  for (const segment of graphemes(text)) {
    const columns = widthOf(segment)
    if (used + columns > width - 1) break
    kept += segment
    used += columns
  }
  return `${kept}…`
}

/** As `truncate`, for a line that holds colours: these go where it must be cut. */
export function fit(line: string, width: number): string {
  return widthOf(line) <= width ? line : truncate(stripVTControlCharacters(line), width)
}

export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)))
}

export function padStart(text: string, width: number): string {
  return ' '.repeat(Math.max(0, width - widthOf(text))) + text
}

/** Cuts plain text into lines of at most `width` columns, at blanks where there are any; nothing is lost but those. */
export function wrap(text: string, width: number): string[] {
  const room = Math.max(1, width)
  const lines: string[] = []
  let line = ''
  let used = 0
  let lastBlank = -1 // where `line` may be cut
  for (const segment of graphemes(text)) {
    const columns = widthOf(segment)
    if (used + columns > room && line !== '') {
      if (segment === ' ') {
        lines.push(line)
        line = ''
        used = 0
        lastBlank = -1
        continue
      }
      const rest = lastBlank > 0 ? line.slice(lastBlank + 1) : ''
      lines.push(lastBlank > 0 ? line.slice(0, lastBlank) : line)
      line = rest
      used = widthOf(rest)
      lastBlank = -1
    }
    if (segment === ' ' && line.trim() !== '') lastBlank = line.length
    line += segment
    used += columns
  }
  lines.push(line)
  return lines
}

/** What a person sees as one character each. */
export function graphemes(text: string): string[] {
  return isAscii(text) ? text.split('') : Array.from(segmenter.segment(text), ({ segment }) => segment)
}

const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7e) return false
  return true
}
