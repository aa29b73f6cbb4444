import { openToAgents } from './access.ts'
import { concerns, type CompiledPolicy } from './compile.ts'
import type { ConditionDeclaration, DefaultEffect, ResourceDeclaration, RuleDeclaration } from './declaration.ts'
import { anyMatches, type Glob } from './glob.ts'
import type { Place, Problem } from './problem.ts'
import { tlsModeOf } from './resource-address.ts'
import { relaxes } from './rule.ts'
import { isLoopback } from './schema-text.ts'
import { listed } from './suggest.ts'

/** What a policy that can be used still has wrong: what can never be met is an error, what surprises a warning. */
export function checkPolicy(policy: CompiledPolicy): readonly Problem[] {
  const problems: Problem[] = []
  const add = (severity: Problem['severity'], place: Place, message: string) => {
    problems.push({ severity, place, message, suggestion: undefined })
  }
  const { declaration, solo } = policy
  const resources = [...declaration.resources.values()]

  for (const { issuer, place } of declaration.issuers)
    if (issuer.startsWith('http:'))
      add('warning', place, `${issuer} is for trying things out: whoever has that port on this machine can be anybody`)
  for (const resource of resources) checkResource(resource, (place, message) => add('warning', place, message))
  for (const rule of declaration.rules) {
    if (rule.effect === 'approve' && solo) {
      const { approvers, approversPlace } = rule
      if (approvers.notSelf)
        add('error', approversPlace, 'not-self can never be met: without issuers there is nobody but you to approve')
      if (approvers.count > 1)
        add(
          'error',
          approversPlace,
          `count: ${approvers.count} can never be met: without issuers there is one approver, you`,
        )
      if (approvers.groups.length > 0)
        add(
          'warning',
          approversPlace,
          `without issuers only you approve, and only while this machine has you in group ${listed(approvers.groups)}`,
        )
    }
    checkRule(rule, resources, (place, message) => add('warning', place, message))
  }
  for (const entry of declaration.access ?? []) {
    if (solo && entry.who.some(who => who.claims !== undefined))
      add('error', entry.place, 'claims can never be met: without issuers nobody has any')
    const { approvers } = entry
    if (solo && approvers !== undefined && (approvers.notSelf || approvers.count > 1))
      add('error', entry.place, 'approvers can never be met: without issuers there is nobody but you to ask')
    else if (approvers?.groups.length === 0 && declaration.admins?.policy === undefined)
      add(
        'warning',
        entry.place,
        'approvers without a group are the administrators, and admins: { policy: … } names none: only the owner of the broker’s socket can say yes',
      )
    if (!resources.some(one => anyMatches(entry.resources, one.name)))
      add('warning', entry.place, `no resource is called ${patterns(entry.resources)}, so this gives nothing`)
  }
  checkMasks(policy, resources, (place, message) => add('warning', place, message))
  checkEnforced(policy, resources, (place, message) => add('error', place, message))
  const locked = lockedOut(policy)
  if (locked !== undefined) add('warning', declaration.places.start, locked)
  const { recording } = declaration
  const whole = declaration.rules.find(({ keep }) => keep === 'full')
  if (whole !== undefined && recording?.spool === undefined)
    add(
      'warning',
      whole.place,
      `rule "${whole.name}" keeps results whole: a large one fills this disk, where recording.spool sets no limit`,
    )
  if (recording !== undefined)
    for (const key of ['bucket'] as const)
      if (recording[key] !== undefined) add('warning', recording.place, later(`recording.${key}`))
  return problems
}

/** How a policy leaves everybody outside: said before it counts, as whoever it locks out cannot take it back. */
export function lockedOut({ declaration, solo }: Pick<CompiledPolicy, 'declaration' | 'solo'>): string | undefined {
  const { access, resources } = declaration
  const names = [...resources.keys()]
  if (access === undefined ? solo : access.some(entry => names.some(name => anyMatches(entry.resources, name))))
    return undefined
  if (access !== undefined && access.length > 0)
    return 'nobody may use anything: access names no resource that there is'
  return solo
    ? 'access: [] gives nobody anything, you included'
    : 'nobody may use anything: where there are issuers, only what access names is given, and it names nothing'
}

function later(what: string): string {
  return `${what}: read, but nothing acts on it yet`
}

type Warn = (place: Place, message: string) => void

function checkResource(resource: ResourceDeclaration, warn: Warn): void {
  const { name, place, address } = resource
  if (resource.placement === 'gateway')
    warn(place, `placement: gateway comes with the broker; connect refuses ${name} until then`)
  if (address === undefined || isLoopback(address)) return
  switch (tlsModeOf(resource, address)) {
    case 'verify-full':
      return
    case 'verify-ca':
      return warn(place, `tls: verify-ca lets any server with a certificate of that authority pass for ${name}`)
    case 'require':
      return warn(place, `tls: require checks no certificate: whoever is on the way can pass for ${name}`)
    case 'off':
      return warn(place, `tls: off sends the credential of ${name}, and all data, in the clear`)
    default:
  }
}

