import type { Environment } from '../config/paths.ts'
import type { Credential, CredentialIssuer, Kept } from '../credentials/credential.ts'
import { openResource, type OpenedResource } from '../credentials/open-resource.ts'
import { WarmConnections } from '../credentials/warm-connections.ts'
import { AgentgateError } from '../errors.ts'
import { asResourceName, asScopeName, type ResourceName, type ScopeName } from '../ids.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { Metrics } from './metrics.ts'
import type { Store } from './store.ts'
import type { StoredGrant } from './store-tables.ts'

const sweepEveryMs = 60_000
/** After an end that the target did not hear of. */
const sweepSoonMs = 5000

export interface KeeperOptions {
  readonly store: Store
  readonly env: Environment
  readonly metrics: Metrics
  readonly onTrouble: (text: string) => void
}

/** What ends credentials at their targets: when their grant ends, and what is left of them by sweeping. */
export class CredentialKeeper {
  readonly #options: KeeperOptions
  /** Of live grants, so that what the policy says now has no say in how an older credential ends. */
  readonly #issuers = new Map<string, CredentialIssuer>()
  readonly #warm = new WarmConnections()
  #sweepAt = -Infinity
  #sweeping = false

  constructor(options: KeeperOptions) {
    this.#options = options
  }

  /** A resource, with what makes its credentials over connections that are kept. @throws AgentgateError as openResource */
  async open(policy: LoadedPolicy, resource: ResourceName, scope: ScopeName): Promise<OpenedResource> {
    return await openResource(policy, resource, scope, { env: this.#options.env, warm: this.#warm })
  }

  async close(): Promise<void> {
    await this.#warm.close()
  }

  keep(grant: string, issuer: CredentialIssuer): void {
    this.#issuers.set(grant, issuer)
  }

  /** The one that minted it; after a restart one made anew. @throws AgentgateError as openResource */
  async issuerOf(grant: StoredGrant, policy: LoadedPolicy): Promise<CredentialIssuer> {
    const known = this.#issuers.get(grant.id)
    if (known !== undefined) return known
    const resource = asResourceName(grant.resource)
    const scope = asScopeName(grant.scope)
    if (resource === undefined || scope === undefined)
      throw new AgentgateError('NO_SUCH_RESOURCE', 'the grant is for nothing that has a name')
    const { issuer } = await this.open(policy, resource, scope)
    this.#issuers.set(grant.id, issuer)
    return issuer
  }

  /** A grant that has just been ended in the store. Never throws: what is left at the target is swept. */
  async end(grant: StoredGrant, policy: LoadedPolicy): Promise<void> {
    // What was being made when its broker died has a name that nobody wrote down.
    if (grant.issuer === null) this.sweepSoon(0)
    try {
      if (grant.credential_user !== null) await endCredential(await this.issuerOf(grant, policy), credentialOf(grant))
    } catch (error) {
      this.#trouble(`${grant.resource}: a credential is still valid there until it expires or is swept`, error)
      this.sweepSoon()
    } finally {
      this.#issuers.delete(grant.id)
    }
  }

  /** Called each second. */
  tick(policy: LoadedPolicy): void {
    if (performance.now() < this.#sweepAt || this.#sweeping) return
    this.#sweepAt = performance.now() + sweepEveryMs
    void this.#sweep(policy)
  }

  sweepSoon(afterMs: number = sweepSoonMs): void {
    this.#sweepAt = Math.min(this.#sweepAt, performance.now() + afterMs)
  }

  async #sweep(policy: LoadedPolicy): Promise<void> {
    const { store } = this.#options
    this.#sweeping = true
    try {
      const kept: Kept = { keeper: await store.id(), live: async ids => await store.liveOf(ids) }
      for (const resource of policy.policy.resources.values())
        for (const scope of resource.scopes.keys())
          try {
            const { issuer } = await this.open(policy, resource.name, scope)
            await issuer.sweep(kept)
            if (issuer.name === 'postgres-role') break // a sweep is the whole server's
          } catch (error) {
            this.#trouble(`${resource.name}: could not be swept`, error)
            break
          }
    } catch (error) {
      this.#trouble('sweeping failed', error)
    } finally {
      this.#sweeping = false
    }
  }

  #trouble(what: string, error: unknown): void {
    this.#options.metrics.count('targetFailures')
    this.#options.onTrouble(`${what}: ${error instanceof AgentgateError ? error.message : 'a bug of agentgate'}`)
  }
}

export async function endCredential(issuer: CredentialIssuer, credential: Credential): Promise<void> {
  await issuer.revoke(credential)
  await issuer.terminate(credential)
}

/** What is known of a grant's credential once it has been handed over. */
export function credentialOf(grant: StoredGrant): Credential {
  return { issuer: grant.issuer ?? '', user: grant.credential_user, secret: null, certificate: null, expiresAt: null }
}
