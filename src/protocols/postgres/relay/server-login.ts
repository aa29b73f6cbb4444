import type { Duplex } from 'node:stream'
import net from 'node:net'
import tls from 'node:tls'
import { createHash } from 'node:crypto'
import { AgentgateError, ProtocolError } from '../../../errors.ts'
import type { Secret } from '../../../secret.ts'
import type { ServedResource } from '../../protocol.ts'
import { readErrorFields, type ErrorFields } from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { frame, int32 } from '../wire/frontend-messages.ts'
import { FrameReader } from '../wire/frame-reader.ts'
import { backend, frontend, typeName } from '../wire/message-type.ts'
import { ScramClient } from '../wire/scram.ts'
import { sslRequestPacket, startupPacket } from '../wire/startup.ts'
import { tlsEndPoint } from '../wire/tls-end-point.ts'

/** During login a server has little to say. */
const maxLoginMessageBytes = 1_000_000
const loginDeadlineMs = 30_000

/** The server said no: its own error, for the client to see. */
export class ServerRefused extends AgentgateError {
  readonly fields: ErrorFields
  constructor(resource: string, fields: ErrorFields) {
    super('TARGET_REFUSED', `${resource}: the server refused: ${fields.get('M') ?? 'no reason given'}`, {
      hint: fields.get('H'),
    })
    this.fields = fields
  }
}

/** An authenticated connection to the server, quiet and ready for its first query. */
export interface LoggedIn {
  /** Paused; whoever takes it reads it from here on. */
  readonly stream: Duplex
  /** In order, as reported. */
  readonly parameters: Map<string, string>
  readonly processId: number
  readonly cancelKey: Buffer
  /** Protocol 3.x, as agreed. */
  readonly minor: number
  readonly status: 'I' | 'T' | 'E'
}

export interface LoginOptions {
  readonly resource: ServedResource
  /** A new connection to the resource's address. */
  readonly upstream: () => Promise<Duplex>
  readonly database: string
  /** Run-time parameters besides user and database. */
  readonly parameters: readonly (readonly [string, string])[]
  readonly minor: number
  readonly signal?: AbortSignal | undefined
}

/** Connects, encrypts as the resource says, and authenticates. @throws AgentgateError */
export async function logIn(options: LoginOptions): Promise<LoggedIn> {
  const { stream, secure, endPoint } = await secureConnection(options.resource, options.upstream)
  const timer = setTimeout(() => stream.destroy(new Error('no answer')), loginDeadlineMs)
  const abort = () => stream.destroy()
  options.signal?.addEventListener('abort', abort, { once: true })
  try {
    return await new Login(options, stream, secure, endPoint).run()
  } catch (error) {
    stream.destroy()
    throw error
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', abort)
  }
}

interface Secured {
  readonly stream: Duplex
  /** TLS, or nothing that leaves this machine: a password may be sent. */
  readonly secure: boolean
  readonly endPoint: Buffer | null
}

/** A connection to the resource, with TLS where it says so. @throws AgentgateError TLS_FAILED, TARGET_UNREACHABLE */
export async function secureConnection(resource: ServedResource, upstream: () => Promise<Duplex>): Promise<Secured> {
  const plain = await upstream()
  const local = isLocal(resource.address)
  if (resource.tls.mode === 'off') return { stream: plain, secure: local, endPoint: null }
  try {
    plain.write(sslRequestPacket())
    const answer = await firstByte(plain)
    if (answer !== 0x53 /* S */)
      throw new AgentgateError('TLS_FAILED', `${resource.name}: the server at ${resource.address} offers no TLS`, {
        hint: local ? 'set `tls: off` for a server on this machine' : 'turn on ssl at the server',
      })
    const secured = await handshake(resource, plain)
    const peer = secured.getPeerCertificate().raw as Buffer | undefined
    return { stream: secured, secure: true, endPoint: (peer && tlsEndPoint(peer)) ?? null }
  } catch (error) {
    plain.destroy()
    throw error
  }
}

