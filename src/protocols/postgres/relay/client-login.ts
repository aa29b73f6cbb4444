import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { ProtocolError } from '../../../errors.ts'
import {
  authenticationSasl,
  authenticationSaslContinue,
  authenticationSaslFinal,
  errorResponse,
  negotiateProtocolVersion,
  type ErrorParts,
} from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { FrameReader, headerBytes } from '../wire/frame-reader.ts'
import { frontend, typeName } from '../wire/message-type.ts'
import { ScramServer, type ScramVerifier } from '../wire/scram.ts'
import { OpeningReader, type Opening } from '../wire/startup.ts'
import type { LocalCertificate } from './local-certificate.ts'

/** As PostgreSQL's authentication_timeout. */
const loginDeadlineMs = 60_000
const maxSaslBytes = 4096
/** SSLRequest, GSSENCRequest, and then it is time to start. */
const maxOpenings = 4
const newestMinor = 2

/** The client was told why, and its connection is being closed. */
export class ClientRejected extends Error {
  override readonly name = 'ClientRejected'
}

export type Greeting =
  | { readonly kind: 'cancel'; readonly processId: number; readonly key: Buffer }
  | { readonly kind: 'gone' }
  | {
      readonly kind: 'client'
      /** Paused; in place of the one given where the client asked for TLS. */
      readonly stream: Duplex
      /** Our end point of its TLS, where there is one. */
      readonly endPoint: Buffer | null
      readonly minor: number
      readonly parameters: ReadonlyMap<string, string>
    }

/** Reads what a client opens with, up to its StartupMessage. @throws ProtocolError, ClientRejected */
export async function greet(
  client: Duplex,
  certificate: () => LocalCertificate,
  signal: AbortSignal,
): Promise<Greeting> {
  const reader = new OpeningReader()
  let stream = client
  let endPoint: Buffer | null = null
  let source = new Reading(stream, signal)
  try {
    for (let count = 0; count < maxOpenings; count++) {
      const opening = await nextOpening(reader, source)
      if (opening === undefined) return { kind: 'gone' }
      switch (opening.kind) {
        case 'cancel':
          return opening
        case 'gss-request':
          stream.write('N')
          break
        case 'direct-tls':
        case 'ssl-request': {
          if (endPoint !== null) throw new ProtocolError('postgres', 'TLS within TLS')
          const direct = opening.kind === 'direct-tls'
          // What came behind SSLRequest came in clear text, so from anybody (CVE-2021-23214).
          source.release(reader.drain(), direct)
          const local = certificate()
          stream = await secure(stream, local, direct)
          endPoint = local.endPoint
          source = new Reading(stream, signal)
          break
        }
        case 'startup':
          source.release(reader.drain(), true)
          return { kind: 'client', stream, endPoint, ...start(opening, stream) }
        default:
          opening satisfies never
      }
    }
    throw new ProtocolError('postgres', 'no start-up packet')
  } finally {
    source[Symbol.dispose]()
  }
}

async function nextOpening(reader: OpeningReader, source: Reading): Promise<Opening | undefined> {
  for (;;) {
    const opening = reader.next()
    if (opening !== undefined) return opening
    const chunk = await source.next()
    if (chunk === undefined) return undefined
    reader.push(chunk)
  }
}

function start(
  opening: Extract<Opening, { kind: 'startup' }>,
  stream: Duplex,
): { minor: number; parameters: ReadonlyMap<string, string> } {
  const { major, minor, parameters } = opening
  if (major !== 3)
    reject(stream, {
      severity: 'FATAL',
      sqlstate: '0A000',
      message: `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.${newestMinor}`,
    })
  const map = new Map<string, string>()
  const unsupported: string[] = []
  for (const [name, value] of parameters) {
    if (name.startsWith('_pq_.')) unsupported.push(name)
    else map.set(name, value)
  }
  // 3.1 was never used; servers treat what is above 3.2 as a question (PG 18 docs §54.2.1).
  if (minor > newestMinor || unsupported.length > 0)
    stream.write(negotiateProtocolVersion(Math.min(minor, newestMinor), unsupported))
  return { minor: Math.min(minor, newestMinor), parameters: map }
}

