import { AgentgateError } from '../errors.ts'
import type { IdentityIssuer } from './identity-issuer.ts'

export type Claims = Readonly<Record<string, unknown>>

/** Who an identity provider says that somebody is. */
export interface OidcPrincipal {
  readonly name: string
  readonly groups: readonly string[]
  readonly source: 'oidc'
  /** Those that the policy asks for, as texts. */
  readonly claims: Readonly<Record<string, readonly string[]>>
}

const maxNameLength = 320 // the longest address that mail knows (RFC 3696 erratum 1690 says 254, plus room)
const maxGroups = 2000

/** @throws AgentgateError DENIED where a condition does not hold, NOT_LOGGED_IN where the claims name nobody */
export function principalOf(claims: Claims, issuer: IdentityIssuer): OidcPrincipal {
  for (const { claim, holds } of issuer.conditions) {
    const values = textsOf(claimOf(claims, claim))
    if (!values.some(holds))
      throw new AgentgateError('DENIED', `the token’s ${claim} is not what the policy requires of ${issuer.issuer}`, {
        hint: 'see issuers: … require: in the policy',
      })
  }
  const name = nameOf(claims, issuer)
  if (name === undefined || name === '' || name.length > maxNameLength)
    throw new AgentgateError('NOT_LOGGED_IN', `the token of ${issuer.issuer} names nobody`, {
      hint: `it has no claim ${issuer.nameClaim ?? 'sub'}; say which one: issuers: [ { claims: { name: … } } ]`,
    })
  const kept = issuer.keptClaims.map(claim => [claim, textsOf(claimOf(claims, claim)).slice(0, maxGroups)] as const)
  return {
    name,
    groups: textsOf(claimOf(claims, issuer.groupsClaim)).slice(0, maxGroups),
    source: 'oidc',
    claims: Object.fromEntries(kept.filter(([, values]) => values.length > 0)),
  }
}

function nameOf(claims: Claims, { nameClaim }: IdentityIssuer): string | undefined {
  if (nameClaim !== undefined) {
    // An address that anybody may type into a profile is nobody's name.
    if (nameClaim === 'email' && claims['email_verified'] === false) return undefined
    return textsOf(claimOf(claims, nameClaim))[0]
  }
  const { email, sub } = claims
  if (typeof email === 'string' && claims['email_verified'] === true) return email
  return typeof sub === 'string' ? sub : undefined
}

/** By its own name, else by a path: `realm_access.roles`. */
function claimOf(claims: Claims, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name]
  let value: unknown = claims
  for (const part of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Record<string, unknown>)[part]
  }
  return value
}

function textsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.filter(one => typeof one === 'string')
  if (typeof value === 'string') return [value]
  return typeof value === 'number' || typeof value === 'boolean' ? [String(value)] : []
}
