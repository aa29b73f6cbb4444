import type { Kysely } from 'kysely'
import type { Tables } from './store-tables.ts'

/** One policy that counted; nothing here is ever changed or removed, and the last one counts. */
export interface PolicyTable {
  /** From 1 on, without gaps. */
  number: number
  digest: string
  /** As JSON: PolicyContent. */
  content: string
  /** null: the file that the broker began with. */
  pushed_by: string | null
  at: string
}

export const policyMigration: readonly string[] = [
  `create table policies (number integer primary key, digest text not null, content text not null, pushed_by text,
    at text not null)`,
]

const maxListed = 200

/** The policies that administrators pushed. */
export class PolicyStore {
  readonly #db: Kysely<Tables>

  constructor(db: Kysely<Tables>) {
    this.#db = db
  }

  /** 0: none was ever pushed. */
  async newest(): Promise<number> {
    const query = this.#db.selectFrom('policies').select('number').orderBy('number', 'desc').limit(1)
    return (await query.executeTakeFirst())?.number ?? 0
  }

  async byNumber(number: number): Promise<PolicyTable | undefined> {
    return await this.#db.selectFrom('policies').selectAll().where('number', '=', number).executeTakeFirst()
  }

  async byDigest(digest: string): Promise<PolicyTable | undefined> {
    return await this.#db
      .selectFrom('policies')
      .selectAll()
      .where('digest', '=', digest)
      .orderBy('number', 'desc')
      .limit(1)
      .executeTakeFirst()
  }

  /** Newest first. */
  async list(): Promise<readonly Omit<PolicyTable, 'content'>[]> {
    return await this.#db
      .selectFrom('policies')
      .select(['number', 'digest', 'pushed_by', 'at'])
      .orderBy('number', 'desc')
      .limit(maxListed)
      .execute()
  }

  /** All of them, after `newest`, or none: false where another was first. */
  async add(newest: number, policies: readonly Omit<PolicyTable, 'number'>[]): Promise<boolean> {
    const rows = policies.map((policy, index) => ({ ...policy, number: newest + 1 + index }))
    return await this.#db
      .transaction()
      .execute(async transaction => {
        const insert = transaction.insertInto('policies').values(rows)
        const added = await insert
          .onConflict(conflict => conflict.doNothing())
          .returning('number')
          .execute()
        if (added.length < rows.length) throw new Taken()
        return true
      })
      .catch((error: unknown) => {
        if (error instanceof Taken) return false
        throw error
      })
  }
}

/** Undoes the transaction. */
class Taken extends Error {}
