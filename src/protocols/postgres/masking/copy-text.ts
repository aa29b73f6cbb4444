import { ProtocolError } from '../../../errors.ts'
import type { ColumnMasker } from './column-masker.ts'
import type { CopyContent, CopyFormat } from './copy-masker.ts'
import { Output, readInt32 } from './output.ts'

const newline = 0x0a
const carriageReturn = 0x0d
const backslash = 0x5c
/** A row's limit, as for a message: what is longer is no row of a server's. */
const maxRowBytes = 0x3fffffff

/** Where a byte comes next, looked for once: a native search costs a twentieth of a loop. */
class Next {
  readonly #byte: number
  #bytes: Buffer | undefined
  #from = 0
  #at = 0

  constructor(byte: number) {
    this.#byte = byte
  }

  /** The first at `from` or behind it; Infinity: none. */
  from(bytes: Buffer, from: number): number {
    if (bytes !== this.#bytes || from < this.#from || from > this.#at) {
      this.#bytes = bytes
      this.#from = from
      const at = bytes.indexOf(this.#byte, from)
      this.#at = at < 0 ? Number.POSITIVE_INFINITY : at
    }
    return this.#at
  }
}

/** Finds the ends of rows and has each taken apart; what the formats share. */
abstract class Lines implements CopyContent {
  readonly #columns: readonly (ColumnMasker | null)[]
  /** A value as it stands in the field, and what stands for it. */
  readonly #value = new Output()
  readonly #masked = new Output()
  /** What a column's values all become; undefined where it depends on the value. */
  readonly #fixed: (Buffer | undefined)[] = []
  #isHeader: boolean
  #pieces: Buffer[] = []
  #size = 0

  constructor(columns: readonly (ColumnMasker | null)[], format: CopyFormat) {
    this.#columns = columns
    this.#isHeader = format.header
  }

  get isWhole(): boolean {
    return this.#size === 0
  }

