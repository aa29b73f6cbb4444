import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto'

/** Signs one session's manifest; the private half never leaves memory. A witness signs with one that is kept. */
export interface SessionKey {
  /** Raw Ed25519 public key in base64. */
  readonly publicKey: string
  /** Signature in base64. */
  sign(bytes: Buffer): string
}

export function newSessionKey(): SessionKey {
  return keyOf(generateKeyPairSync('ed25519').privateKey)
}

/** From a PKCS #8 PEM. Throws where it is no Ed25519 key. */
export function keyFromPem(pem: string): SessionKey {
  return keyOf(createPrivateKey(pem))
}

export function newKeyPem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function keyOf(privateKey: KeyObject): SessionKey {
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new TypeError('not an Ed25519 key')
  return {
    publicKey: rawOf(createPublicKey(privateKey)),
    sign: bytes => sign(null, bytes, privateKey).toString('base64'),
  }
}

/** A public key as it is kept in a file (PEM, or its 32 bytes in base64), as those 32 bytes in base64; undefined: it is none. */
export function publicKeyOf(text: string): string | undefined {
  const trimmed = text.trim()
  if (/^[A-Za-z0-9+/]{43}=$/.test(trimmed)) return trimmed
  try {
    const key = createPublicKey(trimmed)
    return key.asymmetricKeyType === 'ed25519' ? rawOf(key) : undefined
  } catch {
    return undefined
  }
}

export function publicKeyPem(publicKey: string): string {
  return objectOf(publicKey).export({ type: 'spki', format: 'pem' }).toString()
}

function rawOf(key: KeyObject): string {
  return Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url').toString('base64')
}

function objectOf(publicKey: string): KeyObject {
  const x = Buffer.from(publicKey, 'base64').toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

/** False also where key or signature are no such thing. */
export function signatureHolds(publicKey: string, bytes: Buffer, signature: string): boolean {
  const raw = Buffer.from(publicKey, 'base64')
  const bits = Buffer.from(signature, 'base64')
  // Base64 has spare bits and is lenient about padding: one text for one value.
  if (raw.toString('base64') !== publicKey || bits.toString('base64') !== signature) return false
  try {
    return verify(null, bytes, objectOf(publicKey), bits)
  } catch {
    return false
  }
}
