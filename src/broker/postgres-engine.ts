import { setTimeout as sleep } from 'node:timers/promises'
import { Kysely, PostgresDialect, sql, type PostgresPool, type PostgresPoolClient } from 'kysely'
import type pg from 'pg'
import { AgentgateError } from '../errors.ts'
import { newBrokerId } from '../ids.ts'
import type { Secret } from '../secret.ts'
import { readDatabaseUrl, type DatabasePlace } from './database-url.ts'
import { ExplainedDialect, newerStore, type Migrations, type StoreEngine, type StoreWord } from './store-engine.ts'

/** Our tables have a schema of their own, so that the database may be another's too. */
const schema = 'agentgate'
const channel = 'agentgate'
const connectWithinMs = 5000
const answerWithinMs = 10_000
const listenAgainMs = 500
const clockEveryMs = 60_000
const maxConnections = 10

/**
 * One database for any number of brokers; `pg` is loaded only here. Who opens it closes it.
 * @throws AgentgateError USAGE, STORE_FAILED (does not answer, or refuses), STATE_UNSAFE (of a newer version)
 */
export async function openPostgres<Tables>(url: Secret, migrations: Migrations): Promise<StoreEngine<Tables>> {
  const place = readDatabaseUrl(url)
  const { default: pgModule } = await import('pg')
  const settings = clientSettings(place)
  const pool = new pgModule.Pool({ ...settings, max: maxConnections, idleTimeoutMillis: 30_000 })
  pool.on('error', () => undefined) // the next query tells
  // The pool listens to those that nobody uses only.
  pool.on('connect', client => client.on('error', () => undefined))
  const explained = (error: unknown) => explain(place, error)
  const bare = new Kysely<Tables>({
    dialect: new ExplainedDialect(new PostgresDialect({ pool: withoutSilent(pool) }), explained),
  })
  const listener = new Listener(pgModule, settings)
  try {
    await migrate(bare, place, migrations)
    const clock = await SharedClock.start(bare)
    await listener.start().catch((error: unknown) => {
      throw explained(error)
    })
    return {
      name: 'postgres',
      db: bare.withSchema(schema),
      place: place.shown,
      now: () => clock.now(),
      ping: async () => {
        await clock.look(bare)
        await listener.ping().catch((error: unknown) => {
          throw explained(error)
        })
      },
      tell: async word => {
        const text = JSON.stringify({ from: listener.id, ...word })
        await sql`select pg_notify(${channel}, ${text})`.execute(bare).catch(() => undefined)
      },
      hear: heard => listener.hear(heard),
      close: async () => {
        await listener.close()
        await bare.destroy()
      },
    }
  } catch (error) {
    await listener.close()
    await bare.destroy().catch(() => undefined)
    throw error instanceof AgentgateError ? error : explained(error)
  }
}

function clientSettings(place: DatabasePlace): pg.ClientConfig {
  return {
    host: place.host,
    port: place.port,
    user: place.user,
    // As a function, since an empty one would be looked for in the environment and in ~/.pgpass.
    password: () => place.password?.reveal() ?? '',
    database: place.database,
    ssl: place.tls,
    application_name: 'agentgate broker',
    connectionTimeoutMillis: connectWithinMs,
    query_timeout: answerWithinMs,
    keepAlive: true,
  }
}

/** A connection that has not answered in time is not given to anybody again: the other end may be gone without a word. */
function withoutSilent(pool: pg.Pool): PostgresPool {
  return {
    connect: async () => {
      const client = await pool.connect()
      let silent = false
      return {
        query: async (text: string, values: readonly unknown[]) => {
          try {
            return await client.query(text, [...values])
          } catch (error) {
            silent ||= !(error instanceof Error && 'severity' in error)
            throw error
          }
        },
        release: () => client.release(silent),
      } as unknown as PostgresPoolClient // no cursors: nothing here streams
    },
    end: async () => await pool.end(),
  }
}

/** The database's clock, which every broker on it goes by; asked now and then, as ours may be minutes off. */
class SharedClock {
  #aheadMs = 0
  #lookedAt = -Infinity

  static async start<Tables>(db: Kysely<Tables>): Promise<SharedClock> {
    const clock = new SharedClock()
    await clock.look(db)
    return clock
  }

  now(): Date {
    return new Date(Date.now() + this.#aheadMs)
  }

  async look<Tables>(db: Kysely<Tables>): Promise<void> {
    if (performance.now() - this.#lookedAt < clockEveryMs) {
      await sql`select 1`.execute(db)
      return
    }
    const before = Date.now()
    const { rows } = await sql<{
      ms: string
    }>`select (extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`.execute(db)
    const after = Date.now()
    this.#aheadMs = Number(rows[0]?.ms ?? before) - (before + after) / 2
    this.#lookedAt = performance.now()
  }
}

/** One connection that hears what other brokers say, made again when it breaks. */
class Listener {
  /** So that a broker does not hear itself. */
  readonly id = newBrokerId()
  readonly #pg: typeof pg
  readonly #settings: pg.ClientConfig
  readonly #listeners: ((word: StoreWord) => void)[] = []
  readonly #closed = new AbortController()
  #client: pg.Client | undefined

  constructor(pgModule: typeof pg, settings: pg.ClientConfig) {
    this.#pg = pgModule
    this.#settings = settings
  }

