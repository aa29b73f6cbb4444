import type { Kysely } from 'kysely'
import { newBrokerId } from '../ids.ts'
import { ApprovalStore } from './approval-store.ts'
import { PolicyStore } from './policy-store.ts'
import { RequestStore } from './request-store.ts'
import type { StoreEngine, StoreWord } from './store-engine.ts'
import { chunks, maxListed } from './store-limits.ts'
import type { EndState, SessionTable, SuspensionTable, AuditTable, StoredGrant, Tables } from './store-tables.ts'
import { ReceiptStore } from './witness/receipt-store.ts'
import { StatementIndex } from './witness/statement-index.ts'

const live = ['minting', 'active'] as const

/** What the broker knows. A change of state is one UPDATE that asks for the state before: whoever is second gets nothing. */
export class Store {
  readonly requests: RequestStore
  readonly #engine: StoreEngine<Tables>
  readonly #db: Kysely<Tables>
  readonly approvals: ApprovalStore
  readonly receipts: ReceiptStore
  readonly statements: StatementIndex
  readonly policies: PolicyStore

  /** @param engine on which `migrations` have been done; closed with the store. */
  constructor(engine: StoreEngine<Tables>) {
    this.#engine = engine
    this.#db = engine.db
    this.requests = new RequestStore(this.#db)
    this.approvals = new ApprovalStore(engine.db)
    this.receipts = new ReceiptStore(engine.db)
    this.statements = new StatementIndex(engine.db)
    this.policies = new PolicyStore(engine.db)
  }

  /** Where it is, for people; holds no secret. */
  get place(): string {
    return this.#engine.place
  }

  /** Whether other brokers may be on it. */
  get shared(): boolean {
    return this.#engine.name === 'postgres'
  }

  /** By the clock that all brokers on it share. */
  now(): Date {
    return this.#engine.now()
  }

  async close(): Promise<void> {
    await this.#engine.close()
  }

  /** For readiness. @throws AgentgateError STORE_FAILED */
  async ping(): Promise<void> {
    await this.#engine.ping()
  }

  /** What the other brokers on it say, from now on: a reason to ask, never the answer. */
  hear(listener: (word: StoreWord) => void): void {
    this.#engine.hear(listener)
  }

  async tell(word: Exclude<StoreWord, { kind: 'gap' }>): Promise<void> {
    await this.#engine.tell(word)
  }

  /** The same for all brokers on it, and for no other store's: made when first asked for. */
  async id(): Promise<string> {
    await this.#db
      .insertInto('settings')
      .values({ name: 'store', value: newBrokerId() })
      .onConflict(conflict => conflict.doNothing())
      .execute()
    return (await this.#db.selectFrom('settings').select('value').where('name', '=', 'store').executeTakeFirstOrThrow())
      .value
  }

  async addSession(session: SessionTable, grants: readonly StoredGrant[]): Promise<void> {
    await this.#db.transaction().execute(async transaction => {
      await transaction.insertInto('sessions').values(session).execute()
      await transaction.insertInto('grants').values(grants).execute()
    })
  }

