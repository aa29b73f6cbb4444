const backslash = 0x5c
const shortest: Readonly<Record<string, number>> = { b: 8, f: 12, n: 10, r: 13, t: 9 }

/**
 * JSON with its escapes taken off, to be looked at; positions lead back to the bytes as they are. A backslash is only
 * ever within a string, so this needs no parser.
 */
export class UnescapedJson {
  readonly text: Buffer
  /** Of each escape: where it is in `raw`, behind it in `raw`, where it is in `text`, behind it in `text`. */
  readonly #escapes: readonly (readonly [number, number, number, number])[]
  readonly #start: number

  private constructor(text: Buffer, escapes: readonly (readonly [number, number, number, number])[], start: number) {
    this.text = text
    this.#escapes = escapes
    this.#start = start
  }

  /** Reads from `start` to `end`, at which no escape may be cut in two. */
  static read(raw: Buffer, start: number, end: number): UnescapedJson {
    let at = raw.indexOf(backslash, start)
    if (at < 0 || at >= end) return new UnescapedJson(raw.subarray(start, end), [], start)
    const text = Buffer.allocUnsafe(end - start)
    const escapes: [number, number, number, number][] = []
    let copied = start
    let length = 0
    while (at >= 0 && at < end) {
      length += raw.copy(text, length, copied, at)
      const rawEnd = Math.min(at + (hexDigits(raw, at, end) === 4 ? 6 : 2), end)
      const before = length
      length = writeCharacter(raw, at, rawEnd, text, length)
      escapes.push([at, rawEnd, before, length])
      copied = rawEnd
      at = raw.indexOf(backslash, rawEnd)
    }
    length += raw.copy(text, length, copied, end)
    return new UnescapedJson(text.subarray(0, length), escapes, start)
  }

  /** Where a position of `text` is in `raw`; within an escape, where that begins. */
  toRaw(position: number): number {
    const index = this.#last(position, 2)
    const escape = this.#escapes[index]
    if (escape === undefined) return this.#start + position
    return position < escape[3] ? escape[0] : escape[1] + position - escape[3]
  }

  toText(rawPosition: number): number {
    const escape = this.#escapes[this.#last(rawPosition, 0)]
    if (escape === undefined) return rawPosition - this.#start
    return rawPosition < escape[1] ? escape[2] : escape[3] + rawPosition - escape[1]
  }

  /** The last escape that begins at or before a position, by the field that says where; -1 where there is none. */
  #last(position: number, field: 0 | 2): number {
    let low = 0
    let high = this.#escapes.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#escapes[middle]?.[field] ?? 0) <= position) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

function writeCharacter(raw: Buffer, at: number, end: number, out: Buffer, offset: number): number {
  const letter = String.fromCharCode(raw[at + 1] ?? backslash)
  if (end - at < 6) {
    out[offset] = shortest[letter] ?? letter.charCodeAt(0)
    return offset + 1
  }
  const code = Number.parseInt(raw.toString('latin1', at + 2, end), 16)
  // Halves of a pair are each a character to the detectors, which only need to know that they are no letters.
  return offset + out.write(String.fromCharCode(code), offset)
}

/** How many of the four digits of `\\uXXXX` there are at a backslash; -1 where it is another escape. */
function hexDigits(raw: Buffer, at: number, end: number): number {
  if (at + 1 >= end || raw[at + 1] !== 0x75) return -1
  let count = 0
  while (count < 4 && at + 2 + count < end && isHex(raw[at + 2 + count] ?? 0)) count++
  return count
}

function isHex(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66)
}

/** How many bytes at the end are the beginning of an escape. */
export function cutEscapeBytes(raw: Buffer): number {
  for (let at = raw.length - 1; at >= Math.max(0, raw.length - 5); at--) {
    if (raw[at] !== backslash) continue
    let first = at
    while (first > 0 && raw[first - 1] === backslash) first--
    // After an even number of them this one is only the second half of another.
    if ((at - first) % 2 === 1) return 0
    const length = raw.length - at
    const digits = hexDigits(raw, at, raw.length)
    return length < 2 || (digits >= 0 && digits < 4 && digits === length - 2) ? length : 0
  }
  return 0
}
