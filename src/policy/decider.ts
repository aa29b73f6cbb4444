import type { Action, Approvers, Mask, ResultKeep, ResultLimit, RuleRef, Verdict } from './action.ts'
import { matched, varying, type Setting } from './condition.ts'
import type { ResourceDeclaration } from './declaration.ts'
import type { Decider } from './policy.ts'
import { prepareRule, type CompiledRule, type DenyVerdict, type Failure, type PreparedRule } from './rule.ts'

export interface DeciderInput {
  readonly setting: Setting
  readonly resource: ResourceDeclaration
  readonly rules: readonly CompiledRule[]
  readonly masks: readonly Mask[]
  /** Other scopes of the resource that this subject may use, for hints. */
  readonly otherScopes: readonly string[]
}

/** Every verdict there can be is made beforehand; deciding allocates nothing unless somebody has to be asked. */
export function makeDecider(input: DeciderInput): Decider {
  const { setting, masks } = input
  const deny: { readonly rule: PreparedRule; readonly verdict: Pair<DenyVerdict> }[] = []
  const approve: PreparedRule[] = []
  const allow: { readonly rule: PreparedRule; readonly verdict: Pair<Verdict> }[] = []
  const limit: PreparedRule[] = []
  const record: PreparedRule[] = []
  for (const compiled of input.rules) {
    const rule = prepareRule(compiled, setting)
    if (rule === undefined) continue
    switch (rule.declaration.effect) {
      case 'deny':
        deny.push({ rule, verdict: denial(rule.ref, messageOf(rule), hintOf(rule, input)) })
        break
      case 'approve':
        approve.push(rule)
        break
      case 'allow':
        allow.push({ rule, verdict: allowance(rule.ref, masks) })
        break
      case 'limit':
        limit.push(rule)
        break
      case 'record':
        record.push(rule)
        break
      default:
        rule.declaration.effect satisfies never
    }
  }
  const otherwise = defaultOf(input)
  // One shape is decided on again and again; whatever is stable for it is looked up.
  const known = new WeakMap<object, Verdict>()

  const decide = (action: Action, nowMs: number): Verdict => {
    let found: number = 0
    for (const { rule, verdict } of deny) {
      const one = rule.find(action, nowMs)
      if (typeof one === 'string') return failure(rule, one)
      found |= one & varying
      if ((one & matched) !== 0) return found === 0 ? verdict.stable : verdict.passing
    }
    let asked: PreparedRule[] | undefined
    for (const rule of approve) {
      const one = rule.find(action, nowMs)
      if (typeof one === 'string') return failure(rule, one)
      found |= one & varying
      if ((one & matched) !== 0) (asked ??= []).push(rule)
    }
    if (asked !== undefined) return ask(asked, masks, found === 0)
    for (const { rule, verdict } of allow) {
      const one = rule.find(action, nowMs)
      if (typeof one === 'string') return failure(rule, one)
      found |= one & varying
      if ((one & matched) !== 0) return found === 0 ? verdict.stable : verdict.passing
    }
    const verdict = otherwise(action)
    return found === 0 ? verdict.stable : verdict.passing
  }

  return {
    masks,
    decide: (action, nowMs) => {
      const before = known.get(action.shape)
      if (before !== undefined) return before
      const limited = withLimit(decide(action, nowMs), limit, setting, action, nowMs)
      const verdict = withRecord(limited, record, action, nowMs)
      if (verdict.stable) known.set(action.shape, verdict)
      return verdict
    },
  }
}

/** What every rule that limits results leaves of them: the fewest rows, the fewest bytes. */
function withLimit(
  verdict: Verdict,
  rules: readonly PreparedRule[],
  { kind, kindName }: Setting,
  action: Action,
  nowMs: number,
): Verdict {
  if (rules.length === 0 || verdict.kind === 'deny') return verdict
  let found: number = 0
  let limit: ResultLimit | undefined
  for (const rule of rules) {
    const one = rule.find(action, nowMs)
    if (typeof one === 'string') return failure(rule, one)
    found |= one & varying
    const { results } = rule.declaration
    if ((one & matched) === 0 || results === undefined) continue
    if (kind.limitsResults !== true)
      return {
        kind: 'deny',
        rule: rule.ref,
        message: `the result is to be limited, and that of ${kindName} cannot be`,
        hint: undefined,
        stable: verdict.stable && found === 0,
      }
    const rows = least(limit?.rows, results.rows)
    const bytes = least(limit?.bytes, results.bytes)
    const isSame = limit !== undefined && rows === limit.rows && bytes === limit.bytes
    if (!isSame) limit = { rule: rule.ref, rows, bytes }
  }
  const stable = verdict.stable && found === 0
  if (limit === undefined) return stable === verdict.stable ? verdict : { ...verdict, stable }
  return { ...verdict, limit, stable }
}

/** Recording is a control, so the strictest of the rules that match is the one that keeps more. */
function withRecord(verdict: Verdict, rules: readonly PreparedRule[], action: Action, nowMs: number): Verdict {
  if (rules.length === 0 || verdict.kind === 'deny') return verdict
  let found: number = 0
  let record: ResultKeep | undefined
  for (const rule of rules) {
    const one = rule.find(action, nowMs)
    if (typeof one === 'string') return failure(rule, one)
    found |= one & varying
    const { keep } = rule.declaration
    if ((one & matched) === 0 || keep === undefined) continue
    if (record === undefined || (record.keep === 'none' && keep === 'full')) record = { rule: rule.ref, keep }
  }
  const stable = verdict.stable && found === 0
  if (record === undefined) return stable === verdict.stable ? verdict : { ...verdict, stable }
  return { ...verdict, record, stable }
}

