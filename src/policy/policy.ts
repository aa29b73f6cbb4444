import type { PolicyDigest, ResourceName, ScopeName } from '../ids.ts'
import type { Action, Mask, Verdict } from './action.ts'
import type { PolicyKind } from './kind.ts'
import type { Subject } from './subject.ts'
import type { AuditPlan } from './audit-settings.ts'
import type { LocalCopies, SyncPlace } from './sync-place.ts'

export type PolicyKinds = ReadonlyMap<string, PolicyKind>

/** The program at the other end of a client's socket, as far as rules ask for it. */
export interface Client {
  readonly program: string
}

export interface PolicyScope {
  readonly name: ScopeName
  /** As the kind's scopeSchema parsed them. */
  readonly settings: unknown
}

/** A resource as the file says it; nothing of it is resolved. */
export interface PolicyResource {
  readonly name: ResourceName
  readonly kind: string
  /** `host:port`, `[v6]:port` or an absolute path of a unix socket; null where the credential's URL says it. */
  readonly address: string | null
  readonly placement: 'local' | 'gateway'
  /** The local port asked for by `port:`. */
  readonly port: number | null
  /** As the kind's resourceSchema parsed them. */
  readonly settings: unknown
  readonly scopes: ReadonlyMap<ScopeName, PolicyScope>
  /** How long recordings of it are kept; null: for ever. */
  readonly retainSeconds: number | null
  readonly limits: { readonly connections: number | null; readonly ttlSeconds: number | null }
  readonly place: string
}

export interface Granted {
  readonly resource: PolicyResource
  readonly scope: PolicyScope
  readonly ttlSeconds: number
  /** It is not held: somebody gave it, to whom asked. */
  readonly onRequest: boolean
}

export interface Access {
  readonly resource: PolicyResource
  readonly scopes: readonly { readonly scope: PolicyScope; readonly ttlSeconds: number }[]
}

/** Everything about one subject, resource, scope and client worked out, so that a decision is a walk over a few rules. */
export interface Decider {
  readonly masks: readonly Mask[]
  decide(action: Action, nowMs: number): Verdict
}

/** A policy, compiled. Immutable: a changed file is a new object. */
export interface Policy {
  readonly digest: PolicyDigest
  /** No issuers: the principal is the operating system's user. */
  readonly solo: boolean
  readonly resources: ReadonlyMap<ResourceName, PolicyResource>
  readonly recording: {
    readonly keepResultBytes: number
    readonly keepSessionBytes: number
    /** Where recordings are copied; null: nowhere. */
    readonly sync: SyncPlace | null
    /** Of what is copied elsewhere. */
    readonly local: LocalCopies
    /** `bucket`: an action waits until it is on record where recordings are copied. */
    readonly durability: 'local' | 'bucket'
    /** age recipients who alone can read; empty: it is not encrypted. */
    readonly encryptTo: readonly string[]
    /** What recordings here may come to; null: what the disk has. */
    readonly spoolBytes: number | null
    readonly fsync: 'none' | 'segment' | 'event'
  }
  /** Where audit events go; null: nowhere. */
  readonly audit: AuditPlan | null
  /** @throws AgentgateError NO_SUCH_RESOURCE, with the nearest name. */
  resource(name: string): PolicyResource
  /** What this subject may use, empty where nothing. */
  access(subject: Subject): readonly Access[]
  /**
   * The scope that a subject gets: the one asked for, else `read`, else the only one.
   * @throws AgentgateError NO_SUCH_RESOURCE, NO_SUCH_SCOPE, DENIED
   */
  grant(subject: Subject, resource: string, scope?: string): Granted
  decider(subject: Subject, resource: ResourceName, scope: ScopeName, client?: Client | null): Decider
  /** As `decider(…).decide(…)`; the decider is kept per subject object. */
  decide(subject: Subject, resource: ResourceName, scope: ScopeName, action: Action, nowMs: number): Verdict
  /** The same array object for the same subject object, as long as this policy lives. */
  masks(subject: Subject, resource: ResourceName): readonly Mask[]
  /** Whether a rule for this resource asks for the program at the other end of the socket. */
  asksForClient(resource: ResourceName): boolean
  /** Whether a rule for this resource has this key, of those that only its kind knows. */
  asksFor(resource: ResourceName, condition: string): boolean
  counts(resource: ResourceName): { readonly deny: number; readonly approve: number; readonly masks: number }
}