function isLocal(address: string): boolean {
  if (address.startsWith('/')) return true
  const host = hostOf(address)
  return host === 'localhost' || host === '::1' || (net.isIPv4(host) && host.startsWith('127.'))
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

/** Exactly one byte: what follows is of the handshake, and bytes that came before it are an attacker's (CVE-2021-23222). */
async function firstByte(stream: Duplex): Promise<number> {
  const chunk = await new Promise<Buffer>((resolve, reject) => {
    const gone = () => reject(new AgentgateError('TARGET_UNREACHABLE', 'the server closed the connection'))
    const timer = setTimeout(gone, loginDeadlineMs)
    stream.once('close', gone)
    stream.once('data', (data: Buffer) => {
      clearTimeout(timer)
      stream.off('close', gone)
      stream.pause()
      resolve(data)
    })
  })
  if (chunk.length !== 1) throw new ProtocolError('postgres', 'the server sent bytes before the TLS handshake')
  return chunk[0] ?? 0
}

async function handshake(resource: ServedResource, plain: Duplex): Promise<tls.TLSSocket> {
  const { mode, name, ca } = resource.tls
  const host = hostOf(resource.address)
  const expected = name ?? host
  const { certificate } = resource.credential
  const verifies = mode === 'verify-full' || mode === 'verify-ca'
  let nameMismatch: string | undefined
  const socket = tls.connect({
    socket: plain,
    ...(net.isIP(expected) === 0 ? { servername: expected } : {}),
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === null ? {} : { cert: certificate.certificate, key: certificate.key.reveal() }),
    // Explicit, so that NODE_TLS_REJECT_UNAUTHORIZED has no say.
    rejectUnauthorized: verifies,
    checkServerIdentity: (_, peer) => {
      if (mode !== 'verify-full') return undefined
      const error = tls.checkServerIdentity(expected, peer)
      if (error !== undefined) nameMismatch = namesOf(peer)
      return error
    },
    ALPNProtocols: ['postgresql'],
  })
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), loginDeadlineMs)
    const fail = (error?: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      reject(
        nameMismatch === undefined
          ? new AgentgateError('TLS_FAILED', `${resource.name}: TLS with ${resource.address} failed${why(error)}`, {
              hint: verifies ? hintOf(error) : undefined,
              cause: error,
            })
          : new AgentgateError(
              'TLS_FAILED',
              `${resource.name}: the server's certificate is for ${nameMismatch}, not ${expected}`,
              {
                hint: `set \`tls: { mode: verify-full, name: ${nameMismatch} }\` if that is right`,
              },
            ),
      )
    }
    socket.once('error', fail)
    socket.once('close', () => fail())
    socket.once('secureConnect', () => {
      clearTimeout(timer)
      socket.off('error', fail)
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}

function namesOf(peer: tls.PeerCertificate): string {
  const first = peer.subjectaltname?.split(', ').map(entry => entry.replace(/^[A-Za-z ]+:/, ''))[0]
  const common = [peer.subject.CN].flat()[0]
  const name = first ?? common ?? 'nobody'
  return /^[\w.*:-]{1,255}$/.test(name) ? name : 'another name'
}

const unsigned = 'no authority that is trusted here has signed its certificate'

/** Codes of OpenSSL's X509_verify_cert_error_string as Node names them. */
const certificateFaults: ReadonlyMap<string, string> = new Map([
  ['CERT_HAS_EXPIRED', 'its certificate has expired'],
  ['CERT_NOT_YET_VALID', 'its certificate is not valid yet'],
  ['CERT_REVOKED', 'its certificate is revoked'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', unsigned],
  ['UNABLE_TO_GET_ISSUER_CERT', unsigned],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', unsigned],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', unsigned],
  ['SELF_SIGNED_CERT_IN_CHAIN', unsigned],
])

/** Only words of ours, or a code of OpenSSL's or Node's: library texts may quote what must not be shown. */
function why(error: NodeJS.ErrnoException | undefined): string {
  const code = error?.code
  if (code === undefined) return ': the server closed the connection'
  const fault = certificateFaults.get(code)
  return fault === undefined ? ` (${code})` : `: ${fault}`
}

function hintOf(error: NodeJS.ErrnoException | undefined): string {
  const fault = certificateFaults.get(error?.code ?? '')
  return fault === undefined || fault === unsigned
    ? 'set `tls: { mode: verify-full, ca: … }` if the server has an authority of its own'
    : 'give the server a new certificate'
}

class Login {
  readonly #options: LoginOptions
  readonly #stream: Duplex
  readonly #secure: boolean
  readonly #endPoint: Buffer | null
  readonly #reader = new FrameReader()
  readonly #body = new BodyReader()
  #scram: ScramClient | undefined
  #scramDone = false
  #authenticated = false
  #heard = false

  constructor(options: LoginOptions, stream: Duplex, secure: boolean, endPoint: Buffer | null) {
    this.#options = options
    this.#stream = stream
    this.#secure = secure
    this.#endPoint = endPoint
  }

  async run(): Promise<LoggedIn> {
    const { resource, database, parameters } = this.#options
    const { user } = resource.credential
    if (user === null)
      throw new AgentgateError('TARGET_REFUSED', `${resource.name}: its credential has no user`, {
        hint: 'name one in the resource’s credential',
      })
    this.#stream.write(startupPacket(this.#options.minor, [['user', user], ['database', database], ...parameters]))
    const reported = new Map<string, string>()
    let processId = 0
    let cancelKey: Buffer = Buffer.alloc(0)
    let { minor } = this.#options
    for await (const type of this.#messages()) {
      const body = this.#body
      this.#heard = true
      switch (type) {
        case backend.Authentication:
          await this.#authenticate(body)
          break
        case backend.ParameterStatus:
          reported.set(body.utf8String(), body.utf8String())
          break
        case backend.BackendKeyData:
          processId = body.int32()
          cancelKey = Buffer.from(body.slice(body.left))
          break
        case backend.NegotiateProtocolVersion:
          minor = Math.min(minor, body.uint32() & 0xffff)
          break
        case backend.NoticeResponse:
          break
        case backend.ErrorResponse:
          throw new ServerRefused(resource.name, readErrorFields(body))
        case backend.ReadyForQuery: {
          if (!this.#authenticated) throw new ProtocolError('postgres', 'the server is ready without authentication')
          const status = String.fromCharCode(body.uint8())
          return {
            stream: this.#stream,
            parameters: reported,
            processId,
            cancelKey,
            minor,
            status: status === 'T' || status === 'E' ? status : 'I',
          }
        }
        default:
          throw new ProtocolError('postgres', `the server sent ${typeName(type)} during login`)
      }
    }
    // In TLS 1.3 the server looks at a client's certificate only when the handshake has ended for the client.
    if (!this.#heard && resource.credential.certificate !== null && resource.tls.mode !== 'off')
      throw new AgentgateError(
        'TLS_FAILED',
        `${resource.name}: the server hung up after TLS: it seems not to accept the credential's certificate`,
        { hint: 'use one of an authority that the server’s ssl_ca_file holds; its log says what was wrong' },
      )
    throw new AgentgateError('TARGET_UNREACHABLE', `${resource.name}: the server closed the connection during login`, {
      hint: `run: agentgate doctor ${resource.name}`,
    })
  }

  /** Message by message; what is read ahead goes back to the stream when the caller stops. */
  async *#messages(): AsyncGenerator<number> {
    const chunks: Buffer[] = []
    let wake: (() => void) | undefined
    const end = { came: false }
    const onData = (chunk: Buffer) => {
      chunks.push(chunk)
      wake?.()
    }
    const onEnd = () => {
      end.came = true
      wake?.()
    }
    this.#stream.on('data', onData).on('end', onEnd).on('close', onEnd)
    this.#stream.resume()
    try {
      for (;;) {
        while (this.#reader.header(maxLoginMessageBytes) && this.#reader.whole()) {
          const { bytes, start, length, type } = this.#reader
          this.#body.over(bytes, start + 5, start + length)
          this.#reader.skip(length)
          yield type
        }
        const chunk = chunks.shift()
        if (chunk !== undefined) this.#reader.push(chunk)
        else if (end.came) return
        else await new Promise<void>(resolve => (wake = resolve))
      }
    } finally {
      this.#stream.off('data', onData).off('end', onEnd).off('close', onEnd)
      this.#stream.pause()
      const rest = Buffer.concat([this.#reader.drain(), ...chunks])
      if (rest.length > 0) this.#stream.unshift(rest)
    }
  }

  async #authenticate(body: BodyReader): Promise<void> {
    const method = body.uint32()
    const { secret, user } = this.#options.resource.credential
    switch (method) {
      case 0: // AuthenticationOk
        // Whoever skips the proof that it knows the password is not the server.
        if (this.#scram !== undefined && !this.#scramDone)
          throw new ProtocolError('postgres', 'the server broke off SCRAM')
        this.#authenticated = true
        return
      case 3: // AuthenticationCleartextPassword
        this.#mayReveal('its password in clear text')
        this.#send(frame(frontend.Password, this.#password(secret).reveal()))
        return
      case 5: {
        // AuthenticationMD5Password
        this.#mayReveal('an MD5 of its password')
        const inner = md5(Buffer.from(this.#password(secret).reveal() + (user ?? '')))
        this.#send(frame(frontend.Password, `md5${md5(Buffer.concat([Buffer.from(inner), body.slice(4)]))}`))
        return
      }
      case 10: {
        // AuthenticationSASL
        const offered: string[] = []
        for (let name = body.rawString(); name !== ''; name = body.rawString()) offered.push(name)
        this.#scram = new ScramClient(this.#password(secret), offered, this.#endPoint)
        const first = Buffer.from(this.#scram.first())
        this.#send(frame(frontend.Password, this.#scram.mechanism, int32(first.length), first))
        return
      }
      case 11: // AuthenticationSASLContinue
        if (this.#scram === undefined) throw new ProtocolError('postgres', 'SASL out of order')
        this.#send(frame(frontend.Password, Buffer.from(await this.#scram.final(body.slice(body.left).toString()))))
        return
      case 12: // AuthenticationSASLFinal
        if (this.#scram === undefined) throw new ProtocolError('postgres', 'SASL out of order')
        this.#scram.verify(body.slice(body.left).toString())
        this.#scramDone = true
        return
      default:
        throw new AgentgateError(
          'TARGET_REFUSED',
          `${this.#options.resource.name}: the server asks for an authentication (${method}) that agentgate does not know`,
          { hint: 'use scram-sha-256 or a client certificate in its pg_hba.conf' },
        )
    }
  }

  #send(bytes: Buffer): void {
    this.#stream.write(bytes)
  }

  #password(secret: Secret | null): Secret {
    if (secret !== null) return secret
    const { name } = this.#options.resource
    throw new AgentgateError('TARGET_REFUSED', `${name}: the server asks for a password and its credential has none`, {
      hint: 'set the secret of the resource’s credential',
    })
  }

  #mayReveal(what: string): void {
    if (this.#secure) return
    const { name } = this.#options.resource
    throw new AgentgateError('TARGET_REFUSED', `${name}: the server asks for ${what} on a connection without TLS`, {
      hint: 'use scram-sha-256 in its pg_hba.conf, or tls: verify-full',
    })
  }
}

const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex')
