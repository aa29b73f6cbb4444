import type { OpenedSession, WireCredential } from '../control/broker-schema.ts'
import type { Credential } from '../credentials/credential.ts'
import type { Principal } from '../policy/subject.ts'

export function principalToWire({ name, groups, source, claims }: Principal): OpenedSession['principal'] {
  return {
    ...{ name, source },
    groups: [...groups],
    ...(claims === undefined
      ? {}
      : { claims: Object.fromEntries(Object.entries(claims).map(([claim, values]) => [claim, [...values]])) }),
  }
}

export function credentialToWire(credential: Credential): WireCredential {
  const { certificate } = credential
  return {
    issuer: credential.issuer,
    user: credential.user,
    secret: credential.secret?.reveal() ?? null,
    certificate: certificate === null ? null : { certificate: certificate.certificate, key: certificate.key.reveal() },
    expiresAt: credential.expiresAt?.toISOString() ?? null,
  }
}

export function tlsToWire(tls: {
  mode: OpenedSession['grants'][number]['tls']['mode']
  name: string | undefined
  ca: string | undefined
}) {
  return {
    mode: tls.mode,
    ...(tls.name === undefined ? {} : { name: tls.name }),
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
  }
}
