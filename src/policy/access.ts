import type { ResourceName, ScopeName } from '../ids.ts'
import type { AccessDeclaration, PolicyDeclaration, ResourceDeclaration } from './declaration.ts'
import { anyMatches } from './glob.ts'
import type { ParsedWho } from './schema.ts'
import type { Subject } from './subject.ts'

/** How long a session lasts where nothing says so. */
export const defaultTtlSeconds = 3600

export interface ScopeAccess {
  readonly name: ScopeName
  readonly ttlSeconds: number
  /** The entry that gives it, for the longest time; null: the user's own, without `access`. */
  readonly by: AccessDeclaration | null
}

/** The scopes of a resource that a subject may use (DESIGN §4: closed by default). */
export function accessOf(
  policy: PolicyDeclaration,
  subject: Subject,
  resourceName: ResourceName,
): readonly ScopeAccess[] {
  const resource = policy.resources.get(resourceName)
  if (resource === undefined || isStranger(policy, subject)) return []
  const longest = resource.limits.ttlSeconds ?? Number.POSITIVE_INFINITY
  const found: ScopeAccess[] = []
  for (const name of resource.scopes.keys()) {
    const given =
      policy.access === undefined
        ? givenSolo(policy, subject, resource, name)
        : givenByName(policy, subject, resource, name)
    if (given !== undefined) found.push({ name, ...given, ttlSeconds: Math.min(given.ttlSeconds, longest) })
  }
  return found
}

/** A name of this machine's says nothing about whom an identity provider would call the same. */
function isStranger(policy: PolicyDeclaration, subject: Subject): boolean {
  return policy.issuers.length > 0 && subject.principal.source === 'os-user'
}

/** What somebody may ask for: who gives it, and for how long at most. */
export interface Requestable {
  readonly entry: AccessDeclaration
  readonly approvers: NonNullable<AccessDeclaration['approvers']>
  readonly ttlSeconds: number
}

/** Whether a subject may ask for a scope that it does not hold; the first entry that says so counts. */
export function requestableBy(
  policy: PolicyDeclaration,
  subject: Subject,
  resourceName: ResourceName,
  scope: ScopeName,
): Requestable | undefined {
  const resource = policy.resources.get(resourceName)
  if (resource?.scopes.has(scope) !== true || isStranger(policy, subject)) return undefined
  for (const entry of policy.access ?? []) {
    const { approvers } = entry
    if (approvers === undefined || !isFor(entry, subject, resource, scope)) continue
    const most = resource.limits.ttlSeconds ?? Number.POSITIVE_INFINITY
    return { entry, approvers, ttlSeconds: Math.min(entry.ttlSeconds ?? defaultTtlSeconds, most) }
  }
  return undefined
}

type Given = Omit<ScopeAccess, 'name'>

/** Without `access`: the person has everything, their agents what is marked, else `read` or the only scope. */
function givenSolo(
  policy: PolicyDeclaration,
  subject: Subject,
  resource: ResourceDeclaration,
  scope: ScopeName,
): Given | undefined {
  if (policy.issuers.length > 0) return undefined
  return subject.actor === null || openToAgents(resource, scope)
    ? { ttlSeconds: defaultTtlSeconds, by: null }
    : undefined
}

export function openToAgents(resource: ResourceDeclaration, scope: ScopeName): boolean {
  const marked = resource.scopes.get(scope)?.agents ?? resource.agents
  if (marked !== undefined) return marked
  // Once one scope is marked, the others are meant to be closed.
  if ([...resource.scopes.values()].some(other => other.agents === true)) return false
  return scope === 'read' || resource.scopes.size === 1
}

function givenByName(
  policy: PolicyDeclaration,
  subject: Subject,
  resource: ResourceDeclaration,
  scope: ScopeName,
): Given | undefined {
  const own = longest(policy, subject, resource, scope)
  if (own === undefined || subject.actor === null) return own
  // Never more than the person it acts for.
  const person = longest(policy, { ...subject, actor: null }, resource, scope)
  return person === undefined ? undefined : { ...own, ttlSeconds: Math.min(own.ttlSeconds, person.ttlSeconds) }
}

function longest(
  policy: PolicyDeclaration,
  subject: Subject,
  resource: ResourceDeclaration,
  scope: ScopeName,
): Given | undefined {
  let found: Given | undefined
  for (const entry of policy.access ?? []) {
    if (!isFor(entry, subject, resource, scope)) continue
    if (entry.approvers !== undefined && !wasGiven(subject, resource, scope)) continue
    const ttlSeconds = entry.ttlSeconds ?? defaultTtlSeconds
    if (found === undefined || ttlSeconds > found.ttlSeconds) found = { ttlSeconds, by: entry }
  }
  return found
}

/** Whether an entry names this resource, scope and subject, held or on request. */
function isFor(entry: AccessDeclaration, subject: Subject, resource: ResourceDeclaration, scope: ScopeName): boolean {
  return (
    anyMatches(entry.resources, resource.name) &&
    anyMatches(entry.scopes, scope) &&
    entry.who.some(who => isWho(who, subject))
  )
}

function wasGiven({ onRequest, actor }: Subject, resource: ResourceDeclaration, scope: ScopeName): boolean {
  return (onRequest ?? []).some(
    each => each.resource === resource.name && each.scope === scope && each.actor === (actor?.name ?? null),
  )
}

/** Whether an entry is for this subject. */
export function isWho(who: ParsedWho, subject: Subject): boolean {
  const { principal, actor } = subject
  // Without `actor` an entry is for a person acting alone.
  if (who.actor === undefined ? actor !== null : actor === null || !anyMatches(who.actor, actor.name)) return false
  if (who.user !== undefined && !anyMatches(who.user, principal.name)) return false
  if (who.group !== undefined && !principal.groups.some(group => anyMatches(who.group ?? [], group))) return false
  return Object.entries(who.claims ?? {}).every(([claim, patterns]) =>
    claimOf(principal, claim).some(value => anyMatches(patterns, value)),
  )
}

function claimOf({ claims }: Subject['principal'], claim: string): readonly string[] {
  return claims !== undefined && Object.hasOwn(claims, claim) ? (claims[claim] ?? []) : []
}