  /** A session that its tunnel opened alone; what is there already only gets its new end. */
  async adopt(session: SessionTable, grants: readonly StoredGrant[]): Promise<void> {
    await this.#db.transaction().execute(async transaction => {
      await transaction
        .insertInto('sessions')
        .values(session)
        .onConflict(conflict => conflict.doNothing())
        .execute()
      for (const grant of grants)
        await transaction
          .insertInto('grants')
          .values(grant)
          .onConflict(conflict => conflict.column('id').doUpdateSet({ expires_at: grant.expires_at }))
          .execute()
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

  /** Those that this call has ended, with what waited in it; whoever asks second gets none. */
  async endSession(
    session: string,
    state: EndState,
    by: string,
    reason: string,
    at: string,
  ): Promise<readonly StoredGrant[]> {
    return await this.#db.transaction().execute(async transaction => {
      const ended = await transaction
        .updateTable('grants')
        .set({ state, ended_at: at, ended_by: by, reason })
        .where('session', '=', session)
        .where('state', 'in', live)
        .returningAll()
        .execute()
      if (ended.length === 0) return ended
      await transaction
        .updateTable('approvals')
        .set({ state: 'withdrawn', decided_at: at, decided_by: 'broker' })
        .where('session', '=', session)
        .where('state', '=', 'open')
        .execute()
      await transaction.insertInto('audit').values({ at, kind: state, by, about: session, detail: reason }).execute()
      return ended
    })
  }

  /** Of sessions whose tunnel is on the line here. */
  async seen(sessions: readonly string[], at: string): Promise<void> {
    for (const some of chunks(sessions))
      await this.#db.updateTable('sessions').set({ seen_at: at }).where('id', 'in', some).execute()
  }

  async isLive(session: string): Promise<boolean> {
    const found = await this.#db
      .selectFrom('grants')
      .select('id')
      .where('session', '=', session)
      .where('state', 'in', live)
      .limit(1)
      .execute()
    return found.length > 0
  }

  /** That a broker runs; those that have said nothing for long are forgotten. */
  async runs(broker: string, at: string, forgetBefore: string): Promise<void> {
    await this.#db
      .insertInto('brokers')
      .values({ id: broker, seen_at: at })
      .onConflict(conflict => conflict.column('id').doUpdateSet({ seen_at: at }))
      .execute()
    await this.#db.deleteFrom('brokers').where('seen_at', '<', forgetBefore).execute()
  }

  /**
   * Sessions that are being opened by a broker that no longer runs.
   * @param runningSince those that have said so since then do; null: `broker` alone does
   */
  async mintingOfTheDead(broker: string, runningSince: string | null): Promise<readonly string[]> {
    const query = this.#db
      .selectFrom('grants')
      .innerJoin('sessions', 'sessions.id', 'grants.session')
      .select('grants.session')
      .distinct()
      .where('grants.state', '=', 'minting')
    const rows = await query
      .where(each =>
        each.or([
          each('sessions.broker', 'is', null),
          runningSince === null
            ? each('sessions.broker', '!=', broker)
            : each(
                'sessions.broker',
                'not in',
                each.selectFrom('brokers').select('brokers.id').where('brokers.seen_at', '>=', runningSince),
              ),
        ]),
      )
      .execute()
    return rows.map(row => row.session)
  }

  /** Of these grants those that live. */
  async liveOf(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const found = new Set<string>()
    for (const some of chunks(ids)) {
      const query = this.#db.selectFrom('grants').select('id').where('id', 'in', some).where('state', 'in', live)
      for (const { id } of await query.execute()) found.add(id)
    }
    return found
  }

  /** With when each one's tunnel was last on the line, anywhere. */
  async liveSessions(): Promise<readonly (Pick<SessionTable, 'id' | 'seen_at'> & { readonly until: string })[]> {
    return await this.#db
      .selectFrom('grants')
      .innerJoin('sessions', 'sessions.id', 'grants.session')
      .where('grants.state', 'in', live)
      .select(each => ['sessions.id', 'sessions.seen_at', each.fn.min('grants.expires_at').as('until')])
      .groupBy(['sessions.id', 'sessions.seen_at'])
      .execute()
  }

  /** False: it has ended. Never shorter than it was. */
  async extendSession(session: string, expiresAt: string, now: string): Promise<boolean> {
    const rows = await this.#db
      .updateTable('grants')
      .set({ expires_at: expiresAt })
      .where('session', '=', session)
      .where('state', '=', 'active')
      .where('expires_at', '>', now)
      .where('expires_at', '<=', expiresAt)
      .returning('id')
      .execute()
    if (rows.length > 0)
      await this.#db.updateTable('sessions').set({ expires_at: expiresAt }).where('id', '=', session).execute()
    return rows.length > 0
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

  /** For metrics. */
  async counts(): Promise<{
    readonly grants: Readonly<Record<string, number>>
    readonly sessions: number
    readonly approvals: number
    readonly suspended: number
  }> {
    const counted = (rows: readonly { readonly n: number | string | bigint }[]) => Number(rows[0]?.n ?? 0)
    const [byState, sessions, approvals, suspended] = await Promise.all([
      this.#db
        .selectFrom('grants')
        .where('state', 'in', live)
        .select(each => ['state', each.fn.countAll().as('n')])
        .groupBy('state')
        .execute(),
      this.#db
        .selectFrom('grants')
        .where('state', 'in', live)
        .select(each => each.fn.count('session').distinct().as('n'))
        .execute(),
      this.#db
        .selectFrom('approvals')
        .where('state', '=', 'open')
        .where('expires_at', '>', this.now().toISOString())
        .select(each => each.fn.countAll().as('n'))
        .execute(),
      this.#db
        .selectFrom('suspensions')
        .select(each => each.fn.countAll().as('n'))
        .execute(),
    ])
    const grants: Record<string, number> = { minting: 0, active: 0 }
    for (const { state, n } of byState) grants[state] = Number(n)
    return { grants, sessions: counted(sessions), approvals: counted(approvals), suspended: counted(suspended) }
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
