import { ProtocolError } from '../../../errors.ts'

const nothing = Buffer.alloc(0)
/** Chunks below this are gathered in slabs, so that a peer sending single bytes costs no object a byte. */
const smallChunkBytes = 4096
const maxSlabBytes = 65_536

/** Type byte and Int32 length, which counts itself but not the type (PG 18 docs §54.7). */
export const headerBytes = 5

/**
 * Cuts the bytes after start-up into messages: push chunks, then `header()`, and `whole()` or `some()`, until one says
 * no. What is read lies in `bytes` from `start`: no object a message, no copy where a message lies in one chunk.
 */
export class FrameReader {
  bytes: Buffer = nothing
  start = 0
  /** Of the message at hand, as `header()` found it. */
  type = 0
  /** Of the message at hand, type byte and length included. */
  length = 0
  readonly #queue: Buffer[] = []
  #queued = 0
  #slab: Buffer | undefined // its used part is the last of the queue
  #slabUsed = 0

  /** Bytes pushed and not yet left behind. */
  get size(): number {
    return this.bytes.length - this.start + this.#queued
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    if (this.start === this.bytes.length && this.#queue.length === 0) {
      this.bytes = chunk
      this.start = 0
      return
    }
    this.#queued += chunk.length
    if (chunk.length >= smallChunkBytes) {
      this.#slab = undefined
      this.#queue.push(chunk)
      return
    }
    if (this.#slab === undefined || this.#slab.length - this.#slabUsed < chunk.length) {
      const grown = this.#slab === undefined ? 0 : this.#slab.length * 2
      this.#slab = Buffer.allocUnsafeSlow(Math.min(maxSlabBytes, Math.max(grown, chunk.length * 2)))
      this.#slabUsed = chunk.copy(this.#slab)
      this.#queue.push(this.#slab.subarray(0, this.#slabUsed))
      return
    }
    const last = this.#queue.length - 1
    const before = this.#queue[last]?.length ?? 0
    this.#slabUsed += chunk.copy(this.#slab, this.#slabUsed)
    this.#queue[last] = this.#slab.subarray(this.#slabUsed - before - chunk.length, this.#slabUsed)
  }

  /** Whether the next message's type and length are here. @throws ProtocolError: a length below 4 or above the limit. */
  header(maxBytes: number): boolean {
    if (this.start === this.bytes.length && !this.#advance()) return false
    if (this.bytes.length - this.start < headerBytes && !this.#gather(headerBytes)) return false
    const { bytes, start } = this
    this.type = bytes[start] ?? 0
    const length = bytes.readUInt32BE(start + 1)
    if (length < 4 || length > maxBytes) throw new ProtocolError('postgres', `a message of ${length} bytes`)
    this.length = length + 1
    return true
  }

  /** Whether the whole message is here: then it lies in `bytes` from `start`, in one piece. */
  whole(): boolean {
    return this.bytes.length - this.start >= this.length || this.#gather(this.length)
  }

  /** All that is here, in one piece. */
  all(): Buffer {
    if (this.#queue.length > 0) this.#gather(this.size)
    return this.bytes.subarray(this.start)
  }

  /** How many of the next `wanted` bytes lie in `bytes` from `start`; at least one where there are any. */
  some(wanted: number): number {
    if (this.start === this.bytes.length && !this.#advance()) return 0
    return Math.min(wanted, this.bytes.length - this.start)
  }

  /** Leaves `count` bytes behind, which must lie in `bytes`. */
  skip(count: number): void {
    this.start += count
  }

  /** Takes whatever is left, for what comes after the protocol (or for another reader). */
  drain(): Buffer {
    const rest = Buffer.concat([this.bytes.subarray(this.start), ...this.#queue])
    this.bytes = nothing
    this.start = 0
    this.#queue.length = 0
    this.#queued = 0
    this.#slab = undefined
    return rest
  }

  #advance(): boolean {
    const next = this.#queue.shift()
    if (next === undefined) return false
    if (this.#queue.length === 0) this.#slab = undefined
    this.#queued -= next.length
    this.bytes = next
    this.start = 0
    return true
  }

  /** Brings `count` bytes into one piece; only when they are all here, so each byte is moved a fixed number of times. */
  #gather(count: number): boolean {
    if (this.size < count) return false
    const piece = Buffer.allocUnsafeSlow(count)
    let filled = this.bytes.copy(piece, 0, this.start)
    let used = 0
    while (filled < count) {
      const next = this.#queue[used]
      if (next === undefined) break
      const taken = next.copy(piece, filled)
      filled += taken
      this.#queued -= taken
      if (taken < next.length) {
        this.#queue[used] = next.subarray(taken)
        break
      }
      used += 1
    }
    this.#queue.splice(0, used)
    if (this.#queue.length === 0) this.#slab = undefined
    this.bytes = piece
    this.start = 0
    return true
  }
}
