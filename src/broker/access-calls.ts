import type { AccessAnswer } from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import { accessRows, whoMay, type AccessRow } from '../policy/access-report.ts'
import type { Principal } from '../policy/subject.ts'
import { readPrincipal } from './requests.ts'
import type { Caller } from './caller.ts'
import type { Sessions } from './sessions.ts'
import type { Store } from './store.ts'

/**
 * Who may use what, as the policy is now: one's own, or what is asked for by who administers or audits.
 * @throws AgentgateError DENIED; for a resource that there is not, nobody
 */
export async function answerAccess(
  caller: Caller,
  query: URLSearchParams,
  sessions: Sessions,
  store: Store,
): Promise<AccessAnswer> {
  const { declaration } = sessions.policy.policy
  const [resource, name] = [query.get('resource'), query.get('principal') ?? caller.principal.name]
  const own = resource === null && name === caller.principal.name && !query.has('group')
  if (!own && !caller.audits)
    throw new AgentgateError('DENIED', 'what others may use is for administrators and auditors', {
      hint: 'yours: agentgate access of me',
    })
  const seen = (await store.requests.principals()).map(each => readPrincipal(each.principal))
  if (resource !== null) return { known: true, rows: whoMay(declaration, resource, seen).map(toWire) }
  const known = own ? caller.principal : seen.find(each => each.name === name)
  const groups = query.getAll('group')
  const principal: Principal = {
    ...(known ?? { name, groups: [], source: declaration.issuers.length > 0 ? 'oidc' : 'os-user' }),
    ...(groups.length > 0 ? { groups } : {}),
  }
  const rows = accessRows(declaration, principal, await sessions.givenTo(name))
  return { known: known !== undefined || groups.length > 0, rows: rows.map(toWire) }
}

function toWire(row: AccessRow): AccessAnswer['rows'][number] {
  const { approvers } = row
  return {
    ...row,
    people: [...row.people],
    approvers:
      approvers === null ? null : { groups: [...approvers.groups], count: approvers.count, notSelf: approvers.notSelf },
  }
}
