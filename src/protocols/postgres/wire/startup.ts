import { ProtocolError } from '../../../errors.ts'
import { BodyReader } from './body-reader.ts'

const nothing = Buffer.alloc(0)

const sslRequest = 80_877_103
const gssEncRequest = 80_877_104
const cancelRequest = 80_877_102
/** PG's own limit, MAX_STARTUP_PACKET_LENGTH in src/include/libpq/pqcomm.h. */
export const maxStartupBytes = 10_000
const minCancelKeyBytes = 4
const maxCancelKeyBytes = 256 // PG 18 docs §54.7, CancelRequest

/** What a client opens with (PG 18 docs §54.2.1, §54.2.9–11). */
export type Opening =
  /** The first byte of a TLS handshake: TLS without SSLRequest, told by ALPN (PG 17 and later). */
  | { readonly kind: 'direct-tls' }
  | { readonly kind: 'ssl-request' }
  | { readonly kind: 'gss-request' }
  | { readonly kind: 'cancel'; readonly processId: number; readonly key: Buffer }
  | {
      readonly kind: 'startup'
      readonly major: number
      readonly minor: number
      /** In order and as sent, names in lower or upper case as the client wrote them. */
      readonly parameters: readonly (readonly [string, string])[]
    }

/** Reads what comes before the first typed message; one `next` an opening, as a client may send several. */
export class OpeningReader {
  #bytes: Buffer = nothing

  push(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    if (this.#bytes.length > maxStartupBytes * 4) throw new ProtocolError('postgres', 'too much before start-up')
  }

  /** Whether bytes came behind the last opening. */
  get hasMore(): boolean {
    return this.#bytes.length > 0
  }

  drain(): Buffer {
    const rest = this.#bytes
    this.#bytes = nothing
    return rest
  }

  /** @throws ProtocolError for what no client of Postgres sends. */
  next(): Opening | undefined {
    if (this.#bytes.length === 0) return undefined
    if (this.#bytes[0] === 0x16) return { kind: 'direct-tls' }
    if (this.#bytes.length < 4) {
      // A length's first byte is zero up to 16 MB: garbage is known from its first byte.
      if (this.#bytes[0] !== 0) throw new ProtocolError('postgres', 'not a start-up packet')
      return undefined
    }
    const length = this.#bytes.readUInt32BE(0)
    if (length < 8 || length > maxStartupBytes)
      throw new ProtocolError('postgres', `a start-up packet of ${length} bytes`)
    if (this.#bytes.length < length) return undefined
    const packet = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return readPacket(packet)
  }
}

function readPacket(packet: Buffer): Opening {
  const body = new BodyReader().over(packet, 4, packet.length)
  const code = body.uint32()
  switch (code) {
    case sslRequest:
      body.finish()
      return { kind: 'ssl-request' }
    case gssEncRequest:
      body.finish()
      return { kind: 'gss-request' }
    case cancelRequest: {
      const processId = body.int32()
      const key = body.slice(body.left)
      if (key.length < minCancelKeyBytes || key.length > maxCancelKeyBytes)
        throw new ProtocolError('postgres', `a cancel key of ${key.length} bytes`)
      return { kind: 'cancel', processId, key }
    }
    default:
  }
  const major = code >>> 16
  const minor = code & 0xffff
  const parameters: [string, string][] = []
  if (major === 3) {
    while (body.left > 1) parameters.push([body.utf8String(), body.utf8String()])
    if (body.uint8() !== 0) throw new ProtocolError('postgres', 'a start-up packet without an end')
    body.finish()
  }
  return { kind: 'startup', major, minor, parameters }
}

export function sslRequestPacket(): Buffer {
  return packetOf(sslRequest, nothing)
}

export function cancelPacket(processId: number, key: Buffer): Buffer {
  const body = Buffer.alloc(4 + key.length)
  body.writeInt32BE(processId, 0)
  key.copy(body, 4)
  return packetOf(cancelRequest, body)
}

export function startupPacket(minor: number, parameters: readonly (readonly [string, string])[]): Buffer {
  const text = parameters.map(([name, value]) => `${name}\0${value}\0`).join('')
  return packetOf((3 << 16) | minor, Buffer.from(`${text}\0`))
}

function packetOf(code: number, body: Buffer): Buffer {
  const packet = Buffer.alloc(8 + body.length)
  packet.writeUInt32BE(packet.length, 0)
  packet.writeUInt32BE(code, 4)
  body.copy(packet, 8)
  return packet
}
