import type { Writable } from 'node:stream'

const nothing = Buffer.alloc(0)
/** Up to here pieces are joined; above, a vectored write is cheaper than the copy. */
const joinBytes = 8192

/** What one turn brings for one direction, as slices of what was read, written at once. */
export class Outbox {
  #parts: Buffer[] = []
  #partsBytes = 0
  // The slice that still grows: what follows directly in the same buffer extends it.
  #buffer: Buffer = nothing
  #start = 0
  #end = 0
  #marked = 0

  /** Bytes that wait to be written. */
  get size(): number {
    return this.#partsBytes + this.#end - this.#start
  }

  /** Passes on bytes as they lie in what was read. */
  pass(buffer: Buffer, start: number, end: number): void {
    if (buffer === this.#buffer && start === this.#end) {
      this.#end = end
      return
    }
    this.#cut()
    this.#buffer = buffer
    this.#start = start
    this.#end = end
  }

  /** Adds bytes of our own. */
  insert(bytes: Buffer): void {
    this.#cut()
    this.#parts.push(bytes)
    this.#partsBytes += bytes.length
  }

  /** Says that what has come so far may go without what follows. */
  mark(): void {
    this.#marked = this.size
  }

  /** Writes everything, in one write. False: wait for 'drain'. */
  flush(to: Writable): boolean {
    this.#marked = 0
    if (this.#parts.length === 0) {
      if (this.#start === this.#end) return true
      const only = this.#slice()
      this.#buffer = nothing
      this.#start = this.#end = 0
      return to.write(only)
    }
    this.#cut()
    const parts = this.#parts
    const bytes = this.#partsBytes
    this.#parts = []
    this.#partsBytes = 0
    return write(to, parts, bytes)
  }

  /** Writes up to the last mark, and keeps the rest. */
  flushMarked(to: Writable): boolean {
    if (this.#marked === 0) return true
    this.#cut()
    const kept: Buffer[] = []
    const written: Buffer[] = []
    let left = this.#marked
    for (const part of this.#parts) {
      if (left > 0) written.push(part.subarray(0, left))
      if (part.length > left) kept.push(part.subarray(Math.max(0, left)))
      left -= part.length
    }
    const bytes = this.#marked
    this.#parts = kept
    this.#partsBytes -= bytes
    this.#marked = 0
    return write(to, written, bytes)
  }

  /** Forgets what has come since the last write. */
  clear(): void {
    this.#parts = []
    this.#buffer = nothing
    this.#partsBytes = this.#start = this.#end = this.#marked = 0
  }

  #slice(): Buffer {
    const whole = this.#start === 0 && this.#end === this.#buffer.length
    return whole ? this.#buffer : this.#buffer.subarray(this.#start, this.#end)
  }

  #cut(): void {
    if (this.#start === this.#end) return
    this.#parts.push(this.#slice())
    this.#partsBytes += this.#end - this.#start
    this.#buffer = nothing
    this.#start = this.#end = 0
  }
}

function write(to: Writable, parts: readonly Buffer[], bytes: number): boolean {
  const [first] = parts
  if (first === undefined) return true
  if (parts.length === 1) return to.write(first)
  if (bytes <= joinBytes) return to.write(Buffer.concat(parts, bytes))
  to.cork()
  let free = true
  for (const part of parts) free = to.write(part)
  to.uncork()
  return free
}
