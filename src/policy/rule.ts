import type { Action, RuleRef, Verdict } from './action.ts'
import { matched, prepareCondition, varying, type Finding, type PreparedCondition, type Setting } from './condition.ts'
import type { RuleDeclaration } from './declaration.ts'
import type { Expression } from './expression.ts'
import { placeName } from './problem.ts'

export type DenyVerdict = Verdict & { readonly kind: 'deny' }

/** A rule for one subject, resource, scope and client. */
export interface PreparedRule {
  readonly declaration: RuleDeclaration
  readonly ref: RuleRef
  find(action: Action, nowMs: number): Finding | Failure
}

/** An expression that gave no answer: the action is denied. */
export type Failure = 'failed' | 'too-costly'

export interface CompiledRule {
  readonly declaration: RuleDeclaration
  readonly ref: RuleRef
  readonly expression: Expression | undefined
}

export function ruleRef(declaration: { readonly name: string; readonly place: RuleDeclaration['place'] }): RuleRef {
  return { name: declaration.name, place: placeName(declaration.place) }
}

/** Whether it lets by, or leaves out of the record, what else would not be: then it has to be certain that it holds. */
export function relaxes({ effect, keep }: RuleDeclaration): boolean {
  return effect === 'allow' || (effect === 'record' && keep === 'none')
}

/** Undefined where the rule cannot matter here. */
export function prepareRule(rule: CompiledRule, setting: Setting): PreparedRule | undefined {
  const { declaration, expression, ref } = rule
  const relaxing = relaxes(declaration)
  const when: PreparedCondition[] = []
  for (const one of declaration.when) {
    const prepared = prepareCondition(one, setting, relaxing ? 'fails' : 'holds')
    if (prepared !== undefined) when.push(prepared)
  }
  if (declaration.when.length > 0 && when.length === 0) return undefined
  const unless: PreparedCondition[] = []
  for (const one of declaration.unless) {
    // Asked of a kind that does not know the words: for what is strict it lifts nothing; what would relax, and it might
    // have limited, does not hold.
    if (one.protocol !== null && !one.protocol.has(setting.kindName)) {
      if (relaxing) return undefined
      continue
    }
    const prepared = prepareCondition(one, setting, relaxing ? 'holds' : 'fails')
    if (prepared === undefined) continue
    if (prepared.always) return undefined
    unless.push(prepared)
  }
  const always = declaration.when.length === 0 || when.some(one => one.always)
  const find = (action: Action, nowMs: number): Finding | Failure => {
    const applies = always ? matched : findAny(when, action, nowMs)
    if ((applies & matched) === 0) return applies
    let found: number = applies
    if (unless.length > 0) {
      const lifted = findAny(unless, action, nowMs)
      // Lifted for good only where that does not vary; whether `when` varies no longer matters then.
      if ((lifted & matched) !== 0) return lifted === matched ? 0 : varying
      found |= lifted & varying
    }
    if (expression !== undefined) {
      const result = expression.evaluate({
        // With nothing hidden: this is the tunnel, and a condition on a hidden value must not be blind.
        action: setting.kind.view(action, []),
        subject: setting.subject,
        resource: setting.resource,
        scope: setting.scope,
        client: setting.client?.program ?? null,
      })
      if (result === 'failed' || result === 'too-costly') return result
      return result === 'true' ? ((matched | varying) as Finding) : varying
    }
    return found as Finding
  }
  return { declaration, ref, find }
}

function findAny(conditions: readonly PreparedCondition[], action: Action, nowMs: number): Finding {
  let found: number = 0
  for (const condition of conditions) {
    const one = condition.find(action, nowMs)
    if (one === matched) return matched
    found |= one
  }
  return found as Finding
}
