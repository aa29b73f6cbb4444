import { createHash, X509Certificate } from 'node:crypto'

/**
 * tls-server-end-point (RFC 5929 §4.1): the certificate's hash by its signature's own hash function, SHA-256 in place of
 * MD5 and SHA-1. Undefined where that function cannot be told (Ed25519): then there is no binding, as in libpq.
 */
export function tlsEndPoint(certificate: Buffer): Buffer | undefined {
  const hash = signatureHash(new X509Certificate(certificate).raw)
  return hash === undefined ? undefined : createHash(hash).update(certificate).digest()
}

const hashes: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.1.1.4', 'sha256'], // md5WithRSAEncryption
  ['1.2.840.113549.1.1.5', 'sha256'], // sha1WithRSAEncryption
  ['1.2.840.113549.1.1.14', 'sha224'],
  ['1.2.840.113549.1.1.11', 'sha256'],
  ['1.2.840.113549.1.1.12', 'sha384'],
  ['1.2.840.113549.1.1.13', 'sha512'],
  ['1.2.840.10045.4.1', 'sha256'], // ecdsa-with-SHA1
  ['1.2.840.10045.4.3.1', 'sha224'],
  ['1.2.840.10045.4.3.2', 'sha256'],
  ['1.2.840.10045.4.3.3', 'sha384'],
  ['1.2.840.10045.4.3.4', 'sha512'],
])

/** Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER … } … } */
function signatureHash(der: Buffer): string | undefined {
  const certificate = element(der, 0)
  const tbs = element(der, certificate.start)
  const algorithm = element(der, tbs.end)
  const identifier = element(der, algorithm.start)
  return hashes.get(objectIdentifier(der.subarray(identifier.start, identifier.end)))
}

/** Where the content of the DER element at `at` begins and ends; the certificate has been parsed already. */
function element(der: Buffer, at: number): { start: number; end: number } {
  const first = der.readUInt8(at + 1)
  if (first < 0x80) return { start: at + 2, end: at + 2 + first }
  const size = first & 0x7f
  const start = at + 2 + size
  return { start, end: start + der.readUIntBE(at + 2, size) }
}

function objectIdentifier(content: Buffer): string {
  const first = content[0] ?? 0
  const parts = [Math.floor(first / 40), first % 40]
  let value = 0
  for (const byte of content.subarray(1)) {
    value = value * 128 + (byte & 0x7f)
    if (byte < 0x80) {
      parts.push(value)
      value = 0
    }
  }
  return parts.join('.')
}
