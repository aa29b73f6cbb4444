import type { Action, ActionView, RuleRef, Verdict } from './action.ts'
import type { CompiledPolicy } from './compile.ts'
import { matched, prepareCondition, subjectHolds, type Setting } from './condition.ts'
import type { ConditionDeclaration, ResourceDeclaration, RuleEffect } from './declaration.ts'
import { anyMatches, type Glob } from './glob.ts'
import type { Client, PolicyScope } from './policy.ts'
import { prepareRule, relaxes } from './rule.ts'
import type { ParsedWhen } from './schema.ts'
import type { Subject } from './subject.ts'
import { listed } from './suggest.ts'
import { underMasks } from './under-masks.ts'

export interface RuleExplanation {
  readonly rule: RuleRef
  readonly effect: RuleEffect
  readonly applies: boolean
  /** Why it does not, or what lets it; one line. */
  readonly why: string
}

export interface Explanation {
  readonly view: ActionView
  readonly verdict: Verdict
  readonly rules: readonly RuleExplanation[]
}

export interface Question {
  readonly subject: Subject
  readonly resource: ResourceDeclaration
  readonly scope: PolicyScope
  readonly client: Client | undefined
  readonly action: Action
  readonly nowMs: number
}

/** What a policy says of one action, and what each of its rules had to say about it. */
export function explain(policy: CompiledPolicy, question: Question): Explanation {
  const { subject, resource, scope, client, action, nowMs } = question
  const setting: Setting = {
    kindName: resource.kindName,
    kind: resource.kind,
    resource: resource.name,
    scope: scope.name,
    subject,
    client,
    effectOf: policy.effectOf(resource),
  }
  const rules = policy.rules.map((rule): RuleExplanation => {
    const { declaration, ref } = rule
    const about = { rule: ref, effect: declaration.effect }
    const found: number | string = prepareRule(rule, setting)?.find(action, nowMs) ?? 0
    if (typeof found === 'string') return { ...about, applies: true, why: 'its if: gives no answer, so this is denied' }
    const applies = (found & matched) !== 0
    const inner = { setting, action, nowMs }
    const whenMisses = declaration.when.map(one =>
      missing(one, { ...inner, doubt: relaxes(declaration) ? 'fails' : 'holds' }),
    )
    if (declaration.when.length > 0 && whenMisses.every(miss => miss !== undefined))
      return { ...about, applies, why: whenMisses.join('; ') }
    const lifting = declaration.unless.find(
      one => missing(one, { ...inner, doubt: relaxes(declaration) ? 'holds' : 'fails' }) === undefined,
    )
    if (lifting !== undefined) return { ...about, applies, why: `lifted by unless: ${written(lifting, setting)}` }
    if (!applies) return { ...about, applies, why: 'its if: is false' }
    const holding = declaration.when.find((_, index) => whenMisses[index] === undefined)
    return { ...about, applies, why: holding === undefined ? 'its if: is true' : written(holding, setting) }
  })
  const decided = policy.decider(subject, resource.name, scope.name, client).decide(action, nowMs)
  const verdict = underMasks(decided, resource.kind, action)
  return { view: resource.kind.view(action, decided.kind === 'deny' ? [] : decided.masks), verdict, rules }
}

interface Inner {
  readonly setting: Setting
  readonly action: Action
  readonly nowMs: number
  readonly doubt: 'holds' | 'fails'
}

/** The first thing of a condition that does not hold; undefined where all of it does. */
function missing(condition: ConditionDeclaration, inner: Inner): string | undefined {
  const { setting, action, nowMs, doubt } = inner
  const { general } = condition
  const { subject } = setting
  if (general.resource !== undefined && !anyMatches(general.resource, setting.resource))
    return `is about resource ${show(general.resource)}`
  if (general.scope !== undefined && !anyMatches(general.scope, setting.scope))
    return `is about scope ${show(general.scope)}, this is ${setting.scope}`
  for (const key of ['user', 'group', 'actor', 'purpose', 'ticket'] as const) {
    const globs = general[key]
    if (globs !== undefined && !subjectHolds({ [key]: globs }, subject))
      return `is about ${key} ${show(globs)}, this is ${said(key, subject)}`
  }
  if (general.confined !== undefined && general.confined !== subject.confined)
    return `is about ${general.confined ? 'confined' : 'unconfined'} askers`
  if (condition.protocol !== null && !condition.protocol.has(setting.kindName))
    return `uses words that ${setting.kindName} does not know`
  if (general.client !== undefined && setting.client === undefined && doubt === 'fails')
    return `is about client ${show(general.client)}, and this one is not known`
  if (
    general.client !== undefined &&
    setting.client !== undefined &&
    !anyMatches(general.client, setting.client.program)
  )
    return `is about client ${show(general.client)}, this is ${setting.client.program}`
  const found = prepareCondition(condition, setting, doubt)?.find(action, nowMs) ?? 0
  if ((found & matched) !== 0) return undefined

  const alone = (part: Partial<ParsedWhen>) => {
    const only: ConditionDeclaration = { general: part, protocol: null, place: condition.place }
    return ((prepareCondition(only, setting, doubt)?.find(action, nowMs) ?? 0) & matched) !== 0
  }
  if (general.effect !== undefined && !alone({ effect: general.effect }))
    return `is about what has effect ${listed(general.effect)}, this has ${setting.effectOf(action)}`
  if (general.time !== undefined && !alone({ time: general.time })) return 'is about another time'
  const when = condition.protocol?.get(setting.kindName) ?? {}
  const failing = Object.entries(when).filter(([key, value]) => !setting.kind.matches({ [key]: value }, action, doubt))
  return failing.length > 0
    ? `not ${failing.map(([key, value]) => `${key} ${showValue(value)}`).join(', not ')}`
    : `${Object.keys(when).join(' and ')} hold, but of different parts of it`
}

/** A condition in a line, without what holds for every action of this setting anyway. */
function written(condition: ConditionDeclaration, setting: Setting): string {
  const { general } = condition
  const parts: string[] = []
  for (const key of ['scope', 'user', 'group', 'actor', 'purpose', 'ticket', 'client'] as const) {
    const globs = general[key]
    if (globs !== undefined) parts.push(`${key} ${show(globs)}`)
  }
  if (general.confined !== undefined) parts.push(general.confined ? 'confined' : 'unconfined')
  if (general.effect !== undefined) parts.push(`effect ${listed(general.effect)}`)
  if (general.time !== undefined) parts.push('the time')
  for (const [key, value] of Object.entries(condition.protocol?.get(setting.kindName) ?? {}))
    parts.push(`${key} ${showValue(value)}`)
  return parts.length === 0 ? 'whatever is asked' : parts.join(', ')
}

function said(key: 'user' | 'group' | 'actor' | 'purpose' | 'ticket', subject: Subject): string {
  switch (key) {
    case 'user':
      return subject.principal.name
    case 'group':
      return subject.principal.groups.length === 0 ? 'in no group' : listed(subject.principal.groups)
    case 'actor':
      return subject.actor?.name ?? 'a person alone'
    case 'purpose':
    case 'ticket':
      return subject[key] ?? 'missing'
    default:
      return key satisfies never
  }
}

function show(globs: readonly Glob[]): string {
  return listed(globs.map(one => one.pattern))
}

function showValue(value: unknown): string {
  if (Array.isArray(value)) return listed(value.map(String))
  return typeof value === 'string' ? value : JSON.stringify(value)
}
