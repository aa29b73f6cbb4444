import type { ResourceName, ScopeName } from '../ids.ts'
import type { Decider, Policy } from '../policy/policy.ts'
import type { Subject } from '../policy/subject.ts'
import type { Enforcer } from './enforcer.ts'

/** A policy as a tunnel asks it: one decider for each program that connects, made when first seen. */
export function enforcerOf(policy: Policy, subject: Subject, resource: ResourceName, scope: ScopeName): Enforcer {
  const unknownClient = policy.decider(subject, resource, scope)
  const deciders = new Map<string, Decider>()
  const deciderFor = (program: string): Decider => {
    let decider = deciders.get(program)
    if (decider === undefined) {
      decider = policy.decider(subject, resource, scope, { program })
      deciders.set(program, decider)
    }
    return decider
  }
  const needsClient = policy.asksForClient(resource)
  return {
    masks: policy.masks(subject, resource),
    needsClient,
    asks: condition => policy.asksFor(resource, condition),
    rules: policy.counts(resource),
    decide: (action, { nowMs, client }) => {
      // Programs' names are the clients' own: only where a rule asks for them are they worth a decider each.
      const verdict = (needsClient && client !== null ? deciderFor(client) : unknownClient).decide(action, nowMs)
      return needsClient && verdict.stable ? { ...verdict, stable: false } : verdict
    },
  }
}
