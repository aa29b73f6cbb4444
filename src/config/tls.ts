import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/** How a target is reached. Nothing but `verify-full` and loopback is safe from a man in the middle. */
export interface TlsSettings {
  /** `verify-full` checks chain and name; `verify-ca` the chain; `require` encrypts only; `off` is for loopback. */
  readonly mode: 'verify-full' | 'verify-ca' | 'require' | 'off'
  /** The name to expect in the certificate, where it is not the address's host. */
  readonly name: string | undefined
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca: string | undefined
}

/** When the certificate of the peer of a TLS connection ends (RFC 5280 §4.1.2.5); undefined for any other connection. */
export function certificateEnd(stream: Duplex): Date | undefined {
  if (!(stream instanceof TLSSocket)) return undefined
  const end = new Date(stream.getPeerCertificate().valid_to)
  return Number.isNaN(end.getTime()) ? undefined : end
}
