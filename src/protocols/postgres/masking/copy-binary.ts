import { ProtocolError } from '../../../errors.ts'
import type { ColumnMasker } from './column-masker.ts'
import type { CopyContent } from './copy-masker.ts'
import { type Output, readInt32 } from './output.ts'

const signature = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1')
/** Signature, flags, length of the extension. */
const headerBytes = signature.length + 8
const maxRowBytes = 0x3fffffff

/** Header, tuples of values with their length before them, and a trailer (PG 18 docs, COPY: Binary Format). */
export class CopyBinary implements CopyContent {
  readonly #columns: readonly (ColumnMasker | null)[]
  #state: 'header' | 'rows' | 'end' = 'header'
  #pieces: Buffer[] = []
  #size = 0
  /** How many bytes the next look needs at least, so that each is looked at a fixed number of times. */
  #need = headerBytes

  constructor(columns: readonly (ColumnMasker | null)[]) {
    this.#columns = columns
  }

  get isWhole(): boolean {
    return this.#state === 'end' && this.#size === 0
  }

  push(piece: Buffer, out: Output): void {
    if (piece.length === 0) return
    let bytes = piece
    if (this.#size > 0) {
      this.#pieces.push(Buffer.from(piece))
      this.#size += piece.length
      if (this.#size < this.#need) return
      bytes = Buffer.concat(this.#pieces)
      this.#pieces = []
      this.#size = 0
    }
    let at = 0
    for (;;) {
      const end = this.#next(bytes, at, out)
      if (end < 0) {
        this.#need = -end
        break
      }
      at = end
    }
    if (at === bytes.length) return
    if (this.#need > maxRowBytes) throw malformed()
    this.#pieces = [Buffer.from(bytes.subarray(at))]
    this.#size = bytes.length - at
  }

  /** Takes what begins at `start` and says where it ends; below 0: it is not here whole, so many bytes of it have to be. */
  #next(bytes: Buffer, start: number, out: Output): number {
    const left = bytes.length - start
    switch (this.#state) {
      case 'end':
        if (left > 0) throw malformed()
        return -1
      case 'header': {
        if (left < headerBytes) return -headerBytes
        // The high half are flags that whoever reads has to know; there was one, for OIDs, up to PostgreSQL 11.
        if (bytes.compare(signature, 0, signature.length, start, start + signature.length) !== 0) throw malformed()
        if (readInt32(bytes, start + signature.length) >>> 16 !== 0) throw malformed()
        const extension = readInt32(bytes, start + signature.length + 4)
        if (extension < 0) throw malformed()
        if (left < headerBytes + extension) return -(headerBytes + extension)
        out.copy(bytes, start, start + headerBytes + extension)
        this.#state = 'rows'
        return start + headerBytes + extension
      }
      case 'rows':
        return this.#row(bytes, start, left, out)
      default:
        return this.#state satisfies never
    }
  }

  #row(bytes: Buffer, start: number, left: number, out: Output): number {
    if (left < 2) return -2
    const count = ((bytes[start] ?? 0) << 8) | (bytes[start + 1] ?? 0)
    if (count === 0xffff) {
      out.copy(bytes, start, start + 2)
      this.#state = 'end'
      return start + 2
    }
    if (count !== this.#columns.length) throw malformed()
    let at = start + 2
    for (let index = 0; index < count; index++) {
      if (at + 4 > bytes.length) return start - at - 4
      const length = readInt32(bytes, at)
      if (length < -1) throw malformed()
      at += 4 + Math.max(0, length)
      if (at > bytes.length) return start - at
    }
    this.#write(bytes, start, at, out)
    return at
  }

  #write(bytes: Buffer, start: number, end: number, out: Output): void {
    let copied = start
    let at = start + 2
    for (const column of this.#columns) {
      const length = readInt32(bytes, at)
      at += 4
      if (length < 0) continue
      if (column?.write(bytes, at, at + length, copied, out) !== undefined) copied = at + length
      at += length
    }
    out.copy(bytes, copied, end)
  }
}

function malformed(): ProtocolError {
  return new ProtocolError('postgres', 'a binary copy that cannot be read')
}
