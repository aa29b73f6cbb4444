import { createHash } from 'node:crypto'
import { checkBytes, maxRecordBytes, recordPrefixBytes } from './format.ts'

/** A record in its place in the chain. `head` and `body` are views into what was pushed. */
export interface ChainedRecord {
  readonly sequence: number
  readonly head: Buffer
  readonly body: Buffer
  /** Chain value after it. */
  readonly chain: Buffer
}

/** A record that is not what the recorder wrote there. */
export class DamagedRecord extends Error {
  readonly sequence: number
  /** What its head says, as far as it can be read: to tell when. */
  readonly head: Buffer | null
  readonly reason: 'length' | 'chain'

  constructor(sequence: number, reason: 'length' | 'chain', head: Buffer | null) {
    super(`record ${sequence} is damaged`)
    this.sequence = sequence
    this.reason = reason
    this.head = head
  }
}

/** Cuts bytes into records and follows the chain (docs/recording-format.md): push bytes, pull until undefined. */
export class RecordCutter {
  #sequence: number
  #chain: Buffer
  #head: Buffer = Buffer.alloc(0)
  #tail: Buffer[] = [] // joined only when a record can be whole
  #need = 4
  #size = 0

  /** @param first sequence number of the next record @param previous chain value before it */
  constructor(first: number, previous: Buffer) {
    this.#sequence = first - 1
    this.#chain = previous
  }

  /** Sequence number of the last record that was whole. */
  get sequence(): number {
    return this.#sequence
  }

  /** Chain value after it. */
  get chain(): Buffer {
    return this.#chain
  }

  /** Bytes pushed that are no whole record yet. */
  get left(): number {
    return this.#size
  }

  push(chunk: Buffer): void {
    if (this.#head.length === 0) this.#head = chunk
    else this.#tail.push(chunk)
    this.#size += chunk.length
  }

  /** @throws DamagedRecord; nothing after it can be followed. */
  next(): ChainedRecord | undefined {
    if (this.#size < this.#need) return undefined
    if (this.#tail.length > 0) this.#head = Buffer.concat([this.#head, ...this.#tail.splice(0)])
    const sequence = this.#sequence + 1
    const length = this.#head.readUInt32BE(0)
    if (length < 4 + 2 + checkBytes || length > maxRecordBytes) throw new DamagedRecord(sequence, 'length', null)
    this.#need = 4 + length
    if (this.#size < this.#need) return undefined
    const end = this.#need - checkBytes
    const headEnd = recordPrefixBytes + this.#head.readUInt32BE(4)
    if (headEnd > end) throw new DamagedRecord(sequence, 'length', null)
    const head = this.#head.subarray(recordPrefixBytes, headEnd)
    const chain = createHash('sha256').update(this.#head.subarray(0, end)).update(this.#chain).digest()
    if (chain.compare(this.#head, end, this.#need, 0, checkBytes) !== 0)
      throw new DamagedRecord(sequence, 'chain', head)
    const body = this.#head.subarray(headEnd, end)
    this.#head = this.#head.subarray(this.#need)
    this.#size -= this.#need
    this.#need = 4
    this.#sequence = sequence
    this.#chain = chain
    return { sequence, head, body, chain }
  }
}
