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
  /** From when on it is not kept any more; null: for ever. */
  expires_at: string | null
}

/** Sessions whose content was erased: what comes of them later is not taken. */
export interface ErasedTable {
  session: string
  at: string
}

export interface IndexTables {
  statements: StatementTable
  erased_sessions: ErasedTable
}

export const indexMigration: readonly string[] = [
  `create table statements (session text not null, sequence integer not null, principal text not null, actor text,
    at text not null, resource text not null, decision text not null, rule text, text text not null, folded text not null,
    primary key (session, sequence))`,
  `create index statements_at on statements (at)`,
  `create index statements_principal on statements (principal, at)`,
]

export const indexEndsMigration: readonly string[] = [
  `alter table statements add column expires_at text`,
  `create index statements_expiry on statements (expires_at)`,
  `create table erased_sessions (session text primary key, at text not null)`,
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
  /** How long the policy wants what was asked there kept; null: for ever. */
  readonly retainSeconds: number | null
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
    const { session, principal, actor, retainSeconds } = owner
    for (const { sequence, at, resource, decision, rule, text } of statements) {
      const expires_at = retainSeconds === null ? null : expiry(at, retainSeconds)
      const folded = text.toLowerCase()
      this.#pending.push({
        session,
        principal,
        actor,
        sequence,
        at,
        resource,
        decision,
        rule,
        text,
        folded,
        expires_at,
      })
    }
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
    // One that came while its session was being erased may still be there for a moment.
    query = query.where('session', 'not in', this.#erased())
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

  /** Removes what was asked in a session, also what is still to come of it. Returns how many there were. */
  async erase(session: string, at: string): Promise<number> {
    await this.#db
      .insertInto('erased_sessions')
      .values({ session, at })
      .onConflict(conflict => conflict.doNothing())
      .execute()
    const { numDeletedRows } = await this.#db.deleteFrom('statements').where('session', '=', session).executeTakeFirst()
    return Number(numDeletedRows)
  }

  /** Removes what is past its retention by `now`, and what came of a session that was erased. */
  async expire(now: string): Promise<number> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('statements')
      .where(each => each.or([each('expires_at', '<=', now), each('session', 'in', this.#erased())]))
      .executeTakeFirst()
    return Number(numDeletedRows)
  }

  #erased() {
    return this.#db.selectFrom('erased_sessions').select('erased_sessions.session')
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

function expiry(at: string, seconds: number): string {
  return new Date(Math.min(Date.parse(at) + seconds * 1000, maxDate)).toISOString()
}

/** ECMA-262 §21.4.1.1, as far as it is written with four digits of a year. */
const maxDate = Date.parse('9999-12-31T23:59:59.999Z')

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
