import type { Environment } from '../config/paths.ts'
import type { TlsSettings } from '../config/tls.ts'
import type { PolicyDigest, ResourceName, ScopeName } from '../ids.ts'
import type { Secret } from '../secret.ts'
import { pending, type Policy, type PolicyKinds } from './policy.ts'

export interface PolicyFile {
  /** Absolute. */
  readonly path: string
  /** As people know it: `agentgate.yaml`. */
  readonly name: string
  readonly bytes: Buffer
}

export type Trust =
  /** Signed in the trust store for this path and content. */
  | { readonly kind: 'trusted' }
  /** The content has the digest that was asked for. */
  | { readonly kind: 'pinned' }
  | { readonly kind: 'untrusted'; readonly earlier: boolean }

export interface LoadOptions {
  /** `--policy`; else AGENTGATE_POLICY, else agentgate.yaml in `cwd` or above. */
  readonly path?: string | undefined
  readonly cwd: string
  readonly env: Environment
  readonly kinds: PolicyKinds
  /** `--policy-digest`; else AGENTGATE_POLICY_DIGEST. */
  readonly digest?: string | undefined
  /** `refuse`, the default: an untrusted file is not even parsed. */
  readonly untrusted?: 'refuse' | 'accept'
}

export interface LoadedPolicy {
  readonly policy: Policy
  readonly files: readonly PolicyFile[]
  readonly digest: PolicyDigest
  /** The real path of the file or folder. */
  readonly path: string
  readonly trust: Trust
  /** @throws AgentgateError POLICY_UNTRUSTED */
  requireTrusted(): void
}

/** What a ServedResource is made of, with its secrets resolved. */
export interface ResolvedResource {
  readonly name: ResourceName
  readonly kind: string
  readonly address: string
  readonly tls: TlsSettings
  readonly settings: unknown
  readonly scope: { readonly name: ScopeName; readonly settings: unknown }
  readonly credential: {
    readonly issuer: string
    readonly user: string | null
    readonly secret: Secret | null
    readonly certificate: { readonly certificate: string; readonly key: Secret } | null
    readonly expiresAt: Date | null
  }
}

/**
 * Finds, reads and compiles the policy.
 * @throws AgentgateError NO_POLICY, POLICY_UNTRUSTED, POLICY_INVALID (its message holds every problem, one a block)
 */
export function loadPolicy(_options: LoadOptions): Promise<LoadedPolicy> {
  return pending('loading a policy')
}

/**
 * Resolves `${…}` and takes a URL apart. Only for a trusted policy.
 * @throws AgentgateError POLICY_UNTRUSTED, SECRET_UNRESOLVED, DENIED (an issuer that needs the broker)
 */
export function resolveResource(
  _loaded: LoadedPolicy,
  _resource: ResourceName,
  _scope: ScopeName,
  _options: { readonly env: Environment; readonly signal?: AbortSignal },
): Promise<ResolvedResource> {
  return pending('resolving a resource')
}
