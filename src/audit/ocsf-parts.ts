import type { JsonValue } from '../policy/action.ts'
import type { Principal, Subject } from '../policy/subject.ts'
import type { AuditSubject } from './audit-event.ts'

export type Json = JsonValue

export interface OcsfClass {
  readonly uid: number
  readonly name: string
  readonly category: { readonly uid: number; readonly name: string }
  /** The schema's own names; 99 is Other. */
  readonly activities: Readonly<Record<number, string>>
}

const findings = { uid: 2, name: 'Findings' }
const identity = { uid: 3, name: 'Identity & Access Management' }
const network = { uid: 4, name: 'Network Activity' }
const application = { uid: 6, name: 'Application Activity' }

/** Of OCSF 1.5.0, the classes that audit events are mapped to, with the activities in use. */
export const classes = {
  detectionFinding: { uid: 2004, name: 'Detection Finding', category: findings, activities: { 1: 'Create' } },
  accountChange: { uid: 3001, name: 'Account Change', category: identity, activities: { 2: 'Enable', 5: 'Disable' } },
  authentication: { uid: 3002, name: 'Authentication', category: identity, activities: { 1: 'Logon', 2: 'Logoff' } },
  entityManagement: {
    uid: 3004,
    name: 'Entity Management',
    category: identity,
    activities: { 1: 'Create', 3: 'Update', 4: 'Delete' },
  },
  userAccess: {
    uid: 3005,
    name: 'User Access Management',
    category: identity,
    activities: { 1: 'Assign Privileges', 2: 'Revoke Privileges' },
  },
  tunnelActivity: { uid: 4014, name: 'Tunnel Activity', category: network, activities: { 1: 'Open', 2: 'Close' } },
  apiActivity: {
    uid: 6003,
    name: 'API Activity',
    category: application,
    activities: { 0: 'Unknown', 1: 'Create', 2: 'Read', 3: 'Update', 4: 'Delete' },
  },
  datastoreActivity: {
    uid: 6005,
    name: 'Datastore Activity',
    category: application,
    activities: { 0: 'Unknown', 1: 'Read', 2: 'Update', 5: 'Write', 6: 'Create', 7: 'Delete' },
  },
} as const satisfies Record<string, OcsfClass>

export const severities = {
  informational: { id: 1, name: 'Informational' },
  low: { id: 2, name: 'Low' },
  medium: { id: 3, name: 'Medium' },
  high: { id: 4, name: 'High' },
  critical: { id: 5, name: 'Critical' },
} as const

export type Severity = keyof typeof severities

export function userOf(principal: Principal): { readonly [key: string]: Json } {
  return {
    name: textOr(principal.name, 'unknown'),
    type_id: 1,
    type: 'User',
    domain: principal.source,
    ...(principal.groups.length === 0 ? {} : { groups: principal.groups.map(name => ({ name })) }),
  }
}

/** The schema's pattern for host names refuses some that machines have; `name` takes any. */
export function endpoint(host: string, otherwise: string): { readonly [key: string]: Json } {
  return { name: textOr(host, otherwise) }
}

export function textOr(text: string | null | undefined, otherwise: string): string {
  return text === null || text === undefined || text === '' ? otherwise : text
}

export interface Origin {
  readonly uid: string
  /** Milliseconds since 1970. */
  readonly at: number
  readonly host: string
  readonly version: string
  readonly text: 'whole' | 'summary'
}

/** What an event is in OCSF, before what every event has. */
export interface Mapped {
  readonly class: OcsfClass
  readonly activity: number
  readonly severity: Severity
  readonly message: string
  readonly status: 'success' | 'failure' | 'other'
  readonly detail?: string | null | undefined
  readonly session: string | null
  readonly sequence?: number
  readonly profiles?: readonly string[]
  readonly fields: { readonly [key: string]: Json }
  readonly unmapped: { readonly [key: string]: Json }
}

export function actorOf({ subject, session, since }: AuditSubject): Json {
  return {
    user: userOf(subject.principal),
    ...(subject.actor === null ? {} : { app_name: subject.actor.name }),
    ...(session === null ? {} : { session: { uid: session, ...(since === null ? {} : { created_time: since }) } }),
  }
}

export function whyOf(subject: Subject): { readonly [key: string]: Json } {
  return {
    agent: subject.actor?.name ?? null,
    agent_proven: subject.actor?.proven ?? null,
    confined: subject.confined,
    purpose: subject.purpose,
    ticket: subject.ticket,
  }
}

export function shown({ principal, actor }: Subject): string {
  return actor === null ? principal.name : `${actor.name} for ${principal.name}`
}
