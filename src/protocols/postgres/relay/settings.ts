import { AgentgateError } from '../../../errors.ts'
import type { ServedResource } from '../../protocol.ts'
import { resourceSchema, scopeSchema, type PostgresSettings } from '../analysis/schema.ts'

/** @throws AgentgateError POLICY_INVALID */
export function settingsOf(resource: ServedResource): PostgresSettings {
  const settings = resourceSchema.safeParse(resource.settings)
  if (settings.success) return settings.data
  throw new AgentgateError('POLICY_INVALID', `${resource.name}: its postgres settings are not valid`, {
    hint: 'run: agentgate policy check',
  })
}

/** What every connection to the resource starts with: the role that the scope names is the session's own. */
export function roleParameters(resource: ServedResource): readonly (readonly [string, string])[] {
  // The role it minted has that set already, or another in its place.
  if (resource.credential.issuer === 'postgres-role') return []
  const scope = scopeSchema.safeParse(resource.scope.settings)
  return scope.success && scope.data.role !== undefined ? [['role', scope.data.role]] : []
}

/** `db.internal` of `db.internal:5432`; other ports are said. */
export function placeOf(address: string): string {
  return address.replace(/:5432$/, '')
}
