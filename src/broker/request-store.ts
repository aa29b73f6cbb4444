import type { Kysely } from 'kysely'
import { maxListed } from './store-limits.ts'
import type { Tables } from './store-tables.ts'

export interface RequestTable {
  id: string
  principal: string
  /** Whoever asked as their token said it, as JSON: what the policy is asked again when somebody answers. */
  asked_as: string
  actor: string | null
  resource: string
  scope: string
  seconds: number
  purpose: string | null
  ticket: string | null
  state: 'open' | 'approved' | 'rejected' | 'withdrawn' | 'revoked'
  created_at: string
  /** Until then it waits. */
  expires_at: string
  decided_at: string | null
  decided_by: string | null
  reason: string | null
  /** Approved: until then it is theirs. */
  until: string | null
}

export interface RequestVoteTable {
  request: string
  principal: string
  at: string
}

/** Whom the broker has seen, as their tokens last said. */
export interface PrincipalTable {
  name: string
  /** As JSON. */
  principal: string
  seen_at: string
}

export type StoredRequest = RequestTable

export const requestMigration: readonly string[] = [
  `create table requests (id text primary key, principal text not null, asked_as text not null, actor text,
    resource text not null, scope text not null, seconds integer not null, purpose text, ticket text, state text not null,
    created_at text not null, expires_at text not null, decided_at text, decided_by text, reason text, until text)`,
  `create index requests_state on requests (state, expires_at)`,
  `create index requests_principal on requests (principal, created_at)`,
  `create table request_votes (request text not null references requests(id), principal text not null, at text not null,
    primary key (request, principal))`,
  `create table principals (name text primary key, principal text not null, seen_at text not null)`,
  `alter table grants add column request text`,
  `alter table approvals add column answer text`,
]

/** An edit on its way to the tunnel that decides on it, and back. */
export interface CheckTable {
  id: string
  approval: string
  text: string
  /** As JSON; null: not yet. */
  result: string | null
}

export const checkMigration: readonly string[] = [
  `create table checks (id text primary key, approval text not null references approvals(id), text text not null, result text)`,
]

/** Requests for access. A change of state is one UPDATE that asks for the state before, as everywhere in the store. */
export class RequestStore {
  readonly #db: Kysely<Tables>

  constructor(db: Kysely<Tables>) {
    this.#db = db
  }

  async add(request: RequestTable): Promise<void> {
    await this.#db.insertInto('requests').values(request).execute()
  }

  async find(id: string): Promise<RequestTable | undefined> {
    return await this.#db.selectFrom('requests').selectAll().where('id', '=', id).executeTakeFirst()
  }

  /** Newest first; of one principal, or of all. */
  async list(principal: string | undefined): Promise<readonly RequestTable[]> {
    const query = this.#db.selectFrom('requests').selectAll().orderBy('created_at', 'desc').limit(maxListed)
    return await (principal === undefined ? query : query.where('principal', '=', principal)).execute()
  }

  async open(now: string, principal?: string): Promise<readonly RequestTable[]> {
    const query = this.#db
      .selectFrom('requests')
      .selectAll()
      .where('state', '=', 'open')
      .where('expires_at', '>', now)
      .orderBy('expires_at')
      .limit(maxListed)
    return await (principal === undefined ? query : query.where('principal', '=', principal)).execute()
  }

  /** What a principal has been given and still has. */
  async given(principal: string, now: string): Promise<readonly RequestTable[]> {
    return await this.#db
      .selectFrom('requests')
      .selectAll()
      .where('principal', '=', principal)
      .where('state', '=', 'approved')
      .where('until', '>', now)
      .execute()
  }

  /** How many different principals have said yes, this one among them. */
  async vote(request: string, principal: string, at: string): Promise<number> {
    await this.#db
      .insertInto('request_votes')
      .values({ request, principal, at })
      .onConflict(conflict => conflict.doNothing())
      .execute()
    return (await this.#db.selectFrom('request_votes').select('principal').where('request', '=', request).execute())
      .length
  }

  /** True for the one call that decides it; whoever is second, or too late, changes nothing. */
  async decide(
    id: string,
    decided: Pick<RequestTable, 'state' | 'decided_by' | 'reason' | 'until' | 'seconds'>,
    at: string,
  ): Promise<boolean> {
    const rows = await this.#db
      .updateTable('requests')
      .set({ ...decided, decided_at: at })
      .where('id', '=', id)
      .where('state', '=', 'open')
      .where('expires_at', '>', at)
      .returning('id')
      .execute()
    return rows.length === 1
  }

  /** Takes back what was given. True for the one call that does. */
  async revoke(id: string, by: string, reason: string, at: string): Promise<boolean> {
    const rows = await this.#db
      .updateTable('requests')
      .set({ state: 'revoked', decided_at: at, decided_by: by, reason })
      .where('id', '=', id)
      .where('state', '=', 'approved')
      .returning('id')
      .execute()
    return rows.length === 1
  }

  /** Whatever of a principal's waits or was given. */
  async endAllOf(principal: string, by: string, reason: string, at: string): Promise<void> {
    await this.#db
      .updateTable('requests')
      .set({ state: 'revoked', decided_at: at, decided_by: by, reason })
      .where('principal', '=', principal)
      .where('state', 'in', ['open', 'approved'])
      .execute()
  }

  async addCheck(check: CheckTable): Promise<void> {
    await this.#db.insertInto('checks').values(check).execute()
  }

  async check(id: string): Promise<CheckTable | undefined> {
    return await this.#db.selectFrom('checks').selectAll().where('id', '=', id).executeTakeFirst()
  }

  /** False: there is no such check of this approval, or it has been answered. */
  async answerCheck(id: string, approval: string, result: string): Promise<boolean> {
    const rows = await this.#db
      .updateTable('checks')
      .set({ result })
      .where('id', '=', id)
      .where('approval', '=', approval)
      .where('result', 'is', null)
      .returning('id')
      .execute()
    return rows.length === 1
  }

  async removeCheck(id: string): Promise<void> {
    await this.#db.deleteFrom('checks').where('id', '=', id).execute()
  }

  async seen(name: string, principal: string, at: string): Promise<void> {
    const row: PrincipalTable = { name, principal, seen_at: at }
    await this.#db
      .insertInto('principals')
      .values(row)
      .onConflict(conflict => conflict.column('name').doUpdateSet(row))
      .execute()
  }

  async principals(): Promise<readonly PrincipalTable[]> {
    return await this.#db.selectFrom('principals').selectAll().orderBy('name').limit(maxListed).execute()
  }
}
