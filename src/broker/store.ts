import { existsSync } from 'node:fs'
import { Kysely, sql, SqliteDialect } from 'kysely'
import { AgentgateError } from '../errors.ts'
import { ReceiptStore, witnessMigration, type WitnessTables } from './witness/receipt-store.ts'
import { indexMigration, StatementIndex, type IndexTables } from './witness/statement-index.ts'

// Times are ISO 8601 text in UTC, which orders as they do, and ids are text: libsql rounds 64-bit integers.

export type GrantState = 'minting' | 'active' | 'closed' | 'expired' | 'revoked'
export type EndState = Extract<GrantState, 'closed' | 'expired' | 'revoked'>

interface SessionTable {
  id: string
  principal: string
  /** SHA-256 of the token that its tunnel has. */
  token_hash: string
  expires_at: string
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
}

interface SuspensionTable {
  principal: string
  at: string
  by: string
  reason: string
}

interface AuditTable {
  at: string
  kind: string
  by: string
  about: string
  detail: string
}

interface ApprovalTable {
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
}

interface VoteTable {
  approval: string
  principal: string
  at: string
}

interface Tables extends WitnessTables, IndexTables {
  approvals: ApprovalTable
  votes: VoteTable
  sessions: SessionTable
  grants: GrantTable
  suspensions: SuspensionTable
  audit: AuditTable
}

export type StoredGrant = GrantTable
export type StoredApproval = ApprovalTable

/** In order; `PRAGMA user_version` says how many have been done. */
const migrations: readonly (readonly string[])[] = [
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
  [
    `create table approvals (id text primary key, session text not null references sessions(id), principal text not null,
      request text not null, state text not null, expires_at text not null, decided_at text, decided_by text, reason text)`,
    `create index approvals_open on approvals (state, expires_at)`,
    `create table votes (approval text not null references approvals(id), principal text not null, at text not null,
      primary key (approval, principal))`,
  ],
  [...witnessMigration, ...indexMigration],
]

const live = ['minting', 'active'] as const
const maxListed = 1000

/** What the broker knows, on SQLite. A change of state is one UPDATE that asks for the state before: whoever is second gets nothing. */
export class Store {
  readonly #db: Kysely<Tables>
  readonly receipts: ReceiptStore
  readonly statements: StatementIndex

  private constructor(db: Kysely<Tables>) {
    this.#db = db
    this.receipts = new ReceiptStore(db as unknown as Kysely<WitnessTables>)
    this.statements = new StatementIndex(db as unknown as Kysely<IndexTables>)
  }

