import { accessSync, constants, existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { Kysely, sql, SqliteDialect } from 'kysely'
import { AgentgateError } from '../errors.ts'
import { ExplainedDialect, newerStore, type Migrations, type StoreEngine } from './store-engine.ts'

/**
 * One broker's own file. It is locked for as long as it is open: two on one store would each end what the other granted.
 * @param file made where missing; the caller's umask decides who else may read it.
 * @throws AgentgateError STATE_UNSAFE: damaged, in use, or of a newer version; it is left as it is. STORE_FAILED
 */
export async function openSqlite<Tables>(file: string, migrations: Migrations): Promise<StoreEngine<Tables>> {
  const { default: Database } = await import('libsql')
  const existed = existsSync(file)
  requireWritable(existed ? [path.dirname(file), file] : [path.dirname(file)], file)
  let db: Kysely<Tables> | undefined
  try {
    const database = new Database(file)
    db = new Kysely<Tables>({
      dialect: new ExplainedDialect(new SqliteDialect({ database }), error => explain(file, error)),
    })
    await sql`pragma busy_timeout = 2000`.execute(db)
    await sql`pragma locking_mode = exclusive`.execute(db)
    if (existed) {
      const checked = await sql<{ quick_check: string }>`pragma quick_check(1)`.execute(db)
      if (checked.rows[0]?.quick_check !== 'ok') throw damaged(file)
    }
    const done = await versionOf(db)
    if (done > migrations.length) throw newerStore(file)
    await sql`pragma journal_mode = wal`.execute(db)
    await sql`pragma synchronous = full`.execute(db) // a revocation that was answered must be there after a power cut
    await sql`pragma foreign_keys = on`.execute(db)
    await migrate(db, file, done, migrations)
  } catch (error) {
    await db?.destroy().catch(() => undefined)
    throw error instanceof AgentgateError ? error : explain(file, error)
  }
  const open = db
  return {
    name: 'sqlite',
    db: open,
    place: file,
    now: () => new Date(),
    ping: async () => {
      await sql`select 1`.execute(open)
    },
    tell: () => Promise.resolve(), // nobody else is on it
    hear: () => undefined,
    close: async () => await close(open),
  }
}

/** libsql keeps a closed database until its statements are collected: the lock is given back before. */
async function close<Tables>(db: Kysely<Tables>): Promise<void> {
  try {
    await sql`pragma journal_mode = delete`.execute(db) // a log that was begun under the lock keeps it (SQLite, WAL §8)
    await sql`pragma locking_mode = normal`.execute(db)
    await sql`select count(*) from sqlite_schema`.execute(db) // it takes effect with the next look at the file
  } catch {
    // It could not be opened, or its disk is full: the log beside it holds what is missing in it.
  }
  await db.destroy().catch(() => undefined)
}

async function versionOf<Tables>(db: Kysely<Tables>): Promise<number> {
  const { rows } = await sql<{ user_version: number }>`pragma user_version`.execute(db)
  return rows[0]?.user_version ?? 0
}

async function migrate<Tables>(db: Kysely<Tables>, file: string, done: number, migrations: Migrations): Promise<void> {
  if (done === migrations.length) return
  if (done > 0) {
    // As the version before left it, to go back to.
    const kept = `${file}.v${done}`
    rmSync(kept, { force: true })
    await sql`vacuum into ${kept}`.execute(db)
  }
  await db.transaction().execute(async transaction => {
    for (const statements of migrations.slice(done))
      for (const statement of statements) await sql.raw(statement).execute(transaction)
    await sql.raw(`pragma user_version = ${migrations.length}`).execute(transaction)
  })
}

/** What SQLite says of a disk that may only be read depends on what it tries first. */
function requireWritable(places: readonly string[], file: string): void {
  try {
    for (const place of places) accessSync(place, constants.W_OK)
  } catch (cause) {
    throw unwritable(file, cause)
  }
}

function unwritable(file: string, cause: unknown): AgentgateError {
  return new AgentgateError('STORE_FAILED', `the broker’s store ${file} cannot be used: it may not be written`, {
    hint: `ls -l ${path.dirname(file)}; df ${path.dirname(file)}`,
    cause,
  })
}

function explain(file: string, error: unknown): AgentgateError {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (/CORRUPT|NOTADB/.test(code)) return damaged(file, error)
  if (/BUSY|LOCKED/.test(code))
    return new AgentgateError('STATE_UNSAFE', `another broker has the store ${file} open`, {
      hint: 'AGENTGATE_HOME keeps two apart; several on one store need PostgreSQL: docs/broker.md',
      cause: error,
    })
  if (/READONLY|CANTOPEN|PERM|AUTH/.test(code)) return unwritable(file, error)
  const [why, hint] = /FULL/.test(code)
    ? ['its disk is full', `make room: df ${path.dirname(file)}`]
    : [`it failed (${code === '' ? 'no reason given' : code})`, `df ${path.dirname(file)}; ls -l ${path.dirname(file)}`]
  return new AgentgateError('STORE_FAILED', `the broker’s store ${file} cannot be used: ${why}`, { hint, cause: error })
}

function damaged(file: string, cause?: unknown): AgentgateError {
  return new AgentgateError('STATE_UNSAFE', `the broker’s store ${file} is damaged, and was left as it is`, {
    hint: `keep it, and begin anew: mv ${file} ${file}.damaged`,
    cause,
  })
}
