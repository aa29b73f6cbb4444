import { createHash } from 'node:crypto'
import net from 'node:net'
import tls from 'node:tls'
import type pg from 'pg'
import { AgentgateError, hasErrno } from '../../errors.ts'
import { formatAddress, type Address } from '../../policy/schema-text.ts'
import type { Secret } from '../../secret.ts'
import type { IssuerTarget } from '../issuer-kind.ts'
import type { WarmConnection } from '../warm-connections.ts'

const connectTimeoutMs = 5000
const statementTimeoutMs = 10_000
const defaultPort = 5432

export interface Administrator {
  readonly user: string
  readonly password: Secret | null
  /** Where it is reached, if not where the resource is. */
  readonly address: Address | undefined
  readonly database: string | undefined
}

/** What the server said, by its SQLSTATE. */
export class AdministratorRefused extends AgentgateError {
  readonly sqlstate: string
  constructor(resource: string, sqlstate: string, message: string, hint?: string) {
    super('TARGET_REFUSED', `${resource}: the server refused its administrator: ${message} (${sqlstate})`, { hint })
    this.sqlstate = sqlstate
  }
}

/** Equal where one connection would do for both; says nothing of the password. */
export function connectionKey(target: IssuerTarget, admin: Administrator, database: string): string {
  const parts = [addressOf(target, admin), admin.user, admin.password?.reveal(), database, target.tls]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

/** One connection as the administrator, straight to the server. Whoever opens it closes it. */
export class AdminConnection implements WarmConnection {
  readonly #target: IssuerTarget
  readonly #client: pg.Client
  readonly superuser: boolean
  /** As `server_version_num`. */
  readonly version: number
  readonly #warnings: string[] = []
  #usable = true

  private constructor(target: IssuerTarget, client: pg.Client, version: number, superuser: boolean) {
    this.#target = target
    this.#client = client
    this.version = version
    this.superuser = superuser
    client.once('error', () => (this.#usable = false))
    client.once('end', () => (this.#usable = false))
    client.on('notice', notice => {
      if (notice.code !== undefined) this.#warnings.push(notice.code)
    })
  }

  /** @throws AgentgateError TARGET_UNREACHABLE, TARGET_REFUSED, TLS_FAILED */
  static async open(target: IssuerTarget, admin: Administrator, database: string): Promise<AdminConnection> {
    const { default: pgModule } = await import('pg')
    const client = new pgModule.Client({
      ...placeOf(target, admin),
      user: admin.user,
      // As a function, since an empty one would be looked for in the environment and in ~/.pgpass.
      password: () => admin.password?.reveal() ?? '',
      database,
      ssl: tlsOf(target, admin),
      application_name: 'agentgate',
      // Also keeps PGOPTIONS of the environment out.
      options: `-c search_path=pg_catalog -c statement_timeout=${statementTimeoutMs} -c client_min_messages=warning`,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: statementTimeoutMs + 2000,
    })
    client.on('error', () => undefined) // the next query tells
    try {
      await client.connect()
      const { rows } = await client.query<{
        version: string
        superuser: string
        pid: number
        recovering: boolean
      }>(`select current_setting('server_version_num') as version, current_setting('is_superuser') as superuser,
        pg_backend_pid() as pid, pg_is_in_recovery() as recovering`)
      const [facts] = rows
      if (facts === undefined) throw new Error('no answer')
      // The key's process id is the backend's own, unless somebody in between made one up (PG 18 docs §54.2.1).
      if ('processID' in client && client.processID !== facts.pid) throw behindPooler(target)
      if (facts.recovering)
        throw new AgentgateError('TARGET_REFUSED', `${target.name}: its administrator’s url leads to a replica`, {
          hint: 'roles are made on the primary server: name it in the administrator’s url',
        })
      return new AdminConnection(target, client, Number(facts.version), facts.superuser === 'on')
    } catch (error) {
      void client.end().catch(() => undefined)
      throw explain(target, error)
    }
  }

  /** @throws AgentgateError */
  async query(text: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]> {
    this.#warnings.length = 0
    try {
      const result = (await this.#client.query<Record<string, unknown>>(
        text,
        values as unknown[] | undefined,
      )) as unknown as pg.QueryResult<Record<string, unknown>> | pg.QueryResult<Record<string, unknown>>[]
      return Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows
    } catch (error) {
      throw explain(this.#target, error)
    }
  }

  get usable(): boolean {
    return this.#usable
  }

  /** Nobody knows what state it is in: it is not used again. */
  abandon(): void {
    this.#usable = false
  }

  async ping(): Promise<void> {
    await this.query('select 1')
  }

  /** SQLSTATEs of the warnings that came with the last query. */
  get warnings(): readonly string[] {
    return this.#warnings
  }

  async close(): Promise<void> {
    await this.#client.end().catch(() => undefined) // it is gone either way
  }
}

function behindPooler(target: IssuerTarget): AgentgateError {
  return new AgentgateError('TARGET_REFUSED', `${target.name}: a connection pooler stands before the server`, {
    hint: 'issuer postgres-role needs the server itself: set address: (and the administrator’s url) to it, or use issuer: static',
  })
}

function placeOf(target: IssuerTarget, admin: Administrator): { readonly host: string; readonly port: number } {
  const address = addressOf(target, admin)
  const socket = /^(\/.*)\/\.s\.PGSQL\.(\d+)$/.exec(address)
  if (socket?.[1] !== undefined) return { host: socket[1], port: Number(socket[2]) }
  if (address.startsWith('/'))
    throw new AgentgateError('POLICY_INVALID', `${target.name}: ${address} is no socket of PostgreSQL`, {
      hint: 'it is called .s.PGSQL.5432, in the folder of unix_socket_directories',
    })
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) }
}

function addressOf(target: IssuerTarget, admin: Administrator): string {
  return admin.address === undefined ? target.address : formatAddress(admin.address, defaultPort)
}

/** As for the resource's own connections; a name that the certificate must have is that of the resource's address only. */
function tlsOf(target: IssuerTarget, admin: Administrator): false | tls.ConnectionOptions {
  const { mode, name, ca } = target.tls
  const given = ca === undefined ? {} : { ca }
  switch (mode) {
    case 'off':
      return false
    case 'require':
      return { rejectUnauthorized: false }
    case 'verify-ca':
      return { ...given, rejectUnauthorized: true, checkServerIdentity: () => undefined }
    case 'verify-full': {
      const { host } = placeOf(target, admin)
      const expected = name !== undefined && addressOf(target, admin) === target.address ? name : host
      return {
        ...given,
        rejectUnauthorized: true,
        ...(net.isIP(expected) === 0 ? { servername: expected } : {}),
        checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(expected, certificate),
      }
    }
    default:
      return mode satisfies never
  }
}

/** The server's own words for what it refused; nothing of what a library says. */
function explain(target: IssuerTarget, error: unknown): AgentgateError {
  if (error instanceof AgentgateError) return error
  const sqlstate = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (error instanceof Error && /^[0-9A-Z]{5}$/.test(sqlstate) && 'severity' in error) {
    // protocol_violation as the answer to a start-up packet is PgBouncer's way to say no; a server has other codes.
    if (sqlstate === '08P01') return behindPooler(target)
    return new AdministratorRefused(target.name, sqlstate, error.message, hintFor(sqlstate))
  }
  if (/CERT|TLS|SSL|ALTNAME/.test(sqlstate))
    return new AgentgateError('TLS_FAILED', `${target.name}: the server’s certificate does not hold (${sqlstate})`, {
      hint: 'set tls: { ca: …, name: … } of the resource to what is right',
      cause: error,
    })
  return new AgentgateError(
    'TARGET_UNREACHABLE',
    `${target.name}: its administrator’s connection failed (${hasErrno(error) ? sqlstate : 'no answer'})`,
    { hint: `check it with: agentgate doctor ${target.name}`, cause: error },
  )
}

function hintFor(sqlstate: string): string | undefined {
  switch (sqlstate) {
    case '28P01':
    case '28000':
      return 'check the user and password in the administrator’s url'
    case '42501':
      return 'the administrator needs CREATEROLE, and may only pass on what it may give: docs/postgres-role.md'
    default:
      return undefined
  }
}
