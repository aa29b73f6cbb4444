import { hash } from 'node:crypto'
import type { Secret } from '../secret.ts'

/** Bytes of a digest that are kept: two values are taken for one at some 2^48 of them. */
const digestBytes = 12
const blockBytes = 64
const maxCachedValues = 4096
const maxCachedBytes = 64

/** The bytes `writeText` writes: `h_` and the digest in hexadecimal. */
export const hashTextBytes = 2 + 2 * digestBytes

/**
 * HMAC-SHA-256 (RFC 2104) of values under this installation's key: equal values stay equal, so joins and counts keep
 * working, and without the key nobody can try values out. One-shot hashes, as a Hmac object a value costs three times that.
 */
export class Hasher {
  readonly #inner = Buffer.alloc(blockBytes + 4096)
  readonly #outer = Buffer.alloc(blockBytes + 32)
  readonly #cache = new Map<string, string>()

  /** @param key base64 or any text of at least 32 bytes, as hash-key.ts makes it. */
  constructor(key: Secret) {
    const bytes = Buffer.from(key.reveal())
    const block = bytes.length > blockBytes ? Buffer.from(hash('sha256', bytes, 'hex'), 'hex') : bytes
    for (let index = 0; index < blockBytes; index++) {
      this.#inner[index] = (block[index] ?? 0) ^ 0x36
      this.#outer[index] = (block[index] ?? 0) ^ 0x5c
    }
  }

  /** The whole digest of `value` from `start` to `end`, one character a byte. */
  digest(value: Buffer, start: number, end: number): string {
    const length = end - start
    if (length > maxCachedBytes) return this.#digest(value, start, end)
    const key = value.toString('latin1', start, end)
    const known = this.#cache.get(key)
    if (known !== undefined) return known
    if (this.#cache.size >= maxCachedValues) this.#cache.clear()
    const digest = this.#digest(value, start, end)
    this.#cache.set(key, digest)
    return digest
  }

  #digest(value: Buffer, start: number, end: number): string {
    const length = end - start
    let input: Buffer
    if (length <= this.#inner.length - blockBytes) {
      value.copy(this.#inner, blockBytes, start, end)
      input = this.#inner.subarray(0, blockBytes + length)
    } else input = Buffer.concat([this.#inner.subarray(0, blockBytes), value.subarray(start, end)])
    this.#outer.write(hash('sha256', input, 'binary'), blockBytes, 'latin1')
    return hash('sha256', this.#outer, 'binary')
  }

  /** Writes `h_` and 24 hexadecimal digits; returns the offset behind them. */
  writeText(value: Buffer, start: number, end: number, out: Buffer, offset: number): number {
    const digest = this.digest(value, start, end)
    out[offset++] = 0x68
    out[offset++] = 0x5f
    for (let index = 0; index < digestBytes; index++) {
      const byte = digest.charCodeAt(index)
      out[offset++] = hexDigit(byte >> 4)
      out[offset++] = hexDigit(byte & 15)
    }
    return offset
  }
}

function hexDigit(value: number): number {
  return value < 10 ? 0x30 + value : 0x57 + value
}