async function secure(stream: Duplex, certificate: LocalCertificate, direct: boolean): Promise<Duplex> {
  if (!direct) stream.write('S')
  const socket = new tls.TLSSocket(asSocket(stream), {
    isServer: true,
    secureContext: certificate.context,
    ALPNProtocols: ['postgresql'],
  })
  socket.on('error', () => undefined)
  try {
    await once(socket, 'secure', { signal: AbortSignal.timeout(loginDeadlineMs) })
  } catch {
    socket.destroy()
    stream.destroy()
    throw new ProtocolError('postgres', 'the client broke off its TLS handshake')
  }
  if (direct && socket.alpnProtocol !== 'postgresql') {
    socket.destroy()
    throw new ProtocolError('postgres', 'direct TLS without ALPN')
  }
  return socket
}

/** Lets the client prove that it knows the tunnel's secret; never in clear text. @throws ClientRejected, ProtocolError */
export async function authenticate(
  stream: Duplex,
  verifier: ScramVerifier,
  endPoint: Buffer | null,
  user: string,
  signal: AbortSignal,
): Promise<boolean> {
  const scram = new ScramServer(verifier, endPoint)
  using source = new Reading(stream, signal)
  const frames = new FrameReader()
  const body = new BodyReader()
  const nextMessage = async () => {
    while (!(frames.header(maxSaslBytes) && frames.whole())) {
      const chunk = await source.next()
      if (chunk === undefined) return undefined
      frames.push(chunk)
    }
    const { bytes, start, length, type } = frames
    frames.skip(length)
    if (type !== frontend.Password) throw new ProtocolError('postgres', `${typeName(type)} where a proof was expected`)
    return body.over(bytes, start + headerBytes, start + length)
  }
  stream.write(authenticationSasl(scram.mechanisms))
  const first = await nextMessage()
  if (first === undefined) return false
  const mechanism = first.rawString()
  const size = first.int32()
  stream.write(authenticationSaslContinue(scram.first(mechanism, first.slice(Math.max(0, size)).toString())))
  const final = await nextMessage()
  if (final === undefined) return false
  const answer = scram.final(final.slice(final.left).toString())
  if (answer === undefined)
    reject(stream, {
      severity: 'FATAL',
      sqlstate: '28P01', // invalid_password
      message: `password authentication failed for user "${user}": it is not this tunnel's secret`,
      hint: 'take the password that agentgate connect gives; the database’s own is not needed here',
    })
  stream.write(authenticationSaslFinal(answer))
  source.release(frames.drain(), true)
  return true
}

/** Node types what it wraps as a Socket, and takes any Duplex (Node 20 docs, tls.TLSSocket). */
function asSocket(stream: Duplex): Socket {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- of a Duplex, only what Duplex has is used
  return stream as Socket
}

export function reject(stream: Duplex, error: ErrorParts): never {
  stream.end(errorResponse(error))
  throw new ClientRejected(error.message)
}

/** Reads a stream chunk by chunk, with a deadline for all of it, and leaves it paused. */
class Reading implements Disposable {
  readonly #stream: Duplex
  readonly #signal: AbortSignal
  readonly #chunks: Buffer[] = []
  readonly #timer: NodeJS.Timeout
  #wake: () => void = () => undefined
  #ended = false
  #released = false
  readonly #onData = (chunk: Buffer) => {
    this.#chunks.push(chunk)
    this.#stream.pause()
    this.#wake()
  }
  readonly #onEnd = () => {
    this.#ended = true
    this.#wake()
  }

  constructor(stream: Duplex, signal: AbortSignal) {
    this.#stream = stream
    this.#signal = signal
    this.#timer = setTimeout(this.#onEnd, loginDeadlineMs).unref()
    stream.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onEnd).on('error', this.#onEnd)
    signal.addEventListener('abort', this.#onEnd)
    stream.resume()
  }

  /** Undefined: the client is gone, or too slow. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk !== undefined) return chunk
      if (this.#ended || this.#stream.destroyed) return undefined
      this.#stream.resume()
      await new Promise<void>(resolve => (this.#wake = resolve))
    }
  }

  /** Gives the stream back, with what was read ahead where the next reader may have it. */
  release(rest: Buffer, mayReadAhead: boolean): void {
    this[Symbol.dispose]()
    const ahead = Buffer.concat([rest, ...this.#chunks])
    if (ahead.length === 0) return
    if (!mayReadAhead) throw new ProtocolError('postgres', 'unencrypted data after the SSL request')
    this.#stream.unshift(ahead)
  }

  [Symbol.dispose](): void {
    if (this.#released) return
    this.#released = true
    clearTimeout(this.#timer)
    this.#stream.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onEnd).off('error', this.#onEnd)
    this.#signal.removeEventListener('abort', this.#onEnd)
    this.#stream.pause()
  }
}
