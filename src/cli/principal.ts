import { Paths } from '../config/paths.ts'
import { osUser } from '../identity/os-user.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { Principal } from '../policy/subject.ts'

/**
 * Who this process acts for under a policy: where it names issuers, whoever one of them says; else the operating system's user.
 * @throws AgentgateError NOT_LOGGED_IN, LOGIN_FAILED, IDP_UNREACHABLE, DENIED
 */
export async function principalFor({ policy }: LoadedPolicy, env: NodeJS.ProcessEnv): Promise<Principal> {
  if (policy.solo) return await osUser()
  const { identify } = await import('../identity/identify.ts')
  return (await identify(policy.declaration.issuers, new Paths(env), env)).principal
}
