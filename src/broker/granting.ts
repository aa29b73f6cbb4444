import { AgentgateError } from '../errors.ts'
import type { ResourceName } from '../ids.ts'
import type { Granted, Policy } from '../policy/policy.ts'
import type { Subject } from '../policy/subject.ts'
import { nearest } from '../policy/suggest.ts'
import type { StoredRequest } from './request-store.ts'
import type { StoredGrant } from './store-tables.ts'

/** What there is not, and what is not theirs, are answered alike. @throws AgentgateError as Policy.grant */
export function grantTo(policy: Policy, subject: Subject, resource: string, scope: string | undefined): Granted {
  try {
    return policy.grant(subject, resource, scope)
  } catch (error) {
    if (!(error instanceof AgentgateError) || !['NO_SUCH_RESOURCE', 'NO_SUCH_SCOPE', 'DENIED'].includes(error.code))
      throw error
    const own = policy.access(subject).map(each => each.resource.name)
    if (own.includes(resource as ResourceName)) throw error
    // A scope to be asked for is theirs to know of.
    if (error.code === 'DENIED' && error.hint?.includes('agentgate request ') === true) throw error
    const near = nearest(resource, own)
    const who =
      subject.actor === null ? subject.principal.name : `${subject.actor.name} (for ${subject.principal.name})`
    throw new AgentgateError('DENIED', `${who} may not use ${resource}`, {
      hint: near === undefined ? 'see what you may use: agentgate access of me' : `did you mean ${near}?`,
    })
  }
}

/** The request that a scope was given on; undefined where it is held. */
export function requestFor(
  granted: Granted,
  subject: Subject,
  given: readonly StoredRequest[],
): StoredRequest | undefined {
  if (!granted.onRequest) return undefined
  return given.find(
    each =>
      each.resource === granted.resource.name &&
      each.scope === granted.scope.name &&
      each.actor === (subject.actor?.name ?? null),
  )
}

/** As far as the store remembers. */
export function subjectOf({ principal, actor, purpose, ticket }: StoredGrant): Subject {
  return {
    principal: { name: principal, groups: [], source: 'oidc' },
    actor: actor === null ? null : { name: actor, proven: false },
    confined: false,
    purpose,
    ticket,
  }
}
