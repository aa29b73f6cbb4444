import type { ResourceName, ScopeName } from '../ids.ts'
import type { PolicyDeclaration, ResourceDeclaration } from './declaration.ts'
import { anyMatches } from './glob.ts'
import type { ParsedWho } from './schema.ts'
import type { Subject } from './subject.ts'

/** How long a session lasts where nothing says so. */
const defaultTtlSeconds = 3600

export interface ScopeAccess {
  readonly name: ScopeName
  readonly ttlSeconds: number
}

/** The scopes of a resource that a subject may use (DESIGN §4: closed by default). */
export function accessOf(
  policy: PolicyDeclaration,
  subject: Subject,
  resourceName: ResourceName,
): readonly ScopeAccess[] {
  const resource = policy.resources.get(resourceName)
  if (resource === undefined) return []
  const solo = policy.issuers.length === 0
  // A name of this machine's says nothing about whom an identity provider would call the same.
  if (!solo && subject.principal.source === 'os-user') return []
  const longest = resource.limits.ttlSeconds ?? Number.POSITIVE_INFINITY
  const found: ScopeAccess[] = []
  for (const name of resource.scopes.keys()) {
    const ttlSeconds =
      policy.access === undefined ? soloTtl(policy, subject, resource, name) : namedTtl(policy, subject, resource, name)
    if (ttlSeconds !== undefined) found.push({ name, ttlSeconds: Math.min(ttlSeconds, longest) })
  }
  return found
}

/** Without `access`: the person has everything, their agents what is marked, else `read` or the only scope. */
function soloTtl(
  policy: PolicyDeclaration,
  subject: Subject,
  resource: ResourceDeclaration,
  scope: ScopeName,
): number | undefined {
  if (policy.issuers.length > 0) return undefined
  return subject.actor === null || openToAgents(resource, scope) ? defaultTtlSeconds : undefined
}

export function openToAgents(resource: ResourceDeclaration, scope: ScopeName): boolean {
  const marked = resource.scopes.get(scope)?.agents ?? resource.agents
  if (marked !== undefined) return marked
  // Once one scope is marked, the others are meant to be closed.
  if ([...resource.scopes.values()].some(other => other.agents === true)) return false
  return scope === 'read' || resource.scopes.size === 1
}

function namedTtl(
  policy: PolicyDeclaration,
  subject: Subject,
  resource: ResourceDeclaration,
  scope: ScopeName,
): number | undefined {
  const own = longestTtl(policy, subject, resource, scope)
  if (own === undefined || subject.actor === null) return own
  // Never more than the person it acts for.
  const person = longestTtl(policy, { ...subject, actor: null }, resource, scope)
  return person === undefined ? undefined : Math.min(own, person)
}

function longestTtl(
  policy: PolicyDeclaration,
  subject: Subject,
  resource: ResourceDeclaration,
  scope: ScopeName,
): number | undefined {
  let longest: number | undefined
  for (const entry of policy.access ?? []) {
    if (!anyMatches(entry.resources, resource.name) || !anyMatches(entry.scopes, scope)) continue
    if (!entry.who.some(who => isWho(who, subject))) continue
    longest = Math.max(longest ?? 0, entry.ttlSeconds ?? defaultTtlSeconds)
  }
  return longest
}

/** Whether an entry is for this subject. */
export function isWho(who: ParsedWho, subject: Subject): boolean {
  const { principal, actor } = subject
  // Without `actor` an entry is for a person acting alone.
  if (who.actor === undefined ? actor !== null : actor === null || !anyMatches(who.actor, actor.name)) return false
  if (who.user !== undefined && !anyMatches(who.user, principal.name)) return false
  if (who.group !== undefined && !principal.groups.some(group => anyMatches(who.group ?? [], group))) return false
  // Principals carry no claims yet: what asks for them is given to nobody.
  return who.claims === undefined
}
