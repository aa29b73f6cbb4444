import type { JSONWebKeySet } from 'jose'
import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import { readState, updateState } from '../config/private-file.ts'
import { AgentgateError } from '../errors.ts'
import { fetchJson } from './provider-fetch.ts'

/** A key that its provider withdrew is believed for no longer. */
const freshMs = 10 * 60_000

/** Tokens of keys that there are not must not have the provider asked each time. */
const anewAfterMs = 10_000

const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(200) })
const stored = z.object({ providers: z.record(z.string(), z.object({ at: z.number(), keys: keySet })) })

interface Found {
  readonly keys: JSONWebKeySet
  /** They may be older than a rotation. */
  readonly mayBeOlder: boolean
}

/** Providers' signing keys (OpenID Connect Discovery §4, RFC 7517), kept for ten minutes, also for later processes. */
export class ProviderKeys {
  readonly #paths: Paths
  readonly #asked = new Map<string, Promise<JSONWebKeySet>>()

  constructor(paths: Paths) {
    this.#paths = paths
  }

  /** @param anew a token names a key that is not among those that are kept @throws AgentgateError IDP_UNREACHABLE */
  async of(issuer: string, anew: boolean): Promise<Found> {
    const known = readState(this.#paths.identityKeysFile, stored, { providers: {} }).providers[issuer]
    const age = known === undefined ? Infinity : Date.now() - known.at
    if (known !== undefined && age >= 0 && age < (anew ? anewAfterMs : freshMs))
      return { keys: known.keys, mayBeOlder: !anew && age >= anewAfterMs }
    // Whoever asks meanwhile waits for the same answer.
    let asked = this.#asked.get(issuer)
    if (asked === undefined) {
      asked = this.#fetch(issuer).finally(() => this.#asked.delete(issuer))
      this.#asked.set(issuer, asked)
    }
    return { keys: await asked, mayBeOlder: false }
  }

  async #fetch(issuer: string): Promise<JSONWebKeySet> {
    const configuration = z
      .object({ issuer: z.string(), jwks_uri: z.url() })
      .safeParse(await fetchJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`))
    // §4.3: whoever answers for another issuer is not believed.
    if (!configuration.success || configuration.data.issuer !== issuer) throw notItself(issuer)
    const keys = keySet.safeParse(await fetchJson(configuration.data.jwks_uri))
    if (!keys.success) throw notItself(issuer)
    updateState(this.#paths.identityKeysFile, stored, { providers: {} }, before => ({
      content: { providers: { ...before.providers, [issuer]: { at: Date.now(), keys: keys.data } } },
      result: undefined,
    }))
    return keys.data
  }
}

function notItself(issuer: string): AgentgateError {
  return new AgentgateError('IDP_UNREACHABLE', `what answers at ${issuer} is not that identity provider`, {
    hint: 'issuer: in the policy must be what the provider calls itself, to the last slash',
  })
}
