import type { z } from 'zod'
import { AgentgateError } from '../errors.ts'
import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import { asResourceName, asScopeName, type ResourceName, type ScopeName } from '../ids.ts'
import type {
  ScopeDeclaration,
  ResourceDeclaration,
  ConditionDeclaration,
  RuleDeclaration,
  MaskDeclaration,
  AccessDeclaration,
  PolicyDeclaration,
} from './declaration.ts'
import { anyMatches, type Glob } from './glob.ts'
import type { Approvers } from './action.ts'
import type { PolicyKind } from './kind.ts'
import type { PolicyKinds } from './policy.ts'
import { inOrder, renderProblem, type Place, type Problem } from './problem.ts'
import { parsePart, valueAt } from './schema-problem.ts'
import {
  defaultApproval,
  defaultRequestApproval,
  generalResourceShape,
  generalScope,
  generalScopeShape,
  generalWhen,
  generalWhenShape,
  policySchema,
  type ParsedCredential,
  type ParsedApprovers,
  type PolicyDocument,
} from './schema.ts'
import { didYouMean, listed } from './suggest.ts'
import { readYaml, type Path, type YamlSource } from './yaml-source.ts'

/** A policy that cannot be used; its message holds every problem as a terminal shows it. */
export class PolicyInvalid extends AgentgateError {
  readonly problems: readonly Problem[]

  constructor(name: string, problems: readonly Problem[]) {
    const errors = problems.filter(problem => problem.severity === 'error')
    const count = errors.length === 1 ? 'an error' : `${errors.length} errors`
    super('POLICY_INVALID', `${name} has ${count}\n${errors.map(renderProblem).join('\n')}`, {
      hint: 'correct it, then: agentgate policy check',
    })
    this.problems = problems
  }
}

export interface ParseInput {
  readonly files: readonly { readonly name: string; readonly shown: string; readonly bytes: Buffer }[]
  readonly kinds: PolicyKinds
}

export type ParseResult =
  | { readonly kind: 'ok'; readonly declaration: PolicyDeclaration }
  | { readonly kind: 'wrong'; readonly problems: readonly Problem[] }

/** Reads the files of a policy, in the order given, as one. Evaluates nothing that they say. */
export function parsePolicy(input: ParseInput): ParseResult {
  const problems: Problem[] = []
  const schema = policySchema(input.kinds)
  const wrong = (): ParseResult => ({ kind: 'wrong', problems: inOrder(problems) })
  const parts: { readonly yaml: YamlSource; readonly document: PolicyDocument }[] = []
  for (const file of input.files) {
    const read = readYaml(file)
    if (read.kind === 'broken') {
      problems.push(...read.problems)
      continue
    }
    const parsed = parsePart(schema, read.yaml.value, read.yaml, [])
    if (parsed.kind === 'ok') parts.push({ yaml: read.yaml, document: parsed.value })
    else problems.push(...parsed.problems)
  }
  if (problems.length > 0) return wrong()
  const builder = new Builder(input.kinds, problems)
  for (const { yaml, document } of parts) builder.addResources(yaml, document)
  for (const { yaml, document } of parts) builder.addRest(yaml, document)
  const [first] = parts
  if (first === undefined || problems.length > 0) return wrong()
  return { kind: 'ok', declaration: builder.declaration(first.yaml) }
}

/** Merges the parsed files; what belongs to a kind is parsed by that kind here. */
class Builder {
  readonly #kinds: PolicyKinds
  readonly #problems: Problem[]
  readonly #resources = new Map<ResourceName, ResourceDeclaration>()
  readonly #issuers: (IdentityIssuer & { readonly place: Place })[] = []
  #access: AccessDeclaration[] | undefined
  readonly #rules: RuleDeclaration[] = []
  readonly #masks: MaskDeclaration[] = []
  #recording: PolicyDeclaration['recording']
  #audit: PolicyDeclaration['audit']
  #exec: PolicyDeclaration['exec']
  #admins: PolicyDeclaration['admins']

  constructor(kinds: PolicyKinds, problems: Problem[]) {
    this.#kinds = kinds
    this.#problems = problems
  }

  declaration(first: YamlSource): PolicyDeclaration {
    return {
      issuers: this.#issuers.map(issuer => ({ ...issuer, keptClaims: this.#claimsAskedFor() })),
      resources: this.#resources,
      access: this.#access,
      rules: this.#rules,
      masks: this.#masks,
      recording: this.#recording,
      audit: this.#audit,
      exec: this.#exec,
      admins: this.#admins,
      places: { start: first.place(['version']) },
    }
  }

