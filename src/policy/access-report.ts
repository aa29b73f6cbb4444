import { accessOf, defaultTtlSeconds, isWho, requestableBy } from './access.ts'
import type { Approvers } from './action.ts'
import type { AccessDeclaration, PolicyDeclaration } from './declaration.ts'
import { anyMatches, type Glob } from './glob.ts'
import { placeName } from './problem.ts'
import type { ParsedWho } from './schema.ts'
import type { Principal, Subject } from './subject.ts'

/** Somebody's way to a scope, and the words of the policy that say so. */
export interface AccessRow {
  readonly resource: string
  readonly scope: string
  /** `maria`, or as the policy writes it: `group eng`. */
  readonly who: string
  /** Agents' names as the policy writes them; null: a person acting alone. */
  readonly actor: string | null
  readonly how: 'held' | 'on-request' | 'given'
  readonly ttlSeconds: number
  readonly approvers: Pick<Approvers, 'groups' | 'count' | 'notSelf'> | null
  /** `agentgate.yaml:12`; null: the user's own, as the policy has no `access`. */
  readonly place: string | null
  /** Of those that were asked about, who this is for. */
  readonly people: readonly string[]
}

/** Who may use a resource, entry by entry; `known` are looked for in each. */
export function whoMay(
  policy: PolicyDeclaration,
  resourceName: string,
  known: readonly Principal[],
): readonly AccessRow[] {
  const resource = [...policy.resources.values()].find(({ name }) => name === resourceName)
  if (resource === undefined) return []
  const rows: AccessRow[] = []
  for (const entry of policy.access ?? []) {
    if (!anyMatches(entry.resources, resource.name)) continue
    for (const scope of resource.scopes.keys()) {
      if (!anyMatches(entry.scopes, scope)) continue
      for (const who of entry.who) {
        const actor = who.actor === undefined ? null : patternsOf(who.actor)
        const people = known.filter(principal => isWho(who, subjectOf(principal, who.actor?.[0] ?? null)))
        const { place, approvers } = entry
        rows.push({
          ...{
            resource: resource.name,
            scope,
            actor,
            who: whoText(who),
            ttlSeconds: secondsOf(entry, resource.limits.ttlSeconds),
          },
          how: approvers === undefined ? 'held' : 'on-request',
          approvers: approvers ?? null,
          place: placeName(place),
          people: people.map(({ name }) => name),
        })
      }
    }
  }
  return rows
}

/** What somebody may use or ask for, and their agents. `given`: what they were given on request. */
export function accessRows(
  policy: PolicyDeclaration,
  principal: Principal,
  onRequest: Subject['onRequest'],
): readonly AccessRow[] {
  const rows: AccessRow[] = []
  // Each pattern of agents stands for itself: what an agent may depends on its name alone.
  const patterns = new Map<string, Glob>()
  for (const { who } of policy.access ?? [])
    for (const each of who) for (const one of each.actor ?? []) patterns.set(one.pattern, one)
  const actors: (Glob | null)[] = [null, ...(policy.access === undefined ? [] : patterns.values())]
  for (const resource of policy.resources.values())
    for (const actor of actors) {
      const subject: Subject = { ...subjectOf(principal, actor), onRequest }
      const held = accessOf(policy, subject, resource.name)
      for (const scope of resource.scopes.keys()) {
        const has = held.find(({ name }) => name === scope)
        const asks = has === undefined ? requestableBy(policy, subject, resource.name, scope) : undefined
        const entry = has?.by ?? asks?.entry
        const ttlSeconds = has?.ttlSeconds ?? asks?.ttlSeconds
        if (ttlSeconds === undefined) continue
        rows.push({
          ...{ resource: resource.name, scope, who: principal.name, actor: actor?.pattern ?? null, ttlSeconds },
          how: has === undefined ? 'on-request' : has.by?.approvers === undefined ? 'held' : 'given',
          approvers: entry?.approvers ?? null,
          place: entry === undefined ? null : placeName(entry.place),
          people: [principal.name],
        })
      }
    }
  return rows
}

function subjectOf(principal: Principal, actor: Glob | null): Subject {
  return {
    ...{ principal, confined: false, purpose: null, ticket: null },
    actor: actor === null ? null : { name: actor.pattern.replaceAll('*', '') || 'agent', proven: false },
  }
}

function secondsOf(entry: AccessDeclaration, limit: number | undefined): number {
  return Math.min(entry.ttlSeconds ?? defaultTtlSeconds, limit ?? Infinity)
}

function whoText({ user, group, claims }: ParsedWho): string {
  const parts = [
    ...(user === undefined ? [] : [`user ${patternsOf(user)}`]),
    ...(group === undefined ? [] : [`group ${patternsOf(group)}`]),
    ...Object.entries(claims ?? {}).map(([claim, patterns]) => `${claim} ${patternsOf(patterns)}`),
  ]
  return parts.length === 0 ? 'anybody' : parts.join(' and ')
}

function patternsOf(globs: readonly Glob[]): string {
  return globs.map(({ pattern }) => pattern).join(' or ')
}
