/** Up to here a loop is faster than Buffer.copy, which makes a view each time. */
const loopBytes = 40
/** More than this is not held between two values. */
const keptBytes = 64 * 1024
const empty = Buffer.alloc(0)

/** A buffer that grows as it is written to, and is given away when full of what one call made. */
export class Output {
  #bytes: Buffer = empty
  length = 0

  /** Begins anew, with room for what `inputBytes` bytes mostly become: markers are rarely longer than values. */
  begin(inputBytes: number): void {
    this.#bytes = Buffer.allocUnsafe(inputBytes + (inputBytes >> 3) + 64)
    this.length = 0
  }

  /** Begins anew in the same bytes, of which nothing was given away. */
  rewind(): void {
    if (this.#bytes.length > keptBytes) this.#bytes = empty
    this.length = 0
  }

  /** What was written, up to `length`; until more is. */
  get bytes(): Buffer {
    return this.#bytes
  }

  /** All that was written; the caller's from now on. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.length)
    this.#bytes = empty
    this.length = 0
    return taken
  }

  /** Room for `bytes` more: where to write them, from `length` on. */
  reserve(bytes: number): Buffer {
    const needed = this.length + bytes
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, this.length)
      this.#bytes = grown
    }
    return this.#bytes
  }

  copy(from: Buffer, start: number, end: number): void {
    const length = end - start
    const out = this.reserve(length)
    if (length <= loopBytes) {
      const shift = this.length - start
      for (let index = start; index < end; index++) out[index + shift] = from[index] ?? 0
    } else from.copy(out, this.length, start, end)
    this.length += length
  }

  int32(value: number): void {
    writeInt32(this.reserve(4), this.length, value)
    this.length += 4
  }

  /** Corrects what was written before. */
  patchInt32(at: number, value: number): void {
    writeInt32(this.#bytes, at, value)
  }
}

export function readInt32(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)
}

function writeInt32(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}
