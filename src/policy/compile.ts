import { referencesOf, type SecretTemplate } from '../config/secret-reference.ts'
import { AgentgateError } from '../errors.ts'
import type { PolicyDigest, ResourceName, ScopeName } from '../ids.ts'
import { accessOf, requestableBy, type Requestable, type ScopeAccess } from './access.ts'
import { auditPlan } from './audit-settings.ts'
import type { Action, Mask, Verdict } from './action.ts'
import { subjectHolds, type EffectOf } from './condition.ts'
import { makeDecider, noMasks, refusingDecider } from './decider.ts'
import type { ConditionDeclaration, MaskDeclaration, PolicyDeclaration, ResourceDeclaration } from './declaration.ts'
import type { Expression } from './expression.ts'
import { anyMatches, type Glob } from './glob.ts'
import type { Access, Client, Decider, Granted, Policy, PolicyResource } from './policy.ts'
import { placeName, type Problem } from './problem.ts'
import { ruleRef, type CompiledRule } from './rule.ts'
import type { ParsedCredential } from './schema.ts'
import { addressOf, reachOf } from './resource-address.ts'
import type { Subject } from './subject.ts'
import type { SyncPlace } from './sync-place.ts'
import { listed, nearest } from './suggest.ts'

const defaultKeepResultBytes = 64_000_000
const defaultKeepSessionBytes = 1_000_000_000

export type CompileResult =
  | { readonly kind: 'ok'; readonly policy: CompiledPolicy }
  | { readonly kind: 'wrong'; readonly problems: readonly Problem[] }

/** Compiles a checked declaration. `fileName` is what errors call it: `agentgate.yaml`. */
export async function compilePolicy(
  declaration: PolicyDeclaration,
  options: { readonly digest: PolicyDigest; readonly fileName: string },
): Promise<CompileResult> {
  const problems: Problem[] = []
  const expressions = new Map<string, Expression>()
  if (declaration.rules.some(rule => rule.expression !== undefined)) {
    const { loadExpressionCompiler } = await import('./expression.ts')
    const compile = await loadExpressionCompiler()
    for (const { name, expression } of declaration.rules) {
      if (expression === undefined) continue
      const compiled = compile(expression.text, expression.place)
      if ('severity' in compiled) problems.push(compiled)
      else expressions.set(name, compiled)
    }
  }
  if (problems.length > 0) return { kind: 'wrong', problems }
  const rules = declaration.rules.map(rule => ({
    declaration: rule,
    ref: ruleRef(rule),
    expression: expressions.get(rule.name),
  }))
  return { kind: 'ok', policy: new CompiledPolicy(declaration, rules, options) }
}

interface PreparedMask {
  readonly declaration: MaskDeclaration
  readonly mask: Mask
}

export class CompiledPolicy implements Policy {
  readonly digest: PolicyDigest
  readonly fileName: string
  readonly declaration: PolicyDeclaration
  readonly rules: readonly CompiledRule[]
  readonly solo: boolean
  readonly resources: ReadonlyMap<ResourceName, PolicyResource>
  readonly recording: Policy['recording']
  readonly audit: Policy['audit']
  readonly #masks: readonly PreparedMask[]
  readonly #asks = new Map<string, boolean>()
  readonly #deciders = new WeakMap<Subject, Map<ResourceName, Map<ScopeName, Decider>>>()
  readonly #maskLists = new Map<string, readonly Mask[]>()
  readonly #masksOf = new WeakMap<Subject, Map<ResourceName, readonly Mask[]>>()
  readonly #effects = new WeakMap<object, 'read' | 'change' | 'unknown'>()