function checkRule(rule: RuleDeclaration, resources: readonly ResourceDeclaration[], warn: Warn): void {
  for (const { general, place } of rule.when)
    if (general.resource !== undefined && !resources.some(one => anyMatches(general.resource ?? [], one.name)))
      warn(place, `no resource is called ${patterns(general.resource)}, so this never applies`)
  if (resources.length > 0 && !resources.some(one => concerns(rule.when, one)))
    warn(rule.place, `rule "${rule.name}" applies to no resource here: none is of a kind that knows its words`)
  for (const resource of resources) {
    const meant = rule.when.filter(({ general }) =>
      general.resource?.some(one => one.pattern !== '*' && one.matches(resource.name)),
    )
    if (meant.length > 0 && !concerns(rule.when, resource))
      warn(
        rule.place,
        `rule "${rule.name}" names ${resource.name}, but does not apply to it: ${resource.kindName} does not know its words`,
      )
    if (!concerns(rule.when, resource)) continue
    const lost = rule.unless.filter(one => isStrange(one, resource))
    if (lost.length > 0)
      warn(
        rule.place,
        rule.effect === 'allow'
          ? `rule "${rule.name}" allows nothing on ${resource.name}: ${resource.kindName} does not know the words of its unless`
          : relaxes(rule)
            ? `rule "${rule.name}" keeps everything of ${resource.name}: ${resource.kindName} does not know the words of its unless`
            : `unless of rule "${rule.name}" lifts nothing on ${resource.name}: ${resource.kindName} does not know its words`,
      )
  }
}

function isStrange(condition: ConditionDeclaration, resource: ResourceDeclaration): boolean {
  return condition.protocol !== null && !condition.protocol.has(resource.kindName)
}

/** A mask that the server is to keep needs an issuer that grants. */
function checkEnforced({ declaration }: CompiledPolicy, resources: readonly ResourceDeclaration[], fail: Warn): void {
  for (const mask of declaration.masks) {
    if (!mask.enforceByGrant) continue
    for (const resource of resources.filter(
      one => mask.resource === undefined || anyMatches(mask.resource, one.name),
    )) {
      const issuers = [resource, ...resource.scopes.values()].flatMap(({ credential }) => credential?.issuer ?? [])
      const other = issuers.find(issuer => issuer !== 'postgres-role')
      if (other !== undefined)
        fail(mask.place, `enforce: grant holds only with issuer: postgres-role, and ${resource.name} has ${other}`)
    }
  }
}

function checkMasks(policy: CompiledPolicy, resources: readonly ResourceDeclaration[], warn: Warn): void {
  const { masks } = policy.declaration
  for (const mask of masks) {
    if (mask.resource !== undefined && !resources.some(one => anyMatches(mask.resource ?? [], one.name)))
      warn(mask.place, `no resource is called ${patterns(mask.resource)}, so this hides nothing`)
  }
  const local = resources.filter(
    one =>
      one.placement === 'local' &&
      masks.some(mask => !mask.enforceByGrant && (mask.resource === undefined || anyMatches(mask.resource, one.name))),
  )
  const first = masks.find(mask => !mask.enforceByGrant)
  if (first !== undefined && local.length > 0) {
    const names = local.map(one => one.name)
    warn(
      first.place,
      `masks hold in local placement only for confined children; ${listed(names)} ${names.length === 1 ? 'is' : 'are'} local (docs/policy.md)`,
    )
  }
}

function patterns(globs: readonly Glob[]): string {
  return listed(globs.map(one => one.pattern))
}

/** What holds for a resource where no rule says anything. */
export interface Standing {
  readonly resource: string
  readonly kind: string
  readonly people: DefaultEffect
  readonly agents: DefaultEffect
  /** Null where `access` says who may use what. */
  readonly agentScopes: readonly string[] | null
  readonly scopes: readonly string[]
}

export function standings(policy: CompiledPolicy): readonly Standing[] {
  return [...policy.declaration.resources.values()].map(resource => ({
    resource: resource.name,
    kind: resource.kindName,
    people: resource.default.people,
    agents: resource.default.agents,
    scopes: [...resource.scopes.keys()],
    agentScopes:
      policy.declaration.access === undefined && policy.solo
        ? [...resource.scopes.keys()].filter(scope => openToAgents(resource, scope))
        : null,
  }))
}

export function showDefault(effect: DefaultEffect): string {
  switch (effect) {
    case 'allow':
      return 'whatever no rule forbids'
    case 'read':
      return 'reading only'
    case 'deny':
      return 'only what a rule allows'
    default:
      return effect satisfies never
  }
}
