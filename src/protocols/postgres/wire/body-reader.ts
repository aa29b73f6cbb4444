import { ProtocolError } from '../../../errors.ts'

/** Reads the fields of one message's body; every length is held against what is left. One object serves many messages. */
export class BodyReader {
  bytes: Buffer = Buffer.alloc(0)
  at = 0
  end = 0

  over(bytes: Buffer, start: number, end: number): this {
    this.bytes = bytes
    this.at = start
    this.end = end
    return this
  }

  get left(): number {
    return this.end - this.at
  }

  #take(count: number): number {
    const at = this.at
    if (count > this.end - at) throw new ProtocolError('postgres', 'a message shorter than its fields')
    this.at = at + count
    return at
  }

  uint8(): number {
    return this.bytes[this.#take(1)] ?? 0
  }

  uint16(): number {
    return this.bytes.readUInt16BE(this.#take(2))
  }

  int16(): number {
    return this.bytes.readInt16BE(this.#take(2))
  }

  int32(): number {
    return this.bytes.readInt32BE(this.#take(4))
  }

  uint32(): number {
    return this.bytes.readUInt32BE(this.#take(4))
  }

  /** A view. */
  slice(count: number): Buffer {
    const at = this.#take(count)
    return this.bytes.subarray(at, at + count)
  }

  /** Where the zero of a string is; the reader stands behind it. */
  stringEnd(): number {
    const zero = this.bytes.indexOf(0, this.at)
    if (zero < 0 || zero >= this.end) throw new ProtocolError('postgres', 'a string without an end')
    this.at = zero + 1
    return zero
  }

  /** The bytes as they are, one char a byte: equal exactly where the bytes are. */
  rawString(): string {
    const { at } = this
    if (this.bytes[at] === 0 && at < this.end) {
      this.at = at + 1
      return ''
    }
    return this.bytes.toString('latin1', at, this.stringEnd())
  }

  utf8String(): string {
    const { at } = this
    return this.bytes.toString('utf8', at, this.stringEnd())
  }

  /** Nothing may follow. */
  finish(): void {
    if (this.at !== this.end) throw new ProtocolError('postgres', 'a message longer than its fields')
  }
}