  /** What a principal is told apart by besides name and groups. */
  #claimsAskedFor(): readonly string[] {
    const { policy, auditor } = this.#admins ?? {}
    const all = [...(this.#access ?? []).flatMap(entry => entry.who), policy, auditor]
    return [...new Set(all.flatMap(who => Object.keys(who?.claims ?? {})))]
  }

  addResources(yaml: YamlSource, document: PolicyDocument): void {
    for (const [key, parsed] of Object.entries(document.resources ?? {})) {
      const path = ['resources', key]
      const name = asResourceName(key)
      const kind = this.#kinds.get(parsed.kind)
      if (name === undefined || kind === undefined) continue // the schema has refused it
      if (this.#resources.has(name)) {
        this.#error(yaml.keyPlace(path), `resource "${name}" stands here twice`)
        continue
      }
      const raw = rawAt(yaml.value, path)
      const own = pick(raw, key => !Object.hasOwn(generalResourceShape, key) && key !== 'kind' && key !== 'scopes')
      const settings = this.#part(kind.resourceSchema, own, yaml, path)
      const scopes = this.#scopes(kind, rawRecord(raw['scopes']), yaml, [...path, 'scopes'], path)
      const reachable = parsed.address ?? urlOf(parsed.credential)
      if (kind.reach !== undefined) {
        for (const key of ['address', 'tls', 'credential'] as const)
          if (parsed[key] !== undefined)
            this.#error(yaml.keyPlace([...path, key]), `a resource of kind ${parsed.kind} has no ${key}`)
      } else if (reachable === undefined && [...scopes.values()].some(scope => urlOf(scope.credential) === undefined))
        this.#error(
          yaml.keyPlace(path),
          `${name} has no address; expected address: host:port, or a credential with a url`,
        )
      if (parsed.address?.kind === 'host' && parsed.address.port === null && kind.targetPort === undefined)
        this.#error(yaml.place([...path, 'address']), `${parsed.kind} has no port of its own; expected host:port`)
      const parsedDefault = parsed.default
      this.#resources.set(name, {
        name,
        kindName: parsed.kind,
        kind,
        address: parsed.address,
        tls: parsed.tls,
        placement: parsed.placement ?? 'local',
        port: parsed.port,
        // A person may do what no rule forbids, an agent only look: DESIGN §4.
        default:
          typeof parsedDefault === 'string'
            ? { people: parsedDefault, agents: parsedDefault }
            : {
                people: parsedDefault?.people ?? 'allow',
                agents: parsedDefault?.agents ?? kind.agentsDefault ?? 'read',
              },
        credential: parsed.credential,
        agents: parsed.agents,
        retainSeconds: parsed.retain,
        limits: { connections: parsed.limits?.connections, ttlSeconds: parsed.limits?.ttl },
        settings,
        scopes,
        place: yaml.keyPlace(path),
      })
    }
  }

  #scopes(
    kind: PolicyKind,
    raw: Readonly<Record<string, unknown>> | undefined,
    yaml: YamlSource,
    path: Path,
    resourcePath: Path,
  ): ReadonlyMap<ScopeName, ScopeDeclaration> {
    const scopes = new Map<ScopeName, ScopeDeclaration>()
    // A resource that names none has one, so that access and rules have something to name.
    const written = raw === undefined || Object.keys(raw).length === 0 ? { default: null } : raw
    for (const [key, value] of Object.entries(written)) {
      const name = asScopeName(key)
      if (name === undefined) continue
      const here = raw === undefined ? resourcePath : [...path, key]
      const record = rawRecord(value) ?? {}
      const general = this.#part(
        generalScope,
        pick(record, word => Object.hasOwn(generalScopeShape, word)),
        yaml,
        here,
      )
      const settings = this.#part(
        kind.scopeSchema,
        pick(record, word => !Object.hasOwn(generalScopeShape, word)),
        yaml,
        here,
      )
      scopes.set(name, {
        name,
        settings,
        agents: general?.agents,
        credential: general?.credential,
        place: yaml.keyPlace(here),
      })
    }
    return scopes
  }

  addRest(yaml: YamlSource, document: PolicyDocument): void {
    document.issuers?.forEach((issuer, index) => {
      const place = yaml.place(['issuers', index])
      if (this.#issuers.some(other => other.issuer === issuer.issuer))
        this.#error(place, `issuer ${issuer.issuer} stands here twice`)
      this.#issuers.push({
        issuer: issuer.issuer,
        audience: issuer.audience,
        clientId: issuer['client-id'] ?? issuer.audience,
        scopes: issuer.scopes,
        nameClaim: issuer.claims?.name,
        groupsClaim: issuer.claims?.groups ?? 'groups',
        keptClaims: [],
        conditions: Object.entries(issuer.require ?? {}).map(([claim, patterns]) => ({
          claim,
          holds: value => anyMatches(patterns, value),
        })),
        place,
      })
    })
    if (document.access !== undefined) this.#access ??= []
    document.access?.forEach((entry, index) => {
      const path = ['access', index]
      this.#mustExist('resource', entry.resources, [...this.#resources.keys()], yaml, [...path, 'resources'])
      this.#mustExist('scope', entry.scopes, this.#scopesOf(entry.resources), yaml, [...path, 'scopes'])
      this.#access?.push({
        who: entry.who,
        resources: entry.resources,
        scopes: entry.scopes,
        ttlSeconds: entry.ttl,
        approvers: entry.approvers === undefined ? undefined : approversOf(entry.approvers, defaultRequestApproval),
        place: yaml.place(path),
      })
    })
    document.rules?.forEach((rule, index) => this.#addRule(rule, yaml, ['rules', index]))
    document.masks?.forEach((mask, index) => this.#addMask(mask, yaml, ['masks', index]))
    this.#recording = this.#once(this.#recording, document.recording, yaml, 'recording')
    this.#audit = this.#once(this.#audit, document.audit, yaml, 'audit')
    this.#exec = this.#once(this.#exec, document.exec, yaml, 'exec')
    this.#admins = this.#once(this.#admins, document.admins, yaml, 'admins')
  }

  #once<Part extends object>(
    before: (Part & { readonly place: Place }) | undefined,
    part: Part | undefined,
    yaml: YamlSource,
    key: string,
  ): (Part & { readonly place: Place }) | undefined {
    if (part === undefined) return before
    const place = yaml.keyPlace([key])
    if (before !== undefined) this.#error(place, `${key} stands in another file of this policy already`)
    return { ...part, place }
  }

  #addRule(rule: NonNullable<PolicyDocument['rules']>[number], yaml: YamlSource, path: Path): void {
    if (this.#rules.some(other => other.name === rule.name))
      this.#error(yaml.place([...path, 'name']), `another rule is called "${rule.name}"`)
    const raw = rawAt(yaml.value, path)
    const conditions = (key: 'when' | 'unless') => {
      const value = raw[key]
      if (value === undefined) return []
      return Array.isArray(value)
        ? value.flatMap((one, index) => this.#condition(rawRecord(one) ?? {}, yaml, [...path, key, index]))
        : this.#condition(rawRecord(value) ?? {}, yaml, [...path, key])
    }
    const asked = rule.approvers
    this.#rules.push({
      name: rule.name,
      effect: rule.then,
      results:
        rule.results === undefined ? undefined : { rows: rule.results.rows ?? null, bytes: rule.results.bytes ?? null },
      keep: rule.results?.keep,
      when: conditions('when'),
      unless: conditions('unless'),
      expression: rule.if === undefined ? undefined : { text: rule.if, place: yaml.place([...path, 'if']) },
      message: rule.message,
      hint: rule.hint,
      approvers: approversOf(asked, defaultApproval),
      approversPlace: yaml.place([...path, asked === undefined ? 'then' : 'approvers']),
      place: yaml.place(path),
    })
  }

  #condition(raw: Readonly<Record<string, unknown>>, yaml: YamlSource, path: Path): ConditionDeclaration[] {
    const general = this.#part(
      generalWhen,
      pick(raw, key => Object.hasOwn(generalWhenShape, key)),
      yaml,
      path,
    )
    if (general === undefined) return []
    this.#mustExist('resource', general.resource, [...this.#resources.keys()], yaml, [...path, 'resource'])
    this.#mustExist('scope', general.scope, this.#scopesOf(general.resource), yaml, [...path, 'scope'])
    const own = pick(raw, key => !Object.hasOwn(generalWhenShape, key))
    const keys = Object.keys(own)
    const place = yaml.place(path)
    if (keys.length === 0) return [{ general, protocol: null, place }]
    const knowing = [...this.#kinds].filter(([, kind]) => keys.every(key => Object.hasOwn(kind.whenSchema.shape, key)))
    if (knowing.length === 0) {
      const owners = keys.map(key => {
        const names = [...this.#kinds].flatMap(([name, kind]) =>
          Object.hasOwn(kind.whenSchema.shape, key) ? [name] : [],
        )
        return `${key} (${listed(names)})`
      })
      this.#error(place, `no kind of resource knows all of this: ${owners.join(', ')}; write a rule for each`)
      return []
    }
    // Only the kinds that this can ever be asked of have to make sense of the values.
    const present = new Set<string>()
    for (const resource of this.#resources.values())
      if (general.resource === undefined || anyMatches(general.resource, resource.name)) present.add(resource.kindName)
    const asked = knowing.filter(([name]) => present.has(name))
    const protocol = new Map<string, Readonly<Record<string, unknown>>>()
    for (const [name, kind] of asked.length > 0 ? asked : knowing) {
      const parsed = this.#part(kind.whenSchema, own, yaml, path)
      if (parsed !== undefined) protocol.set(name, parsed)
    }
    return [{ general, protocol, place }]
  }

  #addMask(mask: NonNullable<PolicyDocument['masks']>[number], yaml: YamlSource, path: Path): void {
    if (this.#masks.some(other => other.name === mask.name))
      this.#error(yaml.place([...path, 'name']), `another mask is called "${mask.name}"`)
    this.#mustExist('resource', mask.resource, [...this.#resources.keys()], yaml, [...path, 'resource'])
    this.#masks.push({
      name: mask.name,
      resource: mask.resource,
      columns: mask.columns ?? [],
      fields: mask.fields ?? [],
      detect: mask.detect ?? [],
      with:
        mask.with === null
          ? { kind: 'null' }
          : typeof mask.with === 'string'
            ? { kind: mask.with }
            : { kind: 'constant', value: mask.with.constant },
      when: mask.when,
      unless: mask.unless ?? [],
      compare: mask.compare,
      enforceByGrant: mask.enforce === 'grant',
      place: yaml.place(path),
    })
  }

  #part<Schema extends z.ZodType>(
    schema: Schema,
    value: unknown,
    yaml: YamlSource,
    path: Path,
  ): z.output<Schema> | undefined {
    const parsed = parsePart(schema, value, yaml, path)
    if (parsed.kind === 'ok') return parsed.value
    this.#problems.push(...parsed.problems)
    return undefined
  }

  /** Names without a `*` that name nothing: a rule with such a typo would silently never apply. */
  #mustExist(
    what: string,
    globs: readonly Glob[] | undefined,
    known: readonly string[],
    yaml: YamlSource,
    path: Path,
  ): void {
    globs?.forEach((one, index) => {
      if (!one.literal || known.includes(one.pattern)) return
      const single = typeof valueAt(yaml.value, path) === 'string'
      const expected = known.length === 0 ? 'there is none' : `there is ${listed(known)}`
      this.#error(
        yaml.place(single ? path : [...path, index]),
        `no ${what} "${one.pattern}"; ${expected}`,
        didYouMean(one.pattern, known),
      )
    })
  }

  #scopesOf(resources: readonly Glob[] | undefined): readonly string[] {
    const scopes = new Set<string>()
    for (const resource of this.#resources.values())
      if (resources === undefined || anyMatches(resources, resource.name))
        for (const name of resource.scopes.keys()) scopes.add(name)
    return [...scopes]
  }

  #error(place: Place, message: string, suggestion?: string): void {
    this.#problems.push({ severity: 'error', place, message, suggestion })
  }
}

function approversOf(
  asked: ParsedApprovers | undefined,
  otherwise: { readonly count: number; readonly notSelf: boolean; readonly withinSeconds: number },
): Approvers {
  return {
    groups: asked?.group ?? [],
    count: asked?.count ?? otherwise.count,
    notSelf: asked?.['not-self'] ?? otherwise.notSelf,
    withinSeconds: asked?.within ?? otherwise.withinSeconds,
  }
}

function rawAt(root: unknown, path: Path): Readonly<Record<string, unknown>> {
  return rawRecord(valueAt(root, path)) ?? {}
}

function urlOf(credential: ParsedCredential | undefined): unknown {
  if (credential?.issuer === 'postgres-role') return credential.admin
  return credential?.issuer === 'static' ? credential.url : undefined
}

function rawRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}

function pick(record: Readonly<Record<string, unknown>>, wanted: (key: string) => boolean): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => wanted(key)))
}
