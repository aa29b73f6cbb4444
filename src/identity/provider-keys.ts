import type { JSONWebKeySet } from 'jose'
import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import { readState, updateState } from '../config/private-file.ts'
import { AgentgateError } from '../errors.ts'
import { fetchJson } from './provider-fetch.ts'

/** A key that its provider withdrew is believed for no longer. */
const freshMs = 10 * 60_000

const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(200) })
const stored = z.object({ providers: z.record(z.string(), z.object({ at: z.number(), keys: keySet })) })

export interface ProviderKeys {
  readonly keys: JSONWebKeySet
  /** They may be older than a rotation. */
  readonly fromCache: boolean
}

/** A provider's signing keys (OpenID Connect Discovery §4, RFC 7517), kept for ten minutes. @throws AgentgateError IDP_UNREACHABLE */
export async function providerKeys(paths: Paths, issuer: string, anew: boolean): Promise<ProviderKeys> {
  const known = readState(paths.identityKeysFile, stored, { providers: {} }).providers[issuer]
  const age = known === undefined ? Infinity : Date.now() - known.at
  if (known !== undefined && !anew && age >= 0 && age < freshMs) return { keys: known.keys, fromCache: true }
  const configuration = z
    .object({ issuer: z.string(), jwks_uri: z.url() })
    .safeParse(await fetchJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`))
  // §4.3: whoever answers for another issuer is not believed.
  if (!configuration.success || configuration.data.issuer !== issuer) throw notItself(issuer)
  const keys = keySet.safeParse(await fetchJson(configuration.data.jwks_uri))
  if (!keys.success) throw notItself(issuer)
  updateState(paths.identityKeysFile, stored, { providers: {} }, before => ({
    content: { providers: { ...before.providers, [issuer]: { at: Date.now(), keys: keys.data } } },
    result: undefined,
  }))
  return { keys: keys.data, fromCache: false }
}

function notItself(issuer: string): AgentgateError {
  return new AgentgateError('IDP_UNREACHABLE', `what answers at ${issuer} is not that identity provider`, {
    hint: 'issuer: in the policy must be what the provider calls itself, to the last slash',
  })
}
