import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'

/** Signs one session's manifest; the private half never leaves memory. */
export interface SessionKey {
  /** Raw Ed25519 public key in base64. */
  readonly publicKey: string
  /** Signature in base64. */
  sign(bytes: Buffer): string
}

export function newSessionKey(): SessionKey {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const x = publicKey.export({ format: 'jwk' }).x ?? ''
  return {
    publicKey: Buffer.from(x, 'base64url').toString('base64'),
    sign: bytes => sign(null, bytes, privateKey).toString('base64'),
  }
}

/** False also where key or signature are no such thing. */
export function signatureHolds(publicKey: string, bytes: Buffer, signature: string): boolean {
  const raw = Buffer.from(publicKey, 'base64')
  const bits = Buffer.from(signature, 'base64')
  // Base64 has spare bits and is lenient about padding: one text for one value.
  if (raw.toString('base64') !== publicKey || bits.toString('base64') !== signature) return false
  try {
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }, format: 'jwk' })
    return verify(null, bytes, key, bits)
  } catch {
    return false
  }
}
