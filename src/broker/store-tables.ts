import { approvalMigration, voteMigration, type ApprovalTable, type VoteTable } from './approval-store.ts'
import { policyMigration, type PolicyTable } from './policy-store.ts'
import {
  checkMigration,
  requestMigration,
  type CheckTable,
  type PrincipalTable,
  type RequestTable,
  type RequestVoteTable,
} from './request-store.ts'
import type { Migrations } from './store-engine.ts'
import { witnessMigration, type WitnessTables } from './witness/receipt-store.ts'
import { indexEndsMigration, indexMigration, type IndexTables } from './witness/statement-index.ts'

// Times are ISO 8601 text in UTC, which orders as they do, and ids are text: libsql rounds 64-bit integers.

export type GrantState = 'minting' | 'active' | 'closed' | 'expired' | 'revoked'
export type EndState = Extract<GrantState, 'closed' | 'expired' | 'revoked'>

export interface SessionTable {
  id: string
  principal: string
  /** SHA-256 of the token that its tunnel has. */
  token_hash: string
  expires_at: string
  /** When a broker last had its tunnel on the line. */
  seen_at: string | null
  /** That which opened it. */
  broker: string | null
}

/** Brokers on this store, and when each last said that it runs. */
interface BrokerTable {
  id: string
  seen_at: string
}

interface GrantTable {
  id: string
  session: string
  principal: string
  actor: string | null
  resource: string
  scope: string
  state: GrantState
  issuer: string | null
  credential_user: string | null
  host: string
  purpose: string | null
  ticket: string | null
  created_at: string
  expires_at: string
  ended_at: string | null
  ended_by: string | null
  reason: string | null
  /** The request that it was given on; null: held without asking. */
  request: string | null
}

export interface SuspensionTable {
  principal: string
  at: string
  by: string
  reason: string
}

export interface AuditTable {
  at: string
  kind: string
  by: string
  about: string
  detail: string
}

interface SettingTable {
  name: string
  value: string
}

export interface Tables extends WitnessTables, IndexTables {
  requests: RequestTable
  checks: CheckTable
  request_votes: RequestVoteTable
  principals: PrincipalTable
  settings: SettingTable
  brokers: BrokerTable
  approvals: ApprovalTable
  votes: VoteTable
  sessions: SessionTable
  grants: GrantTable
  suspensions: SuspensionTable
  audit: AuditTable
  policies: PolicyTable
}

export type StoredGrant = GrantTable

/** In order, and never changed once released; both engines read them. */
export const migrations: Migrations = [
  [
    `create table sessions (id text primary key, principal text not null, token_hash text not null, expires_at text not null)`,
    `create table grants (id text primary key, session text not null references sessions(id), principal text not null,
      actor text, resource text not null, scope text not null, state text not null, issuer text, credential_user text,
      host text not null, purpose text, ticket text, created_at text not null, expires_at text not null, ended_at text,
      ended_by text, reason text)`,
    `create index grants_live on grants (state, session)`,
    `create index grants_principal on grants (principal, created_at)`,
    `create table suspensions (principal text primary key, at text not null, "by" text not null, reason text not null)`,
    `create table audit (at text not null, kind text not null, "by" text not null, about text not null, detail text not null)`,
  ],
  approvalMigration,
  [
    `alter table sessions add column seen_at text`,
    `create table settings (name text primary key, value text not null)`,
    `create index grants_session on grants (session)`,
    `create index approvals_session on approvals (session, state)`,
  ],
  requestMigration,
  [...witnessMigration, ...indexMigration],
  [`alter table sessions add column broker text`, `create table brokers (id text primary key, seen_at text not null)`],
  checkMigration,
  indexEndsMigration,
  policyMigration,
  voteMigration,
]