  constructor(
    declaration: PolicyDeclaration,
    rules: readonly CompiledRule[],
    options: { readonly digest: PolicyDigest; readonly fileName: string },
  ) {
    this.declaration = declaration
    this.rules = rules
    this.digest = options.digest
    this.fileName = options.fileName
    this.solo = declaration.issuers.length === 0
    this.resources = new Map(
      [...declaration.resources].map(([name, resource]) => [
        name,
        shownResource(resource, declaration.recording?.retain ?? null),
      ]),
    )
    this.recording = {
      keepResultBytes: declaration.recording?.results?.keep ?? defaultKeepResultBytes,
      keepSessionBytes: declaration.recording?.results?.['per-session'] ?? defaultKeepSessionBytes,
      sync: placeOf(declaration.recording),
      local: {
        keepForSeconds: declaration.recording?.local?.['keep-for'] ?? null,
        keepAtMostBytes: declaration.recording?.local?.['keep-at-most'] ?? null,
      },
      durability: declaration.recording?.durability ?? 'local',
      encryptTo: declaration.recording?.['encrypt-to'] ?? [],
      spoolBytes: declaration.recording?.spool ?? null,
      fsync: declaration.recording?.fsync ?? 'segment',
    }
    this.audit = auditPlan(declaration.audit, declaration.recording?.['encrypt-to'] !== undefined)
    this.#masks = declaration.masks.map(mask => ({
      declaration: mask,
      mask: {
        name: mask.name,
        place: placeName(mask.place),
        columns: mask.columns,
        fields: mask.fields,
        detect: mask.detect,
        with: mask.with,
        ...(mask.compare === undefined ? {} : { compare: mask.compare }),
      },
    }))
  }

  resource(name: string): PolicyResource {
    const found = this.resources.get(name as ResourceName)
    if (found !== undefined) return found
    const names = [...this.resources.keys()]
    const near = nearest(name, names)
    throw new AgentgateError('NO_SUCH_RESOURCE', `no resource "${name}" in ${this.fileName}`, {
      hint:
        near !== undefined
          ? `did you mean ${near}?`
          : names.length === 0
            ? 'it names no resource at all; see: agentgate help init'
            : `there is ${listed(names, 12)}`,
    })
  }

  access(subject: Subject): readonly Access[] {
    return [...this.resources.values()].flatMap(resource => {
      const scopes = this.#scopes(subject, resource.name).flatMap(({ name, ttlSeconds }) => {
        const scope = resource.scopes.get(name)
        return scope === undefined ? [] : [{ scope, ttlSeconds }]
      })
      return scopes.length === 0 ? [] : [{ resource, scopes }]
    })
  }

  grant(subject: Subject, resourceName: string, scopeName?: string): Granted {
    const resource = this.resource(resourceName)
    const scopes = this.#scopes(subject, resource.name)
    const names = scopes.map(scope => scope.name)
    if (scopeName !== undefined && !resource.scopes.has(scopeName as ScopeName)) {
      const near = nearest(scopeName, resource.scopes.keys())
      throw new AgentgateError('NO_SUCH_SCOPE', `${resource.name} has no scope "${scopeName}"`, {
        hint: near === undefined ? `it has ${listed([...resource.scopes.keys()], 12)}` : `did you mean ${near}?`,
      })
    }
    if (scopes.length === 0)
      throw new AgentgateError('DENIED', `${whoIs(subject)} may not use ${resource.name}`, {
        hint: this.#requestHint(subject, resource, scopeName) ?? this.#accessHint(subject),
      })
    const wanted =
      scopeName ?? (names.includes('read' as ScopeName) ? 'read' : scopes.length === 1 ? scopes[0]?.name : undefined)
    if (wanted === undefined)
      throw new AgentgateError('NO_SUCH_SCOPE', `${resource.name} has several scopes: ${listed(names, 12)}`, {
        hint: `say which: agentgate connect ${resource.name} --scope ${names[0] ?? ''}`,
      })
    const granted = scopes.find(scope => scope.name === wanted)
    const scope = resource.scopes.get(wanted as ScopeName)
    if (granted === undefined || scope === undefined)
      throw new AgentgateError('DENIED', `${whoIs(subject)} may not use scope ${wanted} of ${resource.name}`, {
        hint: this.#requestHint(subject, resource, scopeName) ?? `may use: ${listed(names, 12)}`,
      })
    return { resource, scope, ttlSeconds: granted.ttlSeconds, onRequest: granted.by?.approvers !== undefined }
  }

  requestable(subject: Subject, resource: ResourceName, scope: ScopeName): Requestable | undefined {
    return requestableBy(this.declaration, subject, resource, scope)
  }

  /** What to ask for, where that which is not held can be asked for. */
  #requestHint(subject: Subject, resource: PolicyResource, wanted: string | undefined): string | undefined {
    const scope = [...resource.scopes.keys()].find(
      name => (wanted ?? name) === name && this.requestable(subject, resource.name, name) !== undefined,
    )
    if (scope === undefined) return undefined
    const actor = subject.actor === null ? '' : ` --actor ${subject.actor.name}`
    return `ask for it: agentgate request ${resource.name} --scope ${scope}${actor} --reason "…"`
  }

  decider(subject: Subject, resource: ResourceName, scope: ScopeName, client?: Client | null): Decider {
    const declaration = this.declaration.resources.get(resource)
    if (declaration === undefined)
      return refusingDecider(`${resource} is no longer in ${this.fileName}`, 'end this session and connect anew')
    const scopes = this.#scopes(subject, resource)
    if (!scopes.some(one => one.name === scope))
      return refusingDecider(`${whoIs(subject)} may not use scope ${scope} of ${resource}`, this.#accessHint(subject))
    return makeDecider({
      setting: {
        kindName: declaration.kindName,
        kind: declaration.kind,
        resource,
        scope,
        subject,
        client: client ?? undefined,
        effectOf: this.effectOf(declaration),
      },
      resource: declaration,
      rules: this.rules,
      masks: this.masks(subject, resource),
      otherScopes: scopes.flatMap(one => (one.name === scope ? [] : [one.name])),
    })
  }

  decide(subject: Subject, resource: ResourceName, scope: ScopeName, action: Action, nowMs: number): Verdict {
    let resources = this.#deciders.get(subject)
    if (resources === undefined)
      this.#deciders.set(subject, (resources = new Map<ResourceName, Map<ScopeName, Decider>>()))
    let scopes = resources.get(resource)
    if (scopes === undefined) resources.set(resource, (scopes = new Map<ScopeName, Decider>()))
    let decider = scopes.get(scope)
    if (decider === undefined) scopes.set(scope, (decider = this.decider(subject, resource, scope)))
    return decider.decide(action, nowMs)
  }

  /** Columns that no credential of this subject may read. */
  withheld(subject: Subject, resource: ResourceName): readonly string[] {
    const holding = this.#holding(subject, resource).filter(({ declaration }) => declaration.enforceByGrant)
    return [...new Set(holding.flatMap(({ declaration }) => declaration.columns))].sort()
  }

  /** A mask on this resource that says `enforce: grant`, for whomever. */
  enforcedMask(resource: ResourceName): string | undefined {
    return this.#masks.find(({ declaration }) => declaration.enforceByGrant && names(declaration.resource, resource))
      ?.mask.name
  }

  masks(subject: Subject, resource: ResourceName): readonly Mask[] {
    let resources = this.#masksOf.get(subject)
    if (resources === undefined) this.#masksOf.set(subject, (resources = new Map<ResourceName, readonly Mask[]>()))
    let masks = resources.get(resource)
    if (masks === undefined) resources.set(resource, (masks = this.#findMasks(subject, resource)))
    return masks
  }

  asksForClient(resource: ResourceName): boolean {
    const declaration = this.declaration.resources.get(resource)
    return (
      declaration !== undefined &&
      this.rules.some(rule => {
        const { when, unless, expression } = rule.declaration
        // An expression can read it without any condition naming it.
        const asks =
          expression?.text.includes('client') === true ||
          [...when, ...unless].some(one => one.general.client !== undefined)
        return asks && concerns(when, declaration)
      })
    )
  }

  asksFor(resource: ResourceName, condition: string): boolean {
    const key = `${resource}\0${condition}`
    let asks = this.#asks.get(key)
    if (asks === undefined) {
      const declaration = this.declaration.resources.get(resource)
      asks =
        declaration !== undefined &&
        this.rules.some(
          rule =>
            concerns(rule.declaration.when, declaration) &&
            [...rule.declaration.when, ...rule.declaration.unless].some(
              one => one.protocol?.get(declaration.kindName)?.[condition] !== undefined,
            ),
        )
      this.#asks.set(key, asks)
    }
    return asks
  }

  counts(resource: ResourceName) {
    const declaration = this.declaration.resources.get(resource)
    const rules =
      declaration === undefined ? [] : this.rules.filter(rule => concerns(rule.declaration.when, declaration))
    const count = (effect: 'deny' | 'approve') => rules.filter(rule => rule.declaration.effect === effect).length
    return {
      deny: count('deny'),
      approve: count('approve'),
      masks: this.#masks.filter(mask => names(mask.declaration.resource, resource)).length,
    }
  }

  /** Everything outside of the file that it refers to, each once: what trusting it lets it read and run. */
  references(): readonly { readonly text: string; readonly runs: boolean }[] {
    const found = new Map<string, boolean>()
    for (const resource of this.declaration.resources.values()) {
      const credentials = [resource.credential, ...[...resource.scopes.values()].map(scope => scope.credential)]
      const ca = typeof resource.tls === 'string' ? undefined : resource.tls?.ca
      for (const template of [ca, ...credentials.flatMap(templatesOf)])
        for (const reference of template === undefined ? [] : referencesOf(template))
          found.set(reference.written, reference.kind === 'exec')
    }
    return [...found].map(([text, runs]) => ({ text, runs }))
  }

  /** What an action does, asked of its kind once per shape. */
  effectOf(resource: ResourceDeclaration): EffectOf {
    const { kind } = resource
    return action => {
      let effect = this.#effects.get(action.shape)
      if (effect === undefined) {
        effect = kind.view(action, noMasks).effect
        this.#effects.set(action.shape, effect)
      }
      return effect
    }
  }

  #scopes(subject: Subject, resource: ResourceName): readonly ScopeAccess[] {
    return accessOf(this.declaration, subject, resource)
  }

  #holding(subject: Subject, resource: ResourceName): readonly PreparedMask[] {
    return this.#masks.filter(
      ({ declaration }) =>
        names(declaration.resource, resource) &&
        (declaration.when === undefined || subjectHolds(declaration.when, subject)) &&
        !declaration.unless.some(unless => subjectHolds(unless, subject)),
    )
  }

  #findMasks(subject: Subject, resource: ResourceName): readonly Mask[] {
    const holding = this.#holding(subject, resource)
    // The same masks are the same array for everyone, so that what others derive from them is shared too.
    const key = holding.map(one => one.mask.name).join('\0')
    let list = this.#maskLists.get(key)
    if (list === undefined) this.#maskLists.set(key, (list = holding.map(one => one.mask)))
    return list
  }

  #accessHint(subject: Subject): string {
    if (!this.solo && subject.principal.source === 'os-user')
      return `${this.fileName} names issuers, so it counts only for whoever has logged in with one of them`
    if (this.declaration.access !== undefined) return `only what access: in ${this.fileName} names is given`
    return subject.actor === null
      ? `see what it says: agentgate policy explain`
      : 'mark a scope with agents: true, or name your agents in access:'
  }
}

