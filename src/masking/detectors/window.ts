export const digit = 1
export const upper = 2
export const lower = 4
/** Joins the parts of one token: `_ - + /`. */
export const joint = 8
/** `@`, and `%` as its encoding `%40` begins. */
export const sign = 16
/** May open a phone number: `(`; `+` is a joint too. */
export const opening = 32
/** A byte of a character beyond ASCII. */
export const wide = 64
export const word = digit | upper | lower
/** Between a name and what it names: `"phone" : "` */
const maxGapBytes = 12
const maxNameBytes = 24

/** What each byte may be part of. */
export const classOf: Uint8Array = new Uint8Array(256)
for (let byte = 0x30; byte <= 0x39; byte++) classOf[byte] = digit
for (let byte = 0x41; byte <= 0x5a; byte++) classOf[byte] = upper
for (let byte = 0x61; byte <= 0x7a; byte++) classOf[byte] = lower
for (const byte of Buffer.from('_-/')) classOf[byte] = joint
classOf[0x2b] = joint | opening
classOf[0x28] = opening
classOf[0x40] = sign
classOf[0x25] = sign
for (let byte = 0x80; byte <= 0xff; byte++) classOf[byte] = wide

/**
 * The bytes that matchers look at. A matcher that would have to know what comes behind `end` says so by `peek`: in a
 * stream, everything from where it began is then looked at again with what comes next.
 */
export class Window {
  bytes: Buffer = Buffer.alloc(0)
  /** Nothing before this may be read. */
  floor = 0
  /** Findings begin here or later. */
  start = 0
  end = 0
  /** From here on nothing is certain before more bytes are known. */
  undecided = 0
  /** By charset: up to where the run that was last looked at goes, so that nobody walks it twice. */
  readonly #runEnds = new Int32Array(32)
  #hasRunEnds = false

  set(bytes: Buffer, floor: number, start: number, end: number): void {
    this.bytes = bytes
    this.floor = floor
    this.start = start
    this.end = end
    this.undecided = end
    this.#hasRunEnds = false
  }

  runEnd(charset: number): number {
    return this.#hasRunEnds ? (this.#runEnds[charset] ?? 0) : this.start
  }

  setRunEnd(charset: number, end: number): void {
    if (!this.#hasRunEnds) this.#runEnds.fill(this.start)
    this.#hasRunEnds = true
    this.#runEnds[charset] = end
  }

  /** The byte at `index`, -1 before the beginning or behind the end. */
  at(index: number): number {
    return index < this.floor || index >= this.end ? -1 : (this.bytes[index] ?? -1)
  }

  /** The same for a matcher that began at `start` and cannot tell without this byte. */
  peek(index: number, start: number): number {
    if (index < this.end) return this.bytes[index] ?? -1
    if (start < this.undecided) this.undecided = start
    return -1
  }

  is(index: number, classes: number): boolean {
    const byte = this.at(index)
    return byte >= 0 && ((classOf[byte] ?? 0) & classes) !== 0
  }

  peekIs(index: number, classes: number, start: number): boolean {
    const byte = this.peek(index, start)
    return byte >= 0 && ((classOf[byte] ?? 0) & classes) !== 0
  }

  /** The digit at `index`, which must be one. */
  digit(index: number): number {
    return (this.bytes[index] ?? 0x30) - 0x30
  }

  text(start: number, end: number): string {
    return this.bytes.toString('latin1', start, end)
  }

  /**
   * Whether the few bytes before `index` name what follows: a word that `pattern` knows, which ends in one of `lastLetters`
   * (in lower case), and no other letter behind it.
   */
  isNamed(index: number, lastLetters: string, pattern: RegExp): boolean {
    // Mostly the nearest letter is none of those, or far away.
    for (let at = index - 1; at >= this.floor && index - at <= maxGapBytes; at--) {
      const byte = this.bytes[at] ?? 0
      if (((classOf[byte] ?? 0) & (upper | lower)) === 0) continue
      if (!lastLetters.includes(String.fromCharCode(byte | 0x20))) return false
      return pattern.test(this.text(Math.max(this.floor, at + 1 - maxNameBytes), at + 1))
    }
    return false
  }

  /** The up to `length` bytes before `index`. */
  before(index: number, length: number): string {
    return this.text(Math.max(this.floor, index - length), index)
  }
}