function least(one: number | null | undefined, other: number | null): number | null {
  if (one === null || one === undefined) return other
  return other === null ? one : Math.min(one, other)
}

/** For what is not (or no longer) to be had at all. */
export function refusingDecider(message: string, hint: string | undefined): Decider {
  const { stable } = denial(null, message, hint)
  return { masks: noMasks, decide: () => stable }
}

export const noMasks: readonly Mask[] = []

interface Pair<Kind extends Verdict> {
  readonly stable: Kind
  readonly passing: Kind
}

function denial(rule: RuleRef | null, message: string, hint: string | undefined): Pair<DenyVerdict> {
  return {
    stable: { kind: 'deny', rule, message, hint, stable: true },
    passing: { kind: 'deny', rule, message, hint, stable: false },
  }
}

function allowance(rule: RuleRef | null, masks: readonly Mask[]): Pair<Verdict> {
  return {
    stable: { kind: 'allow', rule, masks, stable: true },
    passing: { kind: 'allow', rule, masks, stable: false },
  }
}

function failure(rule: PreparedRule, why: Failure): DenyVerdict {
  const message =
    why === 'failed'
      ? `the condition of rule "${rule.ref.name}" could not be evaluated for this`
      : `the condition of rule "${rule.ref.name}" is too costly to evaluate for this`
  return { kind: 'deny', rule: rule.ref, message, hint: `correct its if: at ${rule.ref.place}`, stable: false }
}

/**
 * Several rules that ask are all to be satisfied by one request: the most approvers, the shortest time, and somebody
 * who is in a group of each.
 */
function ask(rules: readonly PreparedRule[], masks: readonly Mask[], stable: boolean): Verdict {
  const [first, ...others] = rules
  if (first === undefined) throw new RangeError('nobody asks')
  let approvers: Approvers = first.declaration.approvers
  for (const { declaration } of others) {
    const other = declaration.approvers
    const shared =
      approvers.groups.length === 0
        ? other.groups
        : other.groups.length === 0
          ? approvers.groups
          : approvers.groups.filter(group => other.groups.includes(group))
    if (shared.length === 0 && approvers.groups.length + other.groups.length > 0)
      return {
        kind: 'deny',
        rule: first.ref,
        message: `it needs approval by ${approvers.groups.join(' or ')} and by ${other.groups.join(' or ')}, and no one answer can be both`,
        hint: 'split it, so that each part needs one approval',
        stable,
      }
    approvers = {
      groups: shared,
      count: Math.max(approvers.count, other.count),
      notSelf: approvers.notSelf || other.notSelf,
      withinSeconds: Math.min(approvers.withinSeconds, other.withinSeconds),
    }
  }
  return { kind: 'approve', rule: first.ref, approvers, masks, stable }
}

function defaultOf(input: DeciderInput): (action: Action) => Pair<Verdict> {
  const { setting, resource } = input
  const agent = setting.subject.actor !== null
  const effect = agent ? resource.default.agents : resource.default.people
  const allowed = allowance(null, input.masks)
  const hint = joined([otherScopeHint(input), `see why: agentgate policy explain ${resource.name}`])
  const who = agent ? 'agents' : 'people'
  switch (effect) {
    case 'allow':
      return () => allowed
    case 'deny': {
      const denied = denial(
        null,
        `${who} may do only what a rule allows on ${resource.name}, and none allows this`,
        hint,
      )
      return () => denied
    }
    case 'read': {
      const changes = denial(null, `${who} may only read on ${resource.name}, and this changes something`, hint)
      const unknown = denial(
        null,
        `${who} may only read on ${resource.name}, and what this does cannot be known beforehand`,
        hint,
      )
      return action => {
        const does = setting.effectOf(action)
        return does === 'read' ? allowed : does === 'change' ? changes : unknown
      }
    }
    default:
      return effect satisfies never
  }
}

function messageOf(rule: PreparedRule): string {
  return rule.declaration.message ?? rule.declaration.name
}

/** What would help, best first: what the rule says, what its condition suggests, what it lets pass. */
function hintOf(rule: PreparedRule, input: DeciderInput): string | undefined {
  const { declaration } = rule
  if (declaration.hint !== undefined) return declaration.hint
  const { kind, kindName, subject } = input.setting
  const ways: (string | undefined)[] = []
  for (const { protocol } of declaration.when) {
    const when = protocol?.get(kindName)
    if (when !== undefined) ways.push(kind.hint?.(when))
  }
  for (const { general } of declaration.unless) {
    if (general.ticket?.some(one => one.pattern === 'present') === true && subject.ticket === null)
      ways.push('name a ticket: agentgate connect --ticket …')
    if (general.purpose?.some(one => one.pattern === 'present') === true && subject.purpose === null)
      ways.push('say why: agentgate connect --reason "…"')
  }
  if (declaration.when.some(({ general }) => general.scope !== undefined)) ways.push(otherScopeHint(input))
  return joined(ways)
}

function otherScopeHint(input: DeciderInput): string | undefined {
  const [scope] = input.otherScopes
  return scope === undefined
    ? undefined
    : `use scope ${scope}: agentgate connect ${input.resource.name} --scope ${scope}`
}

function joined(ways: readonly (string | undefined)[]): string | undefined {
  const said = [...new Set(ways.filter(way => way !== undefined))]
  return said.length === 0 ? undefined : said.join(', or ')
}
