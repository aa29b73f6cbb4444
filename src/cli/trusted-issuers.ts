import { AgentgateError } from '../errors.ts'
import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { trustedPolicyHere } from './policy-here.ts'

/** Those of the policy here, which must be trusted: its word is what sends a person to a page to log in at. */
export async function trustedIssuers(globals: Globals, io: Io): Promise<readonly IdentityIssuer[]> {
  const loaded = await trustedPolicyHere(globals, io)
  const { issuers } = loaded.policy.declaration
  if (issuers.length === 0)
    throw new AgentgateError('USAGE', 'the policy names no issuers: you are who your operating system says', {
      hint: 'agentgate whoami',
    })
  return issuers
}
