import { resolveSecret } from '../../config/secret-reference.ts'
import { AgentgateError } from '../../errors.ts'
import { readCredentialUrl } from '../credential-url.ts'
import type { OpenIssuer } from '../issuer-kind.ts'
import { PostgresRoleIssuer } from './issuer.ts'

/** How long a role may log in that nobody renews: what a crash leaves behind is worth no more than that. */
const defaultTtlSeconds = 900

/** A role of the target's own for each grant, made by an administrator whose URL only this process sees. */
export const openPostgresRole: OpenIssuer<'postgres-role'> = async (written, resource, secrets, warm) => {
  const url = readCredentialUrl(await resolveSecret(written.admin, secrets), resource)
  const { user } = url
  if (user === null)
    throw new AgentgateError('SECRET_UNRESOLVED', `${resource}: the administrator’s url names no user`, {
      hint: 'it is postgresql://ADMIN:PASSWORD@host:port/database',
    })
  return {
    place: url,
    issuerFor: target => {
      if (target.kind !== 'postgres')
        throw new AgentgateError('POLICY_INVALID', `${resource}: issuer postgres-role is for kind: postgres`)
      return new PostgresRoleIssuer(
        target,
        { user, password: url.password, address: url.address, database: url.database },
        { ttlSeconds: written.ttl ?? defaultTtlSeconds, perPrincipal: written.per === 'principal', warm },
      )
    },
  }
}
