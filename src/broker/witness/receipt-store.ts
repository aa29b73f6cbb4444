import { sql, type Kysely } from 'kysely'
import type { Head, Receipt } from '../../recording/witness/receipt.ts'

/** A minute: of each, a session's last receipt is kept. */
const slotMilliseconds = 60_000
/** Parameters of one statement: SQLite takes 32,766 and PostgreSQL 65,535. */
const maxRows = 500

export interface WitnessKeyTable {
  id: string
  /** PKCS #8 PEM. */
  key: string
}

/** The one truth of what has been countersigned of a session; whoever asks for less, or for something else, is refused. */
export interface WitnessedTable {
  session: string
  principal: string
  recording_key: string
  sequence: number
  head: string
  at: string
  /** 1: the session has ended with this event. */
  final: number
}

export interface ReceiptTable {
  session: string
  slot: number
  sequence: number
  head: string
  at: string
  final: number
  key: string
  signature: string
  /** 1: it is in the bucket too. */
  stored: number
}

export interface WitnessTables {
  witness_keys: WitnessKeyTable
  witnessed: WitnessedTable
  receipts: ReceiptTable
}

/** In order, for the store's migrations. */
export const witnessMigration: readonly string[] = [
  `create table witness_keys (id text primary key, key text not null)`,
  `create table witnessed (session text primary key, principal text not null, recording_key text not null,
    sequence integer not null, head text not null, at text not null, final integer not null)`,
  `create table receipts (session text not null, slot integer not null, sequence integer not null, head text not null,
    at text not null, final integer not null, key text not null, signature text not null, stored integer not null,
    primary key (session, slot))`,
  `create index receipts_waiting on receipts (stored, slot)`,
]

/** What a witness has to remember, by the store's queries. */
export class ReceiptStore {
  readonly #db: Kysely<WitnessTables>

  constructor(db: Kysely<WitnessTables>) {
    this.#db = db
  }

  /** The key that whoever was first has put there: one for all brokers of a store. */
  async keyPem(fresh: string): Promise<string> {
    await this.#db
      .insertInto('witness_keys')
      .values({ id: 'ed25519', key: fresh })
      .onConflict(conflict => conflict.doNothing())
      .execute()
    const { key } = await this.#db
      .selectFrom('witness_keys')
      .select('key')
      .where('id', '=', 'ed25519')
      .executeTakeFirstOrThrow()
    return key
  }

  /** A session's recording key, before anything of it has been seen. */
  async certified(session: string, principal: string, recordingKey: string, at: string): Promise<void> {
    const row = { session, principal, recording_key: recordingKey, sequence: 0, head: '', at, final: 0 }
    await this.#db.insertInto('witnessed').values(row).execute()
  }

  async witnessed(session: string): Promise<WitnessedTable | undefined> {
    return await this.#db.selectFrom('witnessed').selectAll().where('session', '=', session).executeTakeFirst()
  }

  async manyWitnessed(sessions: readonly string[]): Promise<ReadonlyMap<string, WitnessedTable>> {
    const found = new Map<string, WitnessedTable>()
    for (const some of chunks(sessions, maxRows))
      for (const row of await this.#db.selectFrom('witnessed').selectAll().where('session', 'in', some).execute())
        found.set(row.session, row)
    return found
  }

  /**
   * Many sessions' receipts in one transaction; returns those of sessions whose state was still `before`. A broker that was
   * asked for the same session at the same time by a second tunnel has then been faster.
   */
  async advance(
    steps: readonly { readonly before: WitnessedTable; readonly receipt: Receipt }[],
  ): Promise<readonly Receipt[]> {
    if (steps.length === 0) return []
    return await this.#db.transaction().execute(async transaction => {
      const kept: Receipt[] = []
      for (const some of chunks(steps, maxRows)) {
        const rows = some.map(({ before, receipt }) => ({
          ...before,
          sequence: receipt.sequence,
          head: receipt.head,
          at: new Date(receipt.at).toISOString(),
          final: receipt.final ? 1 : 0,
        }))
        const advanced = await transaction
          .insertInto('witnessed')
          .values(rows)
          .onConflict(conflict =>
            conflict
              .column('session')
              .doUpdateSet(each => ({
                sequence: each.ref('excluded.sequence'),
                head: each.ref('excluded.head'),
                at: each.ref('excluded.at'),
                final: each.ref('excluded.final'),
              }))
              .where('witnessed.final', '=', 0)
              .whereRef('witnessed.sequence', '<', sql.ref('excluded.sequence'))
              .whereRef('witnessed.at', '<=', sql.ref('excluded.at')),
          )
          .returning('witnessed.session')
          .execute()
        const done = new Set(advanced.map(({ session }) => session))
        const receipts = some.map(({ receipt }) => receipt).filter(({ session }) => done.has(session))
        if (receipts.length === 0) continue
        await transaction
          .insertInto('receipts')
          .values(receipts.map(rowOf))
          .onConflict(conflict =>
            conflict.columns(['session', 'slot']).doUpdateSet(each => ({
              sequence: each.ref('excluded.sequence'),
              head: each.ref('excluded.head'),
              at: each.ref('excluded.at'),
              final: each.ref('excluded.final'),
              key: each.ref('excluded.key'),
              signature: each.ref('excluded.signature'),
              stored: each.ref('excluded.stored'),
            })),
          )
          .execute()
        kept.push(...receipts)
      }
      return kept
    })
  }

  /** The last of each minute, in order. */
  async receipts(session: string): Promise<readonly Receipt[]> {
    const rows = await this.#db
      .selectFrom('receipts')
      .selectAll()
      .where('session', '=', session)
      .orderBy('sequence')
      .execute()
    return rows.map(receiptOf)
  }

  /** The receipt for exactly this, where it is the last that was given. */
  async receiptFor(head: Head): Promise<Receipt | undefined> {
    return (await this.receipts(head.session)).find(
      each => each.sequence === head.sequence && each.head === head.head && each.final === head.final,
    )
  }

  /** Of minutes that are over, so that they change no more, the oldest first. */
  async waiting(now: number, limit: number): Promise<readonly (Receipt & { readonly slot: number })[]> {
    const rows = await this.#db
      .selectFrom('receipts')
      .selectAll()
      .where('stored', '=', 0)
      .where('slot', '<', slotOf(now))
      .orderBy('slot')
      .orderBy('session')
      .limit(limit)
      .execute()
    return rows.map(row => ({ ...receiptOf(row), slot: row.slot }))
  }

  /** What has come after them in the same minute, from a clock that was set back, still waits. */
  async markStored(slot: number, receipts: readonly Receipt[]): Promise<void> {
    for (const some of chunks(receipts, maxRows))
      await this.#db
        .updateTable('receipts')
        .set({ stored: 1 })
        .where('slot', '=', slot)
        .where(
          'signature',
          'in',
          some.map(({ signature }) => signature),
        )
        .execute()
  }
}

export function slotOf(at: number): number {
  return Math.floor(at / slotMilliseconds)
}

function rowOf({ session, sequence, head, at, final, key, signature }: Receipt): ReceiptTable {
  return {
    ...{ session, sequence, head, key, signature },
    slot: slotOf(at),
    at: new Date(at).toISOString(),
    final: final ? 1 : 0,
    stored: 0,
  }
}

function receiptOf({ session, sequence, head, at, final, key, signature }: ReceiptTable): Receipt {
  return { session, sequence, head, at: Date.parse(at), final: final === 1, key, signature }
}

function* chunks<T>(items: readonly T[], size: number): Generator<readonly T[], void, void> {
  for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size)
}
