import { Paths, type Environment } from '../config/paths.ts'
import type { PolicyDigest } from '../ids.ts'
import { compilePolicy, type CompiledPolicy } from './compile.ts'
import { parsePolicy, PolicyInvalid } from './document.ts'
import { findPolicy, readPolicyFiles, type PolicyFile, type PolicyFiles } from './policy-files.ts'
import type { PolicyKinds } from './policy.ts'
import type { Problem } from './problem.ts'
import { requireTrust, trustOf, type Trust } from './trust.ts'

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
  readonly policy: CompiledPolicy
  readonly files: readonly PolicyFile[]
  readonly digest: PolicyDigest
  /** The real path of the file or folder. */
  readonly path: string
  /** Where relative paths in it start. */
  readonly folder: string
  readonly trust: Trust
  /** @throws AgentgateError POLICY_UNTRUSTED */
  requireTrusted(): void
}

/**
 * Finds, reads and compiles the policy.
 * @throws AgentgateError NO_POLICY, POLICY_UNTRUSTED, POLICY_INVALID (its message holds every problem, one a block)
 */
export async function loadPolicy(options: LoadOptions): Promise<LoadedPolicy> {
  return await compileFiles(readPolicyFiles(findPolicy(options), options.cwd), options)
}

/** The same for content that has been read. */
export async function compileFiles(files: PolicyFiles, options: LoadOptions): Promise<LoadedPolicy> {
  const trust = trustOf(new Paths(options.env), files, wantedDigest(options))
  if (options.untrusted !== 'accept') requireTrust(trust, files)
  const result = await compileText(files, options.kinds)
  if (result.kind === 'wrong') throw new PolicyInvalid(files.name, result.problems)
  return {
    policy: result.policy,
    files: files.files,
    digest: files.digest,
    path: files.path,
    folder: files.folder,
    trust,
    requireTrusted: () => requireTrust(trust, files),
  }
}

/** Parses and compiles, whether trusted or not. Evaluates nothing of it. */
export async function compileText(
  files: PolicyFiles,
  kinds: PolicyKinds,
): Promise<
  | { readonly kind: 'ok'; readonly policy: CompiledPolicy }
  | { readonly kind: 'wrong'; readonly problems: readonly Problem[] }
> {
  const parsed = parsePolicy({ files: files.files, kinds })
  if (parsed.kind === 'wrong') return parsed
  return await compilePolicy(parsed.declaration, { digest: files.digest, fileName: files.name })
}

export function wantedDigest(options: Pick<LoadOptions, 'digest' | 'env'>): string | undefined {
  const fromEnvironment = options.env['AGENTGATE_POLICY_DIGEST']
  return options.digest ?? (fromEnvironment === '' ? undefined : fromEnvironment)
}
