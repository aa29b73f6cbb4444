import { resolveSecret, type SecretTemplate } from '../config/secret-reference.ts'
import { AgentgateError } from '../errors.ts'
import type { Credential, CredentialIssuer } from './credential.ts'
import { readCredentialUrl } from './credential-url.ts'
import type { OpenIssuer } from './issuer-kind.ts'

/** A user and secret that exist already. The client never sees them; what ends with the grant is the tunnel alone. */
export const openStatic: OpenIssuer<'static'> = async (written, resource, secrets) => {
  const value = async (template: SecretTemplate | undefined) =>
    template === undefined ? null : await resolveSecret(template, secrets)
  const [urlText, user, secret, certificate, key] = await Promise.all([
    value(written.url),
    value(written.user),
    value(written.secret ?? written.password),
    value(written.certificate?.certificate),
    value(written.certificate?.key),
  ])
  // A whole URL as a password would be sent to the server as one.
  if (secret !== null && /^[a-z][a-z0-9+.-]*:\/\/[^\s/]*@/i.test(secret.reveal()))
    throw new AgentgateError('SECRET_UNRESOLVED', `${resource}: the credential’s secret is a whole URL`, {
      hint: 'call it url: instead of secret:',
    })
  const url = urlText === null ? undefined : readCredentialUrl(urlText, resource)
  return {
    place: url,
    issuerFor: () =>
      unchanging({
        issuer: 'static',
        user: url?.user ?? user?.reveal() ?? null,
        secret: url?.password ?? secret,
        certificate: certificate === null || key === null ? null : { certificate: certificate.reveal(), key },
        expiresAt: null,
      }),
  }
}

/** Hands out a credential that somebody else made and ends: there is nothing of ours at the target to take back. */
export function unchanging(credential: Credential): CredentialIssuer {
  return {
    name: credential.issuer,
    mint: () => Promise.resolve(credential),
    renew: current => Promise.resolve(current),
    revoke: () => Promise.resolve(),
    terminate: () => Promise.resolve(),
    sweep: () => Promise.resolve(0),
  }
}
