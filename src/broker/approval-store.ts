import type { Kysely } from 'kysely'
import { chunks, maxListed } from './store-limits.ts'
import type { Tables } from './store-tables.ts'

export interface ApprovalTable {
  id: string
  session: string
  principal: string
  /** What is shown, as JSON. */
  request: string
  state: 'open' | 'approved' | 'rejected' | 'withdrawn'
  expires_at: string
  decided_at: string | null
  decided_by: string | null
  reason: string | null
  /** What an approver made of it, as JSON; null: as it was asked, once. */
  answer: string | null
}

export interface VoteTable {
  approval: string
  principal: string
  at: string
  /** What it is a yes to, as JSON: nothing in it, where the statement runs as it was asked for, once. */
  what: string
}

export const approvalMigration: readonly string[] = [
  `create table approvals (id text primary key, session text not null references sessions(id), principal text not null,
    request text not null, state text not null, expires_at text not null, decided_at text, decided_by text, reason text)`,
  `create index approvals_open on approvals (state, expires_at)`,
  `create table votes (approval text not null references approvals(id), principal text not null, at text not null,
    primary key (approval, principal))`,
]
export const voteMigration: readonly string[] = [`alter table votes add column what text not null default '{}'`]

/** What waits, or waited, for a person's yes to a statement. */
export class ApprovalStore {
  readonly #db: Kysely<Tables>

  constructor(db: Kysely<Tables>) {
    this.#db = db
  }

  /** False: another session has this id. The same again is nothing new. */
  async add(approval: ApprovalTable): Promise<boolean> {
    await this.#db
      .insertInto('approvals')
      .values(approval)
      .onConflict(conflict => conflict.doNothing())
      .execute()
    return (await this.find(approval.id))?.session === approval.session
  }

  async find(id: string): Promise<ApprovalTable | undefined> {
    return await this.#db.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst()
  }

  async open(now: string): Promise<readonly ApprovalTable[]> {
    return await this.#db
      .selectFrom('approvals')
      .selectAll()
      .where('state', '=', 'open')
      .where('expires_at', '>', now)
      .orderBy('expires_at')
      .limit(maxListed)
      .execute()
  }

  /** What others said of a session's requests, for a tunnel that was not there to hear. */
  async decided(session: string): Promise<readonly ApprovalTable[]> {
    return await this.#db
      .selectFrom('approvals')
      .selectAll()
      .where('session', '=', session)
      .where('state', 'in', ['approved', 'rejected'])
      .execute()
  }

  /**
   * A yes to `what`, and to nothing else: those to anything else are over. Whose say so now, this one among them.
   * @param what what would run, one text for the same thing
   */
  async vote(approval: string, principal: string, at: string, what: string): Promise<readonly string[]> {
    return await this.#db.transaction().execute(async transaction => {
      await transaction.deleteFrom('votes').where('approval', '=', approval).where('what', '!=', what).execute()
      await transaction
        .insertInto('votes')
        .values({ approval, principal, at, what })
        .onConflict(conflict => conflict.columns(['approval', 'principal']).doUpdateSet({ at, what }))
        .execute()
      const votes = transaction.selectFrom('votes').select('principal').where('approval', '=', approval)
      return (await votes.where('what', '=', what).orderBy('at').execute()).map(vote => vote.principal)
    })
  }

  /** Of these requests what was said yes to so far. */
  async votes(approvals: readonly string[]): Promise<readonly VoteTable[]> {
    const found: VoteTable[] = []
    for (const some of chunks(approvals))
      found.push(
        ...(await this.#db.selectFrom('votes').selectAll().where('approval', 'in', some).orderBy('at').execute()),
      )
    return found
  }

  /** True for the one call that decides; whoever is second, or too late, changes nothing. */
  async decide(
    id: string,
    state: Exclude<ApprovalTable['state'], 'open'>,
    by: string,
    reason: string | null,
    at: string,
    answer: string | null = null,
  ): Promise<boolean> {
    const rows = await this.#db
      .updateTable('approvals')
      .set({ state, decided_at: at, decided_by: by, reason, answer })
      .where('id', '=', id)
      .where('state', '=', 'open')
      .where('expires_at', '>', at)
      .returning('id')
      .execute()
    return rows.length === 1
  }
}
