import { ProtocolError } from '../../../errors.ts'
import type { ColumnMasker } from './column-masker.ts'
import type { CopyContent, CopyFormat } from './copy-masker.ts'
import { Output, readInt32 } from './output.ts'

const newline = 0x0a
const carriageReturn = 0x0d
const backslash = 0x5c
/** A row's limit, as for a message: what is longer is no row of a server's. */
const maxRowBytes = 0x3fffffff

/** Finds the ends of rows and has each taken apart; what the formats share. */
abstract class Lines implements CopyContent {
  readonly #columns: readonly (ColumnMasker | null)[]
  readonly #values: Output = new Output()
  /** What a column's values all become; undefined where it depends on the value. */
  readonly #fixed: (Buffer | undefined)[] = []
  /** Behind the last column that may change, a row is as it came. */
  readonly #changing: number
  #isHeader: boolean
  #pieces: Buffer[] = []
  #size = 0

  constructor(columns: readonly (ColumnMasker | null)[], format: CopyFormat) {
    this.#columns = columns
    this.#changing = columns.findLastIndex(column => column !== null)
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
  protected abstract isNull(bytes: Buffer, start: number, end: number): boolean
  /** Puts the field's value at the end of `into`. */
  protected abstract decode(bytes: Buffer, start: number, end: number, into: Output): void
  /** null: NULL. */
  protected abstract encode(value: Buffer | null, wasQuoted: boolean): Buffer
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
      if (column && !this.isNull(bytes, at, fieldEnd)) {
        const replaced = this.#replaced(column, index, bytes, at, fieldEnd)
        if (replaced !== undefined) {
          out.copy(bytes, copied, at)
          out.copy(replaced, 0, replaced.length)
          copied = fieldEnd
        }
      }
      // The rest is still counted: a field too many is not to pass for another row's shape.
      at = fieldEnd + 1
    }
    out.copy(bytes, copied, end + 1)
  }

  #replaced(column: ColumnMasker, index: number, bytes: Buffer, start: number, end: number): Buffer | undefined {
    const quoted = this.isQuoted(bytes, start, end)
    const key = index * 2 + (quoted ? 1 : 0)
    const fixed = this.#fixed[key]
    if (fixed !== undefined) return fixed
    const values = this.#values
    values.begin(end - start + 4)
    values.int32(0) // where a value's length stands in the other formats
    this.decode(bytes, start, end, values)
    const value = values.take()
    values.begin(value.length)
    const written = column.write(value, 4, value.length, 0, values)
    const result = values.take()
    if (written === undefined) return undefined
    const encoded = this.encode(readInt32(result, 0) < 0 ? null : result.subarray(4), quoted)
    if (column.isFixed) this.#fixed[key] = encoded
    return encoded
  }
}

/** What CopyAttributeOutText writes with a letter (src/backend/commands/copyto.c). */
const letters: ReadonlyMap<number, number> = new Map(
  Object.entries({ b: 0x08, f: 0x0c, n: newline, r: carriageReturn, t: 0x09, v: 0x0b }).map(([letter, byte]) => [
    letter.charCodeAt(0),
    byte,
  ]),
)
const lettersOf: ReadonlyMap<number, number> = new Map([...letters].map(([letter, byte]) => [byte, letter]))

/** Fields parted by a delimiter, rows by a newline; a backslash is before whatever would be taken for something else. */
export class CopyText extends Lines {
  readonly #delimiter: number
  readonly #null: Buffer

  constructor(columns: readonly (ColumnMasker | null)[], format: CopyFormat) {
    super(columns, format)
    this.#delimiter = format.delimiter.charCodeAt(0)
    this.#null = Buffer.from(format.nullText, 'latin1')
  }

  protected rowEnd(bytes: Buffer, from: number): number {
    return bytes.indexOf(newline, from) // one within a value is written as \n
  }

