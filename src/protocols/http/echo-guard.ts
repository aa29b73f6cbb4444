/**
 * Takes the target's own credential out of what the target sends back: services that echo a request's headers would hand
 * it to the client. Stars of the same length stand for it, so that a stated Content-Length stays true.
 */
export class EchoGuard {
  readonly #secret: Buffer
  #held: Buffer = Buffer.alloc(0)
  #found = false

  constructor(secret: string) {
    // A short one would be found in ordinary text.
    this.#secret = Buffer.from(secret.length >= 8 ? secret : '')
  }

  get found(): boolean {
    return this.#found
  }

  push(chunk: Buffer): Buffer {
    if (this.#secret.length === 0) return chunk
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    const clean = this.#replace(bytes)
    const kept = this.#startOfSecret(clean)
    this.#held = clean.subarray(clean.length - kept)
    return clean.subarray(0, clean.length - kept)
  }

  end(): Buffer {
    const rest = this.#held
    this.#held = Buffer.alloc(0)
    return rest
  }

  text(value: string): string {
    if (this.#secret.length === 0) return value
    const secret = this.#secret.toString()
    if (!value.includes(secret)) return value
    this.#found = true
    return value.replaceAll(secret, '*'.repeat(secret.length))
  }

  #replace(bytes: Buffer): Buffer {
    let at = bytes.indexOf(this.#secret)
    if (at < 0) return bytes
    this.#found = true
    const copy = Buffer.from(bytes)
    for (; at >= 0; at = copy.indexOf(this.#secret, at + this.#secret.length))
      copy.fill('*', at, at + this.#secret.length)
    return copy
  }

  /** How many bytes at the end may be the beginning of the secret. */
  #startOfSecret(bytes: Buffer): number {
    const last = bytes.length - Math.min(this.#secret.length - 1, bytes.length)
    for (let at = bytes.indexOf(this.#secret[0] ?? 0, last); at >= 0; at = bytes.indexOf(this.#secret[0] ?? 0, at + 1))
      if (bytes.compare(this.#secret, 0, bytes.length - at, at) === 0) return bytes.length - at
    return 0
  }
}
