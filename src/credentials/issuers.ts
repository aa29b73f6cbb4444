import type { ResolveOptions } from '../config/secret-reference.ts'
import type { ResourceName } from '../ids.ts'
import type { ParsedCredential } from '../policy/schema.ts'
import type { WarmConnections } from './warm-connections.ts'
import type { IssuerName, OpenedIssuer, OpenIssuer } from './issuer-kind.ts'

/** Every issuer a policy may name, loaded when a resource uses it: a new one is a file and a line here. */
const registry: { readonly [Name in IssuerName]: () => Promise<OpenIssuer<Name>> } = {
  none: async () => (await import('./none.ts')).openNone,
  static: async () => (await import('./static.ts')).openStatic,
  'postgres-role': async () => (await import('./postgres-role/open.ts')).openPostgresRole,
}

/** @throws AgentgateError SECRET_UNRESOLVED, POLICY_INVALID */
export async function openIssuer<Name extends IssuerName>(
  name: Name,
  written: Extract<ParsedCredential, { issuer: Name }>,
  resource: ResourceName,
  secrets: ResolveOptions,
  warm?: WarmConnections,
): Promise<OpenedIssuer> {
  return await (
    await registry[name]()
  )(written, resource, secrets, warm)
}
