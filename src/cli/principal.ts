import { Paths } from '../config/paths.ts'
import { osUser } from '../identity/os-user.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { Actor, Principal } from '../policy/subject.ts'

export interface Who {
  readonly principal: Principal
  /** Who acts for them, where their token proves it. */
  readonly actor: Actor | null
}

/**
 * Who this process acts for under a policy: where it names issuers, whoever one of them says; else the operating system's user.
 * @throws AgentgateError NOT_LOGGED_IN, LOGIN_FAILED, IDP_UNREACHABLE, DENIED
 */
export async function whoFor({ policy }: LoadedPolicy, env: NodeJS.ProcessEnv): Promise<Who> {
  if (policy.solo) return { principal: await osUser(), actor: null }
  const { identify } = await import('../identity/identify.ts')
  const { principal, actor } = await identify(policy.declaration.issuers, new Paths(env), env)
  return { principal, actor }
}