  protected fieldEnd(bytes: Buffer, at: number, rowEnd: number): number {
    for (; at < rowEnd; at++) {
      const byte = bytes[at]
      if (byte === this.#delimiter) return at
      if (byte === backslash) at++
    }
    if (at > rowEnd) throw new ProtocolError('postgres', 'a copied row that ends in a backslash')
    return rowEnd
  }

  protected isNull(bytes: Buffer, start: number, end: number): boolean {
    return end - start === this.#null.length && bytes.compare(this.#null, 0, this.#null.length, start, end) === 0
  }

  protected isQuoted(): boolean {
    return false
  }

  protected decode(bytes: Buffer, start: number, end: number, into: Output): void {
    for (let at = start; at < end;) {
      const escape = bytes.indexOf(backslash, at)
      if (escape < 0 || escape >= end) {
        into.copy(bytes, at, end)
        return
      }
      into.copy(bytes, at, escape)
      const next = bytes[escape + 1] ?? 0
      into.copy(Buffer.of(letters.get(next) ?? next), 0, 1)
      at = escape + 2
    }
  }

  protected encode(value: Buffer | null): Buffer {
    if (value === null) return this.#null
    const parts: number[] = []
    for (const byte of value) {
      const letter = lettersOf.get(byte)
      if (letter !== undefined) parts.push(backslash, letter)
      else if (byte === backslash || byte === this.#delimiter) parts.push(backslash, byte)
      else parts.push(byte)
    }
    return Buffer.from(parts)
  }
}

/** Comma-separated values: a field in quotes may hold anything, its quotes escaped. */
export class CopyCsv extends Lines {
  readonly #delimiter: number
  readonly #quote: number
  readonly #escape: number
  readonly #null: Buffer
  /** Of the row whose end is looked for. */
  #inQuotes = false
  #escaped = false

  constructor(columns: readonly (ColumnMasker | null)[], format: CopyFormat) {
    super(columns, format)
    this.#delimiter = format.delimiter.charCodeAt(0)
    this.#quote = format.quote.charCodeAt(0)
    this.#escape = format.escape.charCodeAt(0)
    this.#null = Buffer.from(format.nullText, 'latin1')
  }

  protected rowEnd(bytes: Buffer, from: number): number {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at]
      if (this.#inQuotes) {
        if (this.#escaped) this.#escaped = false
        else if (byte === this.#escape && this.#escape !== this.#quote) this.#escaped = true
        // Of two quotes that stand for one, the second opens again what the first has closed.
        else if (byte === this.#quote) this.#inQuotes = false
      } else if (byte === this.#quote) this.#inQuotes = true
      else if (byte === newline) return at
    }
    return -1
  }

  protected fieldEnd(bytes: Buffer, at: number, rowEnd: number): number {
    let inQuotes = false
    for (; at < rowEnd; at++) {
      const byte = bytes[at]
      if (inQuotes) {
        if (byte === this.#escape && this.#escape !== this.#quote) at++
        else if (byte === this.#quote) inQuotes = false
      } else if (byte === this.#quote) inQuotes = true
      else if (byte === this.#delimiter) return at
    }
    if (inQuotes || at > rowEnd) throw new ProtocolError('postgres', 'a copied row that ends in quotes')
    return rowEnd
  }

  protected isNull(bytes: Buffer, start: number, end: number): boolean {
    return end - start === this.#null.length && bytes.compare(this.#null, 0, this.#null.length, start, end) === 0
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

  protected encode(value: Buffer | null, wasQuoted: boolean): Buffer {
    if (value === null) return this.#null
    const needsQuotes =
      wasQuoted ||
      value.equals(this.#null) ||
      value.equals(endOfData) ||
      value.some(
        byte => byte === this.#delimiter || byte === this.#quote || byte === newline || byte === carriageReturn,
      )
    if (!needsQuotes) return Buffer.from(value)
    const parts: number[] = [this.#quote]
    for (const byte of value) {
      if (byte === this.#quote || byte === this.#escape) parts.push(this.#escape)
      parts.push(byte)
    }
    parts.push(this.#quote)
    return Buffer.from(parts)
  }
}

const endOfData = Buffer.from('\\.')
