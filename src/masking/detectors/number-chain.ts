import { classOf, digit, type Window, word } from './window.ts'

const maxGroups = 8
const maxGroupDigits = 20
const space = 0x20
const dash = 0x2d
const dot = 0x2e
const slash = 0x2f
const open = 0x28
const close = 0x29

/**
 * Groups of digits with one separator between each, from a given start: `4111 1111 1111 1111`, `078-05-1120`. One object
 * is used again and again; it holds what the last `read` found.
 */
export class NumberChain {
  readonly starts = new Int32Array(maxGroups)
  readonly ends = new Int32Array(maxGroups)
  /** The byte before each group; the first has none. */
  readonly separators = new Int32Array(maxGroups)
  groups = 0
  digits = 0
  /** What follows makes it part of something longer: a letter, one more group, a decimal point. */
  goesOn = false

  /** Reads from the digit at `start`. What follows the last group is told apart by `goesOn`. */
  read(window: Window, start: number): void {
    this.groups = 0
    this.digits = 0
    this.goesOn = false
    const { bytes, end: limit } = window
    let at = start
    let separator = 0
    for (;;) {
      let end = at
      while (end < limit && end - at < maxGroupDigits && isDigit(bytes[end] ?? 0)) end++
      this.starts[this.groups] = at
      this.ends[this.groups] = end
      this.separators[this.groups] = separator
      this.groups++
      this.digits += end - at
      separator = window.peek(end, start)
      if (separator < 0) return
      if (((classOf[separator] ?? 0) & word) !== 0) {
        this.goesOn = true
        return
      }
      if (!isSeparator(separator)) return
      let next = end + 1
      const second = window.peek(next, start)
      if ((separator === close && second === space) || (separator === space && second === open)) next++
      if (!isDigit(window.peek(next, start))) return
      if (this.groups === maxGroups) {
        this.goesOn = true
        return
      }
      at = next
    }
  }

  length(group: number): number {
    return (this.ends[group] ?? 0) - (this.starts[group] ?? 0)
  }

  start(group: number): number {
    return this.starts[group] ?? 0
  }

  end(group: number): number {
    return this.ends[group] ?? 0
  }

  /** Whether the groups have these lengths, and `separator` (a byte, -1 for any one) between them all. */
  is(lengths: readonly number[], separator: number): boolean {
    if (this.groups < lengths.length) return false
    const expected = separator === -1 ? (this.separators[1] ?? 0) : separator
    for (const [group, length] of lengths.entries())
      if (this.length(group) !== length || (group > 0 && this.separators[group] !== expected)) return false
    return true
  }

  /** Whether nothing that counts follows the first `groups` groups. */
  endsAfter(groups: number): boolean {
    return this.groups === groups && !this.goesOn
  }

  /** The digits of the first `groups` groups. */
  text(window: Window, groups: number): string {
    let text = ''
    for (let group = 0; group < groups; group++) text += window.text(this.start(group), this.end(group))
    return text
  }
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39
}

/** What people write between the groups of one number. */
export function isSeparator(byte: number): boolean {
  return byte === space || byte === dash || byte === dot || byte === slash || byte === close
}

/** Whether a number at `start` stands on its own to its left: no letter, no digit with a point or dash between. */
export function standsAlone(window: Window, start: number): boolean {
  if (window.is(start - 1, word)) return false
  const before = window.at(start - 1)
  return !((before === dot || before === dash) && window.is(start - 2, digit))
}

/** Luhn's check over digits (ISO/IEC 7812-1 annex B). */
export function passesLuhn(digits: string): boolean {
  let sum = 0
  for (let index = digits.length - 1, twice = false; index >= 0; index--, twice = !twice) {
    const value = digits.charCodeAt(index) - 0x30
    sum += twice ? (value > 4 ? 2 * value - 9 : 2 * value) : value
  }
  return sum % 10 === 0
}
