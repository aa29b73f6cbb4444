import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import type { ResourceName, ScopeName } from '../ids.ts'
import type { Approvers, MaskStrategy, MaskUse } from './action.ts'
import type { PolicyKind } from './kind.ts'
import type { Place } from './problem.ts'
import type { ParsedCredential, ParsedSubjectWhen, ParsedTls, ParsedWhen, ParsedWho, PolicyDocument } from './schema.ts'
import type { Address } from './schema-text.ts'

// What a policy says, read and checked: the files' content with names in place of text, and where each of it stands.

/** For what no rule matches. */
export type DefaultEffect = 'allow' | 'deny' | 'read'

export interface ScopeDeclaration {
  readonly name: ScopeName
  readonly settings: unknown
  readonly agents: boolean | undefined
  readonly credential: ParsedCredential | undefined
  readonly place: Place
}

export interface ResourceDeclaration {
  readonly name: ResourceName
  readonly kindName: string
  readonly kind: PolicyKind
  readonly address: Address | undefined
  readonly tls: ParsedTls | undefined
  readonly placement: 'local' | 'gateway'
  readonly port: number | undefined
  readonly default: { readonly people: DefaultEffect; readonly agents: DefaultEffect }
  readonly credential: ParsedCredential | undefined
  readonly agents: boolean | undefined
  readonly retainSeconds: number | undefined
  readonly limits: { readonly connections: number | undefined; readonly ttlSeconds: number | undefined }
  readonly settings: unknown
  readonly scopes: ReadonlyMap<ScopeName, ScopeDeclaration>
  readonly place: Place
}

/** One `when` or `unless`: all of it must hold. */
export interface ConditionDeclaration {
  readonly general: ParsedWhen
  /** The keys that only kinds know, as each kind that knows them all parsed them; null where there are none. */
  readonly protocol: ReadonlyMap<string, Readonly<Record<string, unknown>>> | null
  readonly place: Place
}

export type RuleEffect = 'allow' | 'deny' | 'approve' | 'limit' | 'record'

export interface RuleDeclaration {
  readonly name: string
  readonly effect: RuleEffect
  /** Of `limit`. */
  readonly results: { readonly rows: number | null; readonly bytes: number | null } | undefined
  /** Of `record`. */
  readonly keep: 'full' | 'none' | undefined
  /** One of them must hold; empty where the rule has an expression alone. */
  readonly when: readonly ConditionDeclaration[]
  /** None of them may hold. */
  readonly unless: readonly ConditionDeclaration[]
  readonly expression: { readonly text: string; readonly place: Place } | undefined
  readonly message: string | undefined
  readonly hint: string | undefined
  readonly approvers: Approvers
  readonly approversPlace: Place
  readonly place: Place
}

export interface MaskDeclaration {
  readonly name: string
  readonly resource: ParsedWhen['resource']
  readonly columns: readonly string[]
  readonly fields: readonly string[]
  readonly detect: readonly string[]
  readonly with: MaskStrategy
  readonly compare: readonly MaskUse[] | undefined
  readonly when: ParsedSubjectWhen | undefined
  readonly unless: readonly ParsedSubjectWhen[]
  readonly enforceByGrant: boolean
  readonly place: Place
}

export interface AccessDeclaration {
  readonly who: readonly ParsedWho[]
  readonly resources: NonNullable<ParsedWhen['resource']>
  readonly scopes: NonNullable<ParsedWhen['scope']>
  readonly ttlSeconds: number | undefined
  /** Who gives it, to whom asks; undefined: it is held without asking. */
  readonly approvers: Approvers | undefined
  readonly place: Place
}

/** All files of a policy as one, checked, with the place of everything. */
export interface PolicyDeclaration {
  readonly issuers: readonly (IdentityIssuer & { readonly place: Place })[]
  readonly resources: ReadonlyMap<ResourceName, ResourceDeclaration>
  /** Undefined: not said, which in solo use is everything. */
  readonly access: readonly AccessDeclaration[] | undefined
  readonly rules: readonly RuleDeclaration[]
  readonly masks: readonly MaskDeclaration[]
  readonly recording: (NonNullable<PolicyDocument['recording']> & { readonly place: Place }) | undefined
  readonly audit: (NonNullable<PolicyDocument['audit']> & { readonly place: Place }) | undefined
  readonly exec: (NonNullable<PolicyDocument['exec']> & { readonly place: Place }) | undefined
  readonly admins: (NonNullable<PolicyDocument['admins']> & { readonly place: Place }) | undefined
  readonly places: { readonly start: Place }
}
