/** What the first message of a TLS client says of where it wants to go. */
export type HelloReading =
  | { readonly kind: 'more' }
  | { readonly kind: 'not-tls' }
  | { readonly kind: 'malformed' }
  | {
      readonly kind: 'hello'
      /** As sent; undefined where the client names no server. */
      readonly serverName: string | undefined
      /** An encrypted client hello says elsewhere, unseen, what it is really for (RFC 9849 §5). */
      readonly encrypted: boolean
    }

const handshakeRecord = 22
const clientHello = 1
const serverNameExtension = 0
const encryptedHelloExtension = 0xfe0d
/** Post-quantum key shares make some 2 KB; nothing legitimate comes near this. */
const maxHelloBytes = 32 * 1024

/**
 * Reads a ClientHello (RFC 8446 §4.1.2) at the beginning of what a client has sent so far, across records. Every length is
 * checked against what is there.
 */
export function readClientHello(bytes: Buffer): HelloReading {
  const parts: Buffer[] = []
  let have = 0
  let at = 0
  for (;;) {
    if (at < bytes.length && bytes[at] !== handshakeRecord) return { kind: at === 0 ? 'not-tls' : 'malformed' }
    if (at + 1 < bytes.length && bytes[at + 1] !== 3) return { kind: at === 0 ? 'not-tls' : 'malformed' }
    if (bytes.length < at + 5) return { kind: 'more' }
    const length = bytes.readUInt16BE(at + 3)
    // RFC 8446 §5.1: no handshake record is empty or longer than 2^14.
    if (length === 0 || length > 16_384) return { kind: 'malformed' }
    const part = bytes.subarray(at + 5, at + 5 + length)
    parts.push(part)
    have += part.length
    if (have >= 4) {
      const start = parts.length === 1 ? part : Buffer.concat(parts)
      if (start[0] !== clientHello) return { kind: 'malformed' }
      const whole = 4 + start.readUIntBE(1, 3)
      if (whole > maxHelloBytes) return { kind: 'malformed' }
      if (have >= whole) return readHello(start.subarray(4, whole))
    }
    if (part.length < length) return { kind: 'more' }
    at += 5 + length
  }
}

class Cursor {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  /** @throws RangeError */
  number(size: 1 | 2): number {
    const value = this.#bytes.readUIntBE(this.#at, size)
    this.#at += size
    return value
  }

  /** @throws RangeError */
  take(length: number): Buffer {
    if (length > this.left) throw new RangeError('past the end')
    return this.#bytes.subarray(this.#at, (this.#at += length))
  }
}

function readHello(body: Buffer): HelloReading {
  try {
    const cursor = new Cursor(body)
    cursor.take(2 + 32) // version, random
    cursor.take(cursor.number(1)) // session id
    cursor.take(cursor.number(2)) // cipher suites
    cursor.take(cursor.number(1)) // compression methods
    if (cursor.left === 0) return { kind: 'hello', serverName: undefined, encrypted: false }
    const extensions = new Cursor(cursor.take(cursor.number(2)))
    if (cursor.left > 0) return { kind: 'malformed' }
    const seen = new Set<number>()
    let serverName: string | undefined
    while (extensions.left > 0) {
      const type = extensions.number(2)
      const content = extensions.take(extensions.number(2))
      // Two of one type, and servers could differ in which they believe (RFC 8446 §4.2 forbids it).
      if (seen.has(type)) return { kind: 'malformed' }
      seen.add(type)
      if (type === serverNameExtension) serverName = readServerName(content)
    }
    return { kind: 'hello', serverName, encrypted: seen.has(encryptedHelloExtension) }
  } catch (error) {
    if (error instanceof RangeError) return { kind: 'malformed' }
    throw error
  }
}

/** RFC 6066 §3: a list that in practice, and here, has exactly one host_name. @throws RangeError */
function readServerName(content: Buffer): string {
  const cursor = new Cursor(content)
  const list = new Cursor(cursor.take(cursor.number(2)))
  const type = list.number(1)
  const name = list.take(list.number(2))
  if (type !== 0 || list.left > 0 || cursor.left > 0 || name.length === 0) throw new RangeError('not one name')
  return name.toString('latin1')
}
