import { sql, type Kysely } from 'kysely'
import type { IndexedStatement, StatementSearch } from '../../control/witness-schema.ts'

export interface StatementTable {
  session: string
  sequence: number
  principal: string
  actor: string | null
  at: string
  resource: string
  decision: string
  rule: string | null
  /** As it was recorded: masked. */
  text: string
  /** That in lower case: what is searched. */
  folded: string
}

export interface IndexTables {
  statements: StatementTable
}

export const indexMigration: readonly string[] = [
  `create table statements (session text not null, sequence integer not null, principal text not null, actor text,
    at text not null, resource text not null, decision text not null, rule text, text text not null, folded text not null,
    primary key (session, sequence))`,
  `create index statements_at on statements (at)`,
  `create index statements_principal on statements (principal, at)`,
]

/** What comes within this time is written in one statement. */
const batchMilliseconds = 500
const maxRows = 400
/** Beyond it tunnels are told to come again. */
const maxPending = 50_000

export interface Owner {
  readonly session: string
  readonly principal: string
  readonly actor: string | null
}

/** Every statement of every session that the broker granted, to be found by its text. */
export class StatementIndex {
  readonly #db: Kysely<IndexTables>
  #pending: StatementTable[] = []
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null

  constructor(db: Kysely<IndexTables>) {
    this.#db = db
  }

  /** Settles once they are written; the same again is nothing new. False: too much waits to be written. */
  async add(owner: Owner, statements: readonly IndexedStatement[]): Promise<boolean> {
    if (this.#pending.length + statements.length > maxPending) return false
    for (const { sequence, at, resource, decision, rule, text } of statements)
      this.#pending.push({ ...owner, sequence, at, resource, decision, rule, text, folded: text.toLowerCase() })
    // A batch that begins now waits a moment for others, and for the one before it.
    this.#next ??= this.#writing = Promise.all([this.#writing.catch(() => undefined), moment()]).then(async () => {
      this.#next = null
      await this.#write(this.#pending.splice(0))
    })
    await this.#next
    return true
  }

  /** Newest first. @param principal only theirs; undefined: everybody's */
  async search(search: StatementSearch, principal: string | undefined): Promise<readonly StatementTable[]> {
    const { text, resource, who, since, until, denied, limit } = search
    let query = this.#db
      .selectFrom('statements')
      .selectAll()
      .orderBy('at', 'desc')
      .orderBy('sequence', 'desc')
      .limit(limit)
    if (principal !== undefined) query = query.where('principal', '=', principal)
    if (text !== null) query = query.where(like('folded', containing(text)))
    if (resource !== null) query = query.where(like('resource', pattern(resource)))
    if (who !== null)
      query = query.where(each => each.or([like('principal', pattern(who)), like('actor', pattern(who))]))
    if (since !== null) query = query.where('at', '>=', since)
    if (until !== null) query = query.where('at', '<=', until)
    if (denied) query = query.where('decision', 'in', ['denied', 'rejected', 'withdrawn', 'timed-out'])
    return await query.execute()
  }

  async #write(rows: readonly StatementTable[]): Promise<void> {
    for (let from = 0; from < rows.length; from += maxRows)
      await this.#db
        .insertInto('statements')
        .values(rows.slice(from, from + maxRows))
        .onConflict(conflict => conflict.doNothing())
        .execute()
  }
}

async function moment(): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, batchMilliseconds))
}

function like(column: keyof StatementTable, wanted: string) {
  return sql<boolean>`${sql.ref(column)} like ${wanted} escape '!'`
}

function containing(text: string): string {
  return `%${escaped(text.toLowerCase())}%`
}

/** `db-*` */
function pattern(text: string): string {
  return escaped(text).replaceAll('*', '%')
}

function escaped(text: string): string {
  return text.replace(/[!%_]/g, '!$&')
}
