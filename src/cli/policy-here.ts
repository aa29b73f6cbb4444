import type { LoadedPolicy } from '../policy/load.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'

/** The policy that is meant here, with what every protocol knows of it; trusted or not. @throws AgentgateError */
export async function policyHere(
  globals: Pick<Globals, 'policy' | 'policyDigest'>,
  { cwd, env }: Pick<Io, 'cwd' | 'env'>,
): Promise<LoadedPolicy> {
  const [{ loadPolicy }, { loadProtocols }] = await Promise.all([import('../policy/load.ts'), import('./protocols.ts')])
  return await loadPolicy({
    path: globals.policy,
    digest: globals.policyDigest,
    cwd,
    env,
    kinds: await loadProtocols(),
  })
}

/** The same, once its owner has said that it counts. @throws AgentgateError POLICY_UNTRUSTED */
export async function trustedPolicyHere(...asked: Parameters<typeof policyHere>): Promise<LoadedPolicy> {
  const loaded = await policyHere(...asked)
  loaded.requireTrusted()
  return loaded
}