function placeOf(recording: PolicyDeclaration['recording']): SyncPlace | null {
  if (recording?.sync === undefined) return null
  return { ...recording.sync, ...(recording.retain === undefined ? {} : { retainSeconds: recording.retain }) }
}

function templatesOf(credential: ParsedCredential | undefined): readonly (SecretTemplate | undefined)[] {
  switch (credential?.issuer) {
    case 'static': {
      const { url, user, password, secret, certificate } = credential
      return [url, user, password, secret, certificate?.certificate, certificate?.key]
    }
    case 'postgres-role':
      return [credential.admin]
    case 'none':
    case undefined:
      return []
    default:
      return credential satisfies never
  }
}

/** Whether a rule can apply to a resource at all, whoever asks. */
export function concerns(when: readonly ConditionDeclaration[], resource: ResourceDeclaration): boolean {
  return (
    when.length === 0 ||
    when.some(
      one =>
        names(one.general.resource, resource.name) && (one.protocol === null || one.protocol.has(resource.kindName)),
    )
  )
}

function names(globs: readonly Glob[] | undefined, resource: string): boolean {
  return globs === undefined || anyMatches(globs, resource)
}

function whoIs(subject: Subject): string {
  const { principal, actor } = subject
  return actor === null ? principal.name : `${actor.name} (for ${principal.name})`
}

function shownResource(resource: ResourceDeclaration, retainSeconds: number | null): PolicyResource {
  return {
    name: resource.name,
    kind: resource.kindName,
    address: reachOf(resource) ?? (resource.address === undefined ? null : addressOf(resource, resource.address)),
    placement: resource.placement,
    port: resource.port ?? null,
    settings: resource.settings,
    scopes: new Map([...resource.scopes].map(([name, scope]) => [name, { name, settings: scope.settings }])),
    retainSeconds: resource.retainSeconds ?? retainSeconds,
    limits: {
      connections: resource.limits.connections ?? null,
      ttlSeconds: resource.limits.ttlSeconds ?? null,
    },
    place: placeName(resource.place),
  }
}