  hear(listener: (word: StoreWord) => void): void {
    this.#listeners.push(listener)
  }

  async start(): Promise<void> {
    const client = new this.#pg.Client(this.#settings)
    client.on('error', () => undefined) // 'end' follows
    client.on('notification', ({ payload }) => {
      const word = readWord(payload, this.id)
      if (word !== undefined) this.#say(word)
    })
    try {
      await client.connect()
      await client.query(`listen ${channel}`)
    } catch (error) {
      void client.end().catch(() => undefined)
      throw error
    }
    if (this.#closed.signal.aborted) {
      await client.end().catch(() => undefined)
      return
    }
    this.#client = client
    client.once('end', () => {
      if (this.#client === client) this.#client = undefined
      void this.#again()
    })
  }

  /** @throws where nothing can be heard at the moment */
  async ping(): Promise<void> {
    const client = this.#client
    if (client === undefined) throw new Error('not connected')
    try {
      await client.query('select 1')
    } catch (error) {
      // One that is cut off without a word would never end by itself.
      this.#client = undefined
      client.removeAllListeners('end')
      void client.end().catch(() => undefined)
      void this.#again()
      throw error
    }
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await this.#client?.end().catch(() => undefined)
  }

  async #again(): Promise<void> {
    const { signal } = this.#closed
    while (!signal.aborted)
      try {
        await this.start()
        this.#say({ kind: 'gap' })
        return
      } catch {
        await sleep(listenAgainMs, undefined, { signal }).catch(() => undefined)
      }
  }

  #say(word: StoreWord): void {
    for (const listener of this.#listeners) listener(word)
  }
}

/** Anybody who may use the database can say anything here: it is only ever a reason to ask the store. */
function readWord(payload: string | undefined, own: string): StoreWord | undefined {
  let content: unknown
  try {
    content = JSON.parse(payload ?? '')
  } catch {
    return undefined
  }
  if (typeof content !== 'object' || content === null || !('kind' in content) || !('from' in content)) return undefined
  if (content.from === own) return undefined
  if (content.kind === 'ended' && 'session' in content && typeof content.session === 'string')
    return { kind: 'ended', session: content.session }
  if ((content.kind === 'approval' || content.kind === 'check') && 'id' in content && typeof content.id === 'string')
    return { kind: content.kind, id: content.id }
  return undefined
}

async function migrate<Tables>(db: Kysely<Tables>, place: DatabasePlace, migrations: Migrations): Promise<void> {
  await db.transaction().execute(async transaction => {
    // Brokers that start together: one does it, the others find it done.
    await sql`select pg_advisory_xact_lock(hashtext(${`${schema} migrations`}))`.execute(transaction)
    // Asked first: on a database that is set up it needs no right to make a schema.
    const { rows: found } = await sql<{
      there: boolean
    }>`select to_regclass(${`${schema}.migrations`}) is not null as there`.execute(transaction)
    if (found[0]?.there !== true) {
      await sql`create schema if not exists ${sql.id(schema)}`.execute(transaction)
      await sql`create table ${sql.id(schema, 'migrations')} (version integer primary key, at timestamptz not null)`.execute(
        transaction,
      )
    }
    const { rows } = await sql<{
      version: number
    }>`select coalesce(max(version), 0)::integer as version from ${sql.id(schema, 'migrations')}`.execute(transaction)
    const done = rows[0]?.version ?? 0
    if (done > migrations.length) throw newerStore(place.shown)
    if (done === migrations.length) return
    await sql`set local search_path to ${sql.id(schema)}`.execute(transaction)
    for (const [index, statements] of migrations.entries()) {
      if (index < done) continue
      for (const statement of statements) await sql.raw(statement).execute(transaction)
      await sql`insert into ${sql.id(schema, 'migrations')} values (${index + 1}, clock_timestamp())`.execute(
        transaction,
      )
    }
  })
}

/** By SQLSTATE alone: a server's own text may hold values. */
function explain(place: DatabasePlace, error: unknown): AgentgateError {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
  const failed = (why: string, hint: string) =>
    new AgentgateError('STORE_FAILED', `the broker’s store at ${place.shown} ${why}`, { hint, cause: error })
  switch (code) {
    case '28P01':
    case '28000':
      return failed('refuses its user or password', 'check DATABASE_URL')
    case '3D000':
      return failed('does not exist', 'create it: createdb …, or check DATABASE_URL')
    case '42501':
      return failed(
        'lets its user do too little',
        `grant create on database … to …: tables are made in a schema ${schema} of their own`,
      )
    case '53100':
      return failed('has a full disk', 'make room where PostgreSQL keeps its data')
    case '53300':
      return failed('has no connection left', `raise max_connections: each broker takes up to ${maxConnections + 1}`)
    case '25006':
      return failed('is a replica, or read-only', 'name the primary server in DATABASE_URL')
    case '42P01':
    case '42703':
      return failed('lacks a table or a column of ours', `nobody else should change the schema ${schema}`)
    default:
      if (/CERT|TLS|SSL|ALTNAME/.test(code))
        return failed(`has a certificate that does not hold (${code})`, 'DATABASE_URL=…?sslrootcert=ca.pem')
      return failed(
        `does not answer (${code === '' ? 'no answer' : code})`,
        'is PostgreSQL running there? check DATABASE_URL and the network',
      )
  }
}
