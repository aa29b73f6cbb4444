import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { AgentgateError, ProtocolError } from '../../../errors.ts'
import type { Secret } from '../../../secret.ts'

const derive = promisify(pbkdf2)

// RFC 5802 with RFC 7677's hash, as PG 18 docs §54.3.1 narrows it: no user name, no mandatory extensions.
export const scramSha256 = 'SCRAM-SHA-256'
export const scramSha256Plus = 'SCRAM-SHA-256-PLUS'

/** RFC 7677's floor; some clients take no fewer. */
const iterations = 4096
/** A server may ask for more; beyond this it only burns our processor. */
const maxIterations = 1_000_000
const keyBytes = 32
const nonceBytes = 18

const hmac = (key: Buffer, text: string | Buffer) => createHmac('sha256', key).update(text).digest()
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest()

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, index) => byte ^ (b[index] ?? 0)))
}

/** SASLprep (RFC 4013) as far as the server goes: what it cannot prepare it takes as it is. */
function prepared(password: string): string {
  // U+00A0 and its kin become a space, U+00AD and its kin nothing (RFC 3454 C.1.2, B.1); then NFKC.
  return password
    .replaceAll(/[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g, ' ')
    .replaceAll(/[\u00AD\u034F\u1806\u180B-\u180D\u200C\u200D\u2060\uFE00-\uFE0F\uFEFF]/g, '')
    .normalize('NFKC')
}

/** Attributes `a=…,b=…` in this very order. @throws ProtocolError */
function attributes(text: string, names: string): string[] {
  const parts = text.split(',')
  if (parts.length < names.length || Array.from(names).some((name, index) => !parts[index]?.startsWith(`${name}=`)))
    throw new ProtocolError('postgres', 'a malformed SCRAM message')
  return parts.slice(0, names.length).map(part => part.slice(2))
}

/** What a server keeps of a password. */
export interface ScramVerifier {
  readonly salt: Buffer
  readonly iterations: number
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

export async function scramVerifier(secret: Secret): Promise<ScramVerifier> {
  const salt = randomBytes(16)
  const salted = await derive(prepared(secret.reveal()), salt, iterations, keyBytes, 'sha256')
  return {
    salt,
    iterations,
    storedKey: sha256(hmac(salted, 'Client Key')),
    serverKey: hmac(salted, 'Server Key'),
  }
}

/** The server's side of one exchange. */
export class ScramServer {
  readonly #verifier: ScramVerifier
  /** tls-server-end-point of our certificate (RFC 5929 §4); null where there is no TLS. */
  readonly #endPoint: Buffer | null
  #gs2 = ''
  #binding: Buffer = Buffer.alloc(0)
  #first = ''
  #nonce = ''

  constructor(verifier: ScramVerifier, endPoint: Buffer | null) {
    this.#verifier = verifier
    this.#endPoint = endPoint
  }

  get mechanisms(): readonly string[] {
    return this.#endPoint === null ? [scramSha256] : [scramSha256Plus, scramSha256]
  }

  /** Takes client-first, gives server-first. @throws ProtocolError */
  first(mechanism: string, message: string): string {
    if (!this.mechanisms.includes(mechanism)) throw new ProtocolError('postgres', 'an unknown SASL mechanism')
    const match = /^(p=tls-server-end-point|[ny]),(a=[^,]*)?,(.*)$/s.exec(message)
    const flag = match?.[1]
    const bare = match?.[3]
    if (match === null || flag === undefined || bare === undefined)
      throw new ProtocolError('postgres', 'a malformed SCRAM message')
    const binds = flag.startsWith('p')
    if (binds !== (mechanism === scramSha256Plus))
      throw new ProtocolError('postgres', 'a wrong SCRAM channel binding flag')
    // "y": the client could bind and believes we could not. With TLS we offered it, so somebody took the offer away.
    if (flag === 'y' && this.#endPoint !== null)
      throw new ProtocolError('postgres', 'SCRAM channel binding was stripped')
    this.#gs2 = `${flag},${match[2] ?? ''},`
    if (binds) this.#binding = this.#endPoint ?? this.#binding
    const [, clientNonce = ''] = attributes(bare, 'nr')
    if (!/^[\x21-\x2b\x2d-\x7e]+$/.test(clientNonce)) throw new ProtocolError('postgres', 'a malformed SCRAM nonce')
    this.#nonce = clientNonce + randomBytes(nonceBytes).toString('base64')
    const { salt, iterations: count } = this.#verifier
    const answer = `r=${this.#nonce},s=${salt.toString('base64')},i=${count}`
    this.#first = `${bare},${answer}`
    return answer
  }

  /** Takes client-final; gives server-final, or undefined where the password is wrong. @throws ProtocolError */
  final(message: string): string | undefined {
    const [binding = '', nonce = ''] = attributes(message, 'cr')
    const at = message.lastIndexOf(',p=')
    if (at < 0) throw new ProtocolError('postgres', 'a malformed SCRAM message')
    const proof = Buffer.from(message.slice(at + 3), 'base64')
    const expected = Buffer.concat([Buffer.from(this.#gs2), this.#binding]).toString('base64')
    if (binding !== expected) throw new ProtocolError('postgres', 'SCRAM channel binding does not match')
    if (nonce !== this.#nonce || proof.length !== keyBytes) throw new ProtocolError('postgres', 'a wrong SCRAM nonce')
    const signed = `${this.#first},${message.slice(0, at)}`
    const clientKey = xor(proof, hmac(this.#verifier.storedKey, signed))
    if (!timingSafeEqual(sha256(clientKey), this.#verifier.storedKey)) return undefined
    return `v=${hmac(this.#verifier.serverKey, signed).toString('base64')}`
  }
}

/** The client's side of one exchange; the server has to prove that it knows the password too. */
export class ScramClient {
  readonly mechanism: string
  readonly #password: Secret
  readonly #gs2: string
  readonly #binding: Buffer
  readonly #bare: string
  readonly #nonce: string
  #serverSignature: Buffer | undefined

  /**
   * @param endPoint tls-server-end-point of the server's certificate; null without TLS.
   * @throws AgentgateError TARGET_REFUSED: the server offers nothing that we speak.
   */
  constructor(password: Secret, offered: readonly string[], endPoint: Buffer | null) {
    this.#password = password
    const plus = endPoint !== null && offered.includes(scramSha256Plus)
    if (!plus && !offered.includes(scramSha256))
      throw new AgentgateError('TARGET_REFUSED', 'the server offers no SASL mechanism that agentgate knows')
    this.mechanism = plus ? scramSha256Plus : scramSha256
    this.#gs2 = plus ? 'p=tls-server-end-point,,' : endPoint === null ? 'n,,' : 'y,,'
    this.#binding = plus ? endPoint : Buffer.alloc(0)
    this.#nonce = randomBytes(nonceBytes).toString('base64')
    this.#bare = `n=,r=${this.#nonce}`
  }

  first(): string {
    return this.#gs2 + this.#bare
  }

  /** Takes server-first, gives client-final. */
  async final(message: string): Promise<string> {
    const [nonce = '', salt64 = '', count = ''] = attributes(message, 'rsi')
    const iterationCount = Number(count)
    const salt = Buffer.from(salt64, 'base64')
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length || salt.length === 0)
      throw new ProtocolError('postgres', 'a wrong SCRAM nonce or salt from the server')
    if (!Number.isInteger(iterationCount) || iterationCount < 1 || iterationCount > maxIterations)
      throw new ProtocolError('postgres', 'a SCRAM iteration count out of range from the server')
    const salted = await derive(prepared(this.#password.reveal()), salt, iterationCount, keyBytes, 'sha256')
    const clientKey = hmac(salted, 'Client Key')
    const binding = Buffer.concat([Buffer.from(this.#gs2), this.#binding]).toString('base64')
    const withoutProof = `c=${binding},r=${nonce}`
    const signed = `${this.#bare},${message},${withoutProof}`
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), signed)
    const proof = xor(clientKey, hmac(sha256(clientKey), signed))
    return `${withoutProof},p=${proof.toString('base64')}`
  }

  /** Takes server-final. @throws ProtocolError: whoever answers does not know the password. */
  verify(message: string): void {
    const [signature = ''] = attributes(message, 'v')
    const given = Buffer.from(signature, 'base64')
    const own = this.#serverSignature
    if (own?.length !== given.length || !timingSafeEqual(own, given))
      throw new ProtocolError(
        'postgres',
        'the server does not know the password: it may not be the one it claims to be',
      )
  }
}