  /**
   * @param file made where missing; the caller's umask decides who else may read it.
   * @throws AgentgateError STATE_UNSAFE: damaged, or of a newer version. It is left as it is.
   */
  static async open(file: string): Promise<Store> {
    const { default: Database } = await import('libsql')
    const existed = existsSync(file)
    try {
      const database = new Database(file)
      const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database }) })
      if (existed) {
        const checked = await sql<{ quick_check: string }>`pragma quick_check(1)`.execute(db)
        if (checked.rows[0]?.quick_check !== 'ok') throw new Error('damaged')
      }
      await sql`pragma journal_mode = wal`.execute(db)
      await sql`pragma synchronous = full`.execute(db) // a revocation that was answered must be there after a power cut
      await sql`pragma foreign_keys = on`.execute(db)
      await sql`pragma busy_timeout = 5000`.execute(db)
      await migrate(db)
      return new Store(db)
    } catch (error) {
      if (error instanceof AgentgateError) throw error
      throw new AgentgateError('STATE_UNSAFE', `the broker’s store ${file} is damaged or cannot be opened`, {
        hint: `keep it, and begin anew: mv ${file} ${file}.damaged`,
        cause: error,
      })
    }
  }

  async close(): Promise<void> {
    await this.#db.destroy()
  }

  /** For readiness: throws where it cannot be asked. */
  async ping(): Promise<void> {
    await sql`select 1`.execute(this.#db)
  }

  async addSession(session: SessionTable, grants: readonly StoredGrant[]): Promise<void> {
    await this.#db.transaction().execute(async transaction => {
      await transaction.insertInto('sessions').values(session).execute()
      await transaction.insertInto('grants').values(grants).execute()
    })
  }

  /** False: it has been ended meanwhile, and its credential must be too. */
  async activate(grant: string, issuer: string, user: string | null): Promise<boolean> {
    const rows = await this.#db
      .updateTable('grants')
      .set({ state: 'active', issuer, credential_user: user })
      .where('id', '=', grant)
      .where('state', '=', 'minting')
      .returning('id')
      .execute()
    return rows.length === 1
  }

  /** Those that this call has ended; whoever asks second gets none. */
  async endSession(
    session: string,
    state: EndState,
    by: string,
    reason: string,
    at: string,
  ): Promise<readonly StoredGrant[]> {
    return await this.#db
      .updateTable('grants')
      .set({ state, ended_at: at, ended_by: by, reason })
      .where('session', '=', session)
      .where('state', 'in', live)
      .returningAll()
      .execute()
  }

  async session(id: string): Promise<SessionTable | undefined> {
    return await this.#db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst()
  }

  async grant(id: string): Promise<StoredGrant | undefined> {
    return await this.#db.selectFrom('grants').selectAll().where('id', '=', id).executeTakeFirst()
  }

  async grantsOf(session: string): Promise<readonly StoredGrant[]> {
    return await this.#db.selectFrom('grants').selectAll().where('session', '=', session).execute()
  }

  async liveGrants(principal?: string): Promise<readonly StoredGrant[]> {
    const query = this.#db.selectFrom('grants').selectAll().where('state', 'in', live)
    return await (principal === undefined ? query : query.where('principal', '=', principal)).execute()
  }

  /** Newest first; of one principal, or of all. */
  async grants(principal: string | undefined): Promise<readonly StoredGrant[]> {
    const query = this.#db.selectFrom('grants').selectAll().orderBy('created_at', 'desc').limit(maxListed)
    return await (principal === undefined ? query : query.where('principal', '=', principal)).execute()
  }

  /** False: another session has this id. The same again is nothing new. */
  async addApproval(approval: ApprovalTable): Promise<boolean> {
    await this.#db
      .insertInto('approvals')
      .values(approval)
      .onConflict(conflict => conflict.doNothing())
      .execute()
    return (await this.approval(approval.id))?.session === approval.session
  }

  async approval(id: string): Promise<ApprovalTable | undefined> {
    return await this.#db.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst()
  }

  async openApprovals(now: string): Promise<readonly ApprovalTable[]> {
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
  async decidedApprovals(session: string): Promise<readonly ApprovalTable[]> {
    return await this.#db
      .selectFrom('approvals')
      .selectAll()
      .where('session', '=', session)
      .where('state', 'in', ['approved', 'rejected'])
      .execute()
  }

  /** How many different principals have said yes, this one among them. */
  async vote(approval: string, principal: string, at: string): Promise<number> {
    await this.#db
      .insertInto('votes')
      .values({ approval, principal, at })
      .onConflict(conflict => conflict.doNothing())
      .execute()
    return (await this.#db.selectFrom('votes').select('principal').where('approval', '=', approval).execute()).length
  }

  /** True for the one call that decides; whoever is second, or too late, changes nothing. */
  async decide(
    id: string,
    state: Exclude<ApprovalTable['state'], 'open'>,
    by: string,
    reason: string | null,
    at: string,
  ): Promise<boolean> {
    const rows = await this.#db
      .updateTable('approvals')
      .set({ state, decided_at: at, decided_by: by, reason })
      .where('id', '=', id)
      .where('state', '=', 'open')
      .where('expires_at', '>', at)
      .returning('id')
      .execute()
    return rows.length === 1
  }

  async withdrawApprovals(session: string, at: string): Promise<void> {
    await this.#db
      .updateTable('approvals')
      .set({ state: 'withdrawn', decided_at: at, decided_by: 'broker' })
      .where('session', '=', session)
      .where('state', '=', 'open')
      .execute()
  }

  async suspension(principal: string): Promise<SuspensionTable | undefined> {
    return await this.#db.selectFrom('suspensions').selectAll().where('principal', '=', principal).executeTakeFirst()
  }

  async suspensions(): Promise<readonly SuspensionTable[]> {
    return await this.#db.selectFrom('suspensions').selectAll().orderBy('at', 'desc').execute()
  }

  async suspend(suspension: SuspensionTable): Promise<void> {
    await this.#db
      .insertInto('suspensions')
      .values(suspension)
      .onConflict(conflict => conflict.column('principal').doUpdateSet(suspension))
      .execute()
  }

  async resume(principal: string): Promise<boolean> {
    const rows = await this.#db
      .deleteFrom('suspensions')
      .where('principal', '=', principal)
      .returning('principal')
      .execute()
    return rows.length > 0
  }

  async audit(entry: AuditTable): Promise<void> {
    await this.#db.insertInto('audit').values(entry).execute()
  }
}

async function migrate(db: Kysely<Tables>): Promise<void> {
  const { rows } = await sql<{ user_version: number }>`pragma user_version`.execute(db)
  const done = rows[0]?.user_version ?? 0
  if (done > migrations.length)
    throw new AgentgateError('STATE_UNSAFE', 'the broker’s store was written by a newer agentgate', {
      hint: 'run that version, or begin anew with another AGENTGATE_HOME',
    })
  for (const [index, statements] of migrations.entries()) {
    if (index < done) continue
    await db.transaction().execute(async transaction => {
      for (const statement of statements) await sql.raw(statement).execute(transaction)
      await sql.raw(`pragma user_version = ${index + 1}`).execute(transaction)
    })
  }
}
