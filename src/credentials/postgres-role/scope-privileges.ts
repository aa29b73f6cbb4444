import { z } from 'zod'
import { AgentgateError } from '../../errors.ts'
import type { IssuerTarget } from '../issuer-kind.ts'
import { readSqlGrant, type SqlGrant } from './sql-grant.ts'

/** Where a scope's privileges come from: a role that somebody else keeps, or grants to a role of ours. */
export type ScopePrivileges =
  | { readonly kind: 'role'; readonly role: string; readonly readOnly: boolean }
  | { readonly kind: 'grants'; readonly grants: readonly SqlGrant[]; readonly readOnly: boolean }

const scopeSettings = z.object({ role: z.string().optional(), grant: z.array(z.string()).optional() })
const databaseSetting = z.object({ database: z.union([z.string(), z.array(z.string())]).optional() })

/** @throws AgentgateError POLICY_INVALID */
export function readScopePrivileges(target: IssuerTarget): ScopePrivileges {
  const where = `${target.name}, scope ${target.scope.name}`
  const { role, grant = [] } = scopeSettings.parse(target.scope.settings ?? {})
  if (role !== undefined && grant.length > 0)
    throw new AgentgateError('POLICY_INVALID', `${where}: role and grant do not go together`, {
      hint: 'grant to the role itself what it lacks, and name only the role',
    })
  if (role !== undefined) return { kind: 'role', role, readOnly: target.scope.name === 'read' }
  if (grant.length === 0)
    throw new AgentgateError('POLICY_INVALID', `${where}: issuer postgres-role does not know what to grant`, {
      hint: 'scopes: { read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] } }, or { role: some_role }',
    })
  const grants = grant.map(text => readSqlGrant(text, where))
  return { kind: 'grants', grants, readOnly: grants.every(each => each.readOnly) }
}

/** The databases of a resource; `all`: whichever the server has. */
export function databasesOf(target: IssuerTarget): 'all' | readonly string[] {
  const { database } = databaseSetting.parse(target.settings ?? {})
  if (database === '*') return 'all'
  return database === undefined ? [] : typeof database === 'string' ? [database] : database
}