  push(piece: Buffer, out: Output): void {
    let from = 0
    for (;;) {
      const end = this.rowEnd(piece, from)
      if (end < 0) break
      if (this.#size === 0) this.#line(piece, from, end, out)
      else {
        const row = Buffer.concat([...this.#pieces, piece.subarray(from, end + 1)])
        this.#pieces = []
        this.#size = 0
        this.#line(row, 0, row.length - 1, out)
      }
      from = end + 1
    }
    if (from === piece.length) return
    this.#pieces.push(Buffer.from(piece.subarray(from)))
    this.#size += piece.length - from
    if (this.#size > maxRowBytes) throw new ProtocolError('postgres', 'a row of a copy without an end')
  }

  /** Where the newline is that ends a row, looked for from `from` on; -1: further on. Called once for each byte. */
  protected abstract rowEnd(bytes: Buffer, from: number): number
  /** Where the field that begins at `at` ends. */
  protected abstract fieldEnd(bytes: Buffer, at: number, rowEnd: number): number
  /** Puts the field's value at the end of `into`. */
  protected abstract decode(bytes: Buffer, start: number, end: number, into: Output): void
  /** What stands for NULL. */
  protected abstract readonly nullText: Buffer
  /** Puts a field with the value from `start` to `end` at the end of `into`. */
  protected abstract encode(value: Buffer, start: number, end: number, wasQuoted: boolean, into: Output): void
  protected abstract isQuoted(bytes: Buffer, start: number, end: number): boolean

  #line(bytes: Buffer, start: number, end: number, out: Output): void {
    if (this.#isHeader) {
      this.#isHeader = false
      out.copy(bytes, start, end + 1)
      return
    }
    const last = this.#columns.length - 1
    let at = start
    let copied = start
    for (let index = 0; index <= last; index++) {
      const fieldEnd = this.fieldEnd(bytes, at, end)
      if ((fieldEnd === end) !== (index === last)) throw new ProtocolError('postgres', 'a copied row of other columns')
      const column = this.#columns[index]
      if (column && !this.#isNull(bytes, at, fieldEnd)) {
        if (this.#replace(column, index, bytes, at, fieldEnd, copied, out)) copied = fieldEnd
      }
      // The rest is still counted: a field too many is not to pass for another row's shape.
      at = fieldEnd + 1
    }
    out.copy(bytes, copied, end + 1)
  }

  #isNull(bytes: Buffer, start: number, end: number): boolean {
    const { nullText } = this
    if (end - start !== nullText.length) return false
    for (let at = 0; at < nullText.length; at++) if (bytes[start + at] !== nullText[at]) return false
    return true
  }

  /** Writes what was not copied yet, and what stands for the field; false: nothing, as it stays. */
  #replace(
    column: ColumnMasker,
    index: number,
    bytes: Buffer,
    start: number,
    end: number,
    copied: number,
    out: Output,
  ): boolean {
    const quoted = this.isQuoted(bytes, start, end)
    const key = index * 2 + (quoted ? 1 : 0)
    const fixed = this.#fixed[key]
    if (fixed !== undefined) {
      out.copy(bytes, copied, start)
      out.copy(fixed, 0, fixed.length)
      return true
    }
    const value = this.#value
    value.rewind()
    value.int32(0) // where a value's length stands in the other formats
    this.decode(bytes, start, end, value)
    const masked = this.#masked
    masked.rewind()
    if (column.write(value.bytes, 4, value.length, 0, masked) === undefined) return false
    out.copy(bytes, copied, start)
    const from = out.length
    if (readInt32(masked.bytes, 0) < 0) out.copy(this.nullText, 0, this.nullText.length)
    else this.encode(masked.bytes, 4, masked.length, quoted, out)
    if (column.isFixed) this.#fixed[key] = Buffer.from(out.bytes.subarray(from, out.length))
    return true
  }
}

/** What CopyAttributeOutText writes with a letter (src/backend/commands/copyto.c). */
const letters: ReadonlyMap<number, number> = new Map(
  Object.entries({ b: 0x08, f: 0x0c, n: newline, r: carriageReturn, t: 0x09, v: 0x0b }).map(([letter, byte]) => [
    letter.charCodeAt(0),
    byte,
  ]),
)
/** Fields parted by a delimiter, rows by a newline; a backslash is before whatever would be taken for something else. */
export class CopyText extends Lines {
  protected readonly nullText: Buffer
  readonly #delimiter: number
  readonly #nextDelimiter: Next
  readonly #nextBackslash = new Next(backslash)
  /** By byte: what stands behind a backslash in its place; 0: it stands for itself. */
  readonly #escapes = new Uint8Array(256)

  constructor(columns: readonly (ColumnMasker | null)[], format: CopyFormat) {
    super(columns, format)
    this.#delimiter = format.delimiter.charCodeAt(0)
    this.#nextDelimiter = new Next(this.#delimiter)
    this.nullText = Buffer.from(format.nullText, 'latin1')
    for (const [letter, byte] of letters) this.#escapes[byte] = letter
    for (const byte of [backslash, this.#delimiter]) this.#escapes[byte] ||= byte
  }

  protected rowEnd(bytes: Buffer, from: number): number {
    return bytes.indexOf(newline, from) // one within a value is written as \n
  }

  protected fieldEnd(bytes: Buffer, at: number, rowEnd: number): number {
    const delimiter = this.#delimiter
    const end = Math.min(this.#nextDelimiter.from(bytes, at), rowEnd)
    if (this.#nextBackslash.from(bytes, at) >= end) return end
    for (; at < rowEnd; at++) {
      const byte = bytes[at]
      if (byte === delimiter) return at
      if (byte === backslash) at++
    }
    if (at > rowEnd) throw new ProtocolError('postgres', 'a copied row that ends in a backslash')
    return rowEnd
  }

  protected isQuoted(): boolean {
    return false
  }

  protected decode(bytes: Buffer, start: number, end: number, into: Output): void {
    const to = into.reserve(end - start)
    let length = into.length
    for (let at = start; at < end; at++) {
      let byte = bytes[at] ?? 0
      if (byte === backslash) {
        at++
        const next = bytes[at] ?? 0
        byte = letters.get(next) ?? next
      }
      to[length++] = byte
    }
    into.length = length
  }

  protected encode(value: Buffer, start: number, end: number, _wasQuoted: boolean, into: Output): void {
    const to = into.reserve((end - start) * 2)
    let { length } = into
    for (let at = start; at < end; at++) {
      const byte = value[at] ?? 0
      const escape = this.#escapes[byte] ?? 0
      if (escape !== 0) to[length++] = backslash
      to[length++] = escape === 0 ? byte : escape
    }
    into.length = length
  }
}

/** Comma-separated values: a field in quotes may hold anything, its quotes escaped. */
export class CopyCsv extends Lines {
  protected readonly nullText: Buffer
  readonly #delimiter: number
  readonly #quote: number
  readonly #escape: number
  readonly #nextDelimiter: Next
  readonly #nextQuote: Next
  /** Of the row whose end is looked for. */
  #inQuotes = false
  #escaped = false

  constructor(columns: readonly (ColumnMasker | null)[], format: CopyFormat) {
    super(columns, format)
    this.#delimiter = format.delimiter.charCodeAt(0)
    this.#nextDelimiter = new Next(this.#delimiter)
    this.#quote = format.quote.charCodeAt(0)
    this.#nextQuote = new Next(this.#quote)
    this.#escape = format.escape.charCodeAt(0)
    this.nullText = Buffer.from(format.nullText, 'latin1')
  }

  protected rowEnd(bytes: Buffer, from: number): number {
    if (!this.#inQuotes) {
      const end = bytes.indexOf(newline, from)
      if (end >= 0 && this.#nextQuote.from(bytes, from) > end) return end
    }
    const quote = this.#quote
    const escape = this.#escape
    let inQuotes = this.#inQuotes
    let escaped = this.#escaped
    let at = from
    for (; at < bytes.length; at++) {
      const byte = bytes[at]
      if (inQuotes) {
        if (escaped) escaped = false
        else if (byte === escape && escape !== quote) escaped = true
        // Of two quotes that stand for one, the second opens again what the first has closed.
        else if (byte === quote) inQuotes = false
      } else if (byte === quote) inQuotes = true
      else if (byte === newline) break
    }
    this.#inQuotes = inQuotes
    this.#escaped = escaped
    return at < bytes.length ? at : -1
  }

  protected fieldEnd(bytes: Buffer, at: number, rowEnd: number): number {
    const delimiter = this.#delimiter
    const plainEnd = Math.min(this.#nextDelimiter.from(bytes, at), rowEnd)
    if (this.#nextQuote.from(bytes, at) >= plainEnd) return plainEnd
    const quote = this.#quote
    const escape = this.#escape
    let inQuotes = false
    for (; at < rowEnd; at++) {
      const byte = bytes[at]
      if (inQuotes) {
        if (byte === escape && escape !== quote) at++
        else if (byte === quote) inQuotes = false
      } else if (byte === quote) inQuotes = true
      else if (byte === delimiter) return at
    }
    if (inQuotes || at > rowEnd) throw new ProtocolError('postgres', 'a copied row that ends in quotes')
    return rowEnd
  }

  protected isQuoted(bytes: Buffer, start: number, end: number): boolean {
    return end > start && bytes[start] === this.#quote
  }

  protected decode(bytes: Buffer, start: number, end: number, into: Output): void {
    if (!this.isQuoted(bytes, start, end)) {
      into.copy(bytes, start, end)
      return
    }
    let from = start + 1
    for (let at = from; at < end - 1; at++) {
      const next = bytes[at + 1]
      if (bytes[at] !== this.#escape || (next !== this.#escape && next !== this.#quote) || at + 1 >= end - 1) continue
      into.copy(bytes, from, at)
      from = at + 1
      at++
    }
    into.copy(bytes, from, end - 1)
  }

  protected encode(value: Buffer, start: number, end: number, wasQuoted: boolean, into: Output): void {
    if (!wasQuoted && !this.#needsQuotes(value, start, end)) {
      into.copy(value, start, end)
      return
    }
    const to = into.reserve((end - start) * 2 + 2)
    let { length } = into
    to[length++] = this.#quote
    for (let at = start; at < end; at++) {
      const byte = value[at] ?? 0
      if (byte === this.#quote || byte === this.#escape) to[length++] = this.#escape
      to[length++] = byte
    }
    to[length++] = this.#quote
    into.length = length
  }

  #needsQuotes(value: Buffer, start: number, end: number): boolean {
    for (let at = start; at < end; at++) {
      const byte = value[at]
      if (byte === this.#delimiter || byte === this.#quote || byte === newline || byte === carriageReturn) return true
    }
    const field = value.subarray(start, end)
    return field.equals(this.nullText) || field.equals(endOfData)
  }
}

const endOfData = Buffer.from('\\.')
