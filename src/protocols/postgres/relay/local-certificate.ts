import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import tls from 'node:tls'

/** TLS for clients that ask for it on the local listener: `sslmode=require` encrypts, it does not verify. */
export interface LocalCertificate {
  readonly context: tls.SecureContext
  /** For SCRAM-SHA-256-PLUS: clients that bind to it know that nobody sits between. */
  readonly endPoint: Buffer
}

/** Makes a key and a self-signed certificate that never leave memory. */
export function localCertificate(): LocalCertificate {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicKey = keys.publicKey.export({ type: 'spki', format: 'der' })
  const name = sequence(set(sequence(objectIdentifier('550403'), der(0x0c, Buffer.from('agentgate')))))
  const ecdsaSha256 = sequence(objectIdentifier('2a8648ce3d040302'))
  const serial = randomBytes(16)
  serial.writeUInt8((serial.readUInt8(0) & 0x7f) | 0x40, 0) // positive, and in its shortest form
  const day = 86_400_000
  const names = sequence(
    der(0x82, Buffer.from('localhost')),
    der(0x87, Buffer.of(127, 0, 0, 1)),
    der(0x87, Buffer.from('00000000000000000000000000000001', 'hex')),
  )
  // RFC 5280 §4.1: TBSCertificate
  const body = sequence(
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, serial),
    ecdsaSha256,
    name,
    sequence(time(new Date(Date.now() - day)), time(new Date(Date.now() + 3650 * day))),
    name,
    publicKey,
    der(0xa3, sequence(sequence(objectIdentifier('551d11'), der(0x04, names)))),
  )
  const signature = sign('sha256', body, keys.privateKey)
  const certificate = sequence(body, ecdsaSha256, der(0x03, Buffer.concat([Buffer.of(0), signature])))
  const pem = `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64').replaceAll(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`
  return {
    context: tls.createSecureContext({
      cert: pem,
      key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      minVersion: 'TLSv1.2',
    }),
    endPoint: createHash('sha256').update(certificate).digest(),
  }
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content])
  const size = length < 0x100 ? Buffer.of(0x81, length) : Buffer.of(0x82, length >> 8, length & 0xff)
  return Buffer.concat([Buffer.of(tag), size, content])
}

const sequence = (...parts: readonly Buffer[]) => der(0x30, Buffer.concat(parts))
const set = (...parts: readonly Buffer[]) => der(0x31, Buffer.concat(parts))
const objectIdentifier = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))
/** GeneralizedTime is for 2050 and later, UTCTime for before (RFC 5280 §4.1.2.5). */
const time = (at: Date) => der(0x17, Buffer.from(`${at.toISOString().slice(2, 19).replaceAll(/[-T:]/g, '')}Z`))
