import { setTimeout as sleep } from 'node:timers/promises'
import { AgentgateError } from '../../errors.ts'
import type { Credential, CredentialIssuer, Kept, MintRequest } from '../credential.ts'
import type { IssuerTarget } from '../issuer-kind.ts'
import { AdminConnection, AdministratorRefused, connectionKey, type Administrator } from './admin-connection.ts'
import { isKeptBy, isOrphan, readRoleNote, roleNote } from './role-note.ts'
import { literal, loginRoleName, principalRoleName, quoted, scopeRoleName } from './role-name.ts'
import { databasesOf, readScopePrivileges, type ScopePrivileges } from './scope-privileges.ts'
import { newScramSecret, scramVerifier } from './scram-secret.ts'
import type { SqlGrant } from './sql-grant.ts'
import type { WarmConnections } from '../warm-connections.ts'
import { requireWithheld, withholdColumns } from './withheld-columns.ts'

const oldestVersion = 130_000
/** CREATEROLE no longer reaches every role, and membership says by itself whether privileges are inherited. */
const version16 = 160_000
/** A renewal that is on its way is not overtaken by a sweep. */
const sweepGraceSeconds = 30
const terminateWithinMs = 5000

const undefinedObject = '42704'
const notAllGranted = '01007'

export interface RoleOptions {
  readonly ttlSeconds: number
  /** What runs, runs as a role that is the same in every session of a principal. */
  readonly perPrincipal: boolean
  readonly warm?: WarmConnections | undefined
}

/**
 * One login role a grant: a member of what holds its scope's privileges, with a password that nobody chose, until its
 * time is over. PostgreSQL 13 to 18; the administrator needs CREATEROLE, not superuser.
 */
export class PostgresRoleIssuer implements CredentialIssuer {
  readonly name = 'postgres-role'
  readonly #target: IssuerTarget
  readonly #admin: Administrator
  readonly #options: RoleOptions

  constructor(target: IssuerTarget, admin: Administrator, options: RoleOptions) {
    this.#target = target
    this.#admin = admin
    this.#options = options
  }

  async mint(request: MintRequest): Promise<Credential> {
    const privileges = readScopePrivileges(this.#target)
    return await this.#asAdministrator(async connection => {
      if (connection.version < oldestVersion)
        throw new AgentgateError('TARGET_REFUSED', `${this.#target.name}: PostgreSQL is older than 13`, {
          hint: 'agentgate makes roles on PostgreSQL 13 to 18',
        })
      const holder = await this.#prepareHolder(connection, privileges, request)
      const ttlSeconds = Math.max(1, Math.min(request.ttlSeconds, this.#options.ttlSeconds))
      const expiresAt = new Date(Date.now() + ttlSeconds * 1000)
      const name = loginRoleName(this.#target.name, request.subject.principal.name, expiresAt)
      const { password, verifier } = await newScramSecret()
      // What runs as another role gets nothing of it by itself, or leaving that role (SET ROLE NONE) would change nothing.
      const inherits = !holder.taken
      const until = await serverTime(connection, ttlSeconds)
      const note = roleNote(
        {
          grant: request.grant,
          principal: request.subject.principal.name,
          resource: this.#target.name,
          scope: this.#target.scope.name,
          heir: holder.role,
        },
        request.keeper,
      )
      const role = quoted(name)
      // One simple query is one transaction (PG 18 docs §54.2.2.1): a role is never seen without its note.
      await connection.query(
        [
          `create role ${role} login ${inherits ? 'inherit' : 'noinherit'} password ${literal(verifier)} valid until ${literal(until)}`,
          `comment on role ${role} is ${literal(note)}`,
          `grant ${quoted(holder.role)} to ${role}${membershipOptions(connection, inherits)}`,
          ...(holder.taken ? [`alter role ${role} set role to ${quoted(holder.role)}`] : []),
          ...(privileges.readOnly ? [`alter role ${role} set default_transaction_read_only to on`] : []),
          ...selfGrant(connection, name),
        ].join(';\n'),
      )
      return { issuer: this.name, user: name, secret: password, certificate: null, expiresAt }
    })
  }

  async renew(credential: Credential, ttlSeconds: number): Promise<Credential> {
    const name = userOf(credential)
    const seconds = Math.max(1, Math.min(ttlSeconds, this.#options.ttlSeconds))
    return await this.#asAdministrator(async connection => {
      const expiresAt = new Date(Date.now() + seconds * 1000)
      const until = await serverTime(connection, seconds)
      try {
        // Its password anew too: one that the role has given itself meanwhile counts no longer.
        const password =
          credential.secret === null ? '' : ` password ${literal(await scramVerifier(credential.secret))}`
        await connection.query(`alter role ${quoted(name)}${password} valid until ${literal(until)}`)
      } catch (error) {
        if (!isGone(error)) throw error
        throw new AgentgateError('REVOKED', `${this.#target.name}: its role was removed at the server`)
      }
      return { ...credential, expiresAt }
    })
  }

  async revoke(credential: Credential): Promise<void> {
    await this.#asAdministrator(async connection => {
      await lockOut(connection, userOf(credential))
      // On this connection rather than `terminate`'s: what runs ends a login earlier. What is left of it is seen to there.
      await connection.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 and pid <> pg_backend_pid()',
        [userOf(credential)],
      )
    })
  }

  async terminate(credential: Credential): Promise<void> {
    await this.#asAdministrator(async connection => await this.#remove(connection, userOf(credential)))
  }

  /** Roles whose time is over, those of processes of this machine that are gone, and those whose keeper has ended them. */
  async sweep(kept?: Kept): Promise<number> {
    return await this.#asAdministrator(async connection => {
      const rows = await connection.query(
        `select rolname::text as name, shobj_description(oid, 'pg_authid') as note,
          coalesce(rolvaliduntil < clock_timestamp() - interval '${sweepGraceSeconds} seconds', false) as expired
        from pg_roles where rolname like 'agentgate\\_%'`,
      )
      const found = rows.flatMap(row => {
        const note = readRoleNote(typeof row['note'] === 'string' ? row['note'] : null)
        return note === undefined ? [] : [{ name: String(row['name']), expired: row['expired'] === true, note }]
      })
      // After looking: a grant is written down before its role is made, so a role that is there and not known has ended.
      const ours = kept === undefined ? [] : found.filter(({ note }) => isKeptBy(note, kept.keeper))
      const live = await kept?.live(ours.map(({ note }) => note.grant))
      let removed = 0
      for (const { name, expired, note } of found) {
        const ended = kept !== undefined && isKeptBy(note, kept.keeper) && live?.has(note.grant) !== true
        if (!expired && !ended && !isOrphan(note)) continue
        try {
          await lockOut(connection, name)
          await this.#remove(connection, name)
          removed += 1
        } catch (error) {
          // Another sweep has it, or another administrator made it; it can no longer log in either way.
          if (!(error instanceof AdministratorRefused)) throw error
        }
      }
      return removed
    })
  }

  /** The role that the login role is to be a member of; `taken`: what runs, runs as that role. */
  async #prepareHolder(
    connection: AdminConnection,
    privileges: ScopePrivileges,
    request: MintRequest,
  ): Promise<{ readonly role: string; readonly taken: boolean }> {
    const { name, scope } = this.#target
    const withheld = this.#target.withheld?.(request.subject) ?? []
    let source: string
    // Others that make or grant to the same roles at the same time would fail (`tuple concurrently updated`).
    await connection.query(
      `select pg_advisory_lock(hashtext('agentgate'), hashtext(${literal(`${name}/${scope.name}`)}))`,
    )
    try {
      if (privileges.kind === 'grants') {
        source = scopeRoleName(name, scope.name, [
          ...privileges.grants.map(grant => grant.text),
          ...withheld.map(column => `not ${column}`),
        ])
        await ensureRole(connection, source, `agentgate scope ${scope.name} of ${name}`)
        await this.#grantAll(connection, source, privileges.grants, withheld)
      } else {
        source = privileges.role
        await this.#grantAll(connection, source, [], withheld)
      }
      if (!this.#options.perPrincipal) return { role: source, taken: privileges.kind === 'role' }
      const principal = request.subject.principal.name
      const own = principalRoleName(principal, scope.name, source)
      await ensureRole(connection, own, `agentgate principal ${principal}`)
      if (!(await isMember(connection, own, source)))
        await this.#explained(
          connection.query(`grant ${quoted(source)} to ${quoted(own)}${membershipOptions(connection, true)}`),
          source,
        )
      return { role: own, taken: true }
    } finally {
      await connection
        .query(`select pg_advisory_unlock(hashtext('agentgate'), hashtext(${literal(`${name}/${scope.name}`)}))`)
        .catch(() => connection.abandon()) // one that is gone holds no lock
    }
  }

  /** Privileges are a database's own, so they are granted in each. */
  async #grantAll(
    connection: AdminConnection,
    role: string,
    grants: readonly SqlGrant[],
    withheld: readonly string[],
  ): Promise<void> {
    if (grants.length === 0 && withheld.length === 0) return
    const first = await currentDatabase(connection)
    for (const database of await this.#databases(connection)) {
      const work = async (inside: AdminConnection) => {
        if (withheld.length === 0) for (const grant of grants) await this.#grant(inside, role, grant)
        else await this.#grantWithout(inside, role, grants, withheld)
      }
      if (database === first) await work(connection)
      else await this.#asAdministrator(work, database)
    }
  }

  /** All at once: no session of this role ever sees what is withheld. */
  async #grantWithout(
    connection: AdminConnection,
    role: string,
    grants: readonly SqlGrant[],
    withheld: readonly string[],
  ): Promise<void> {
    const { name, scope } = this.#target
    const where = `${name}, scope ${scope.name}`
    if (grants.length === 0) {
      await requireWithheld(connection, role, withheld, where)
      return
    }
    await connection.query('begin')
    try {
      for (const grant of grants) await this.#grant(connection, role, grant)
      await withholdColumns(connection, role, withheld)
      await requireWithheld(connection, role, withheld, where)
      await connection.query('commit')
    } catch (error) {
      await connection.query('rollback').catch(() => connection.abandon())
      throw error
    }
  }

  async #grant(connection: AdminConnection, role: string, grant: SqlGrant): Promise<void> {
    if (grant.membership) {
      await this.#explained(
        connection.query(`grant ${grant.text} to ${quoted(role)}${membershipOptions(connection, true)}`),
        grant.text,
      )
      return
    }
    // Granting again what is there writes to the catalogue of every table, and makes every session look again.
    if (grant.allTables !== undefined && !(await lacks(connection, role, grant.allTables))) return
    // A name without a schema is one of public's, as policies write it.
    await this.#explained(
      connection.query(`set local search_path to public; grant ${grant.text} to ${quoted(role)}`),
      grant.text,
    )
    if (connection.warnings.includes(notAllGranted)) throw this.#mayNotGrant(grant.text)
  }

  async #explained(work: Promise<unknown>, what: string): Promise<void> {
    try {
      await work
    } catch (error) {
      if (error instanceof AdministratorRefused && error.sqlstate === '42501') throw this.#mayNotGrant(what)
      throw error
    }
  }

  #mayNotGrant(what: string): AgentgateError {
    const { user } = this.#admin
    return new AgentgateError(
      'TARGET_REFUSED',
      `${this.#target.name}: its administrator ${user} may not grant ${what}`,
      {
        hint: `grant it to ${user} WITH GRANT OPTION (a role: WITH ADMIN OPTION), or make ${user} a member of the owner`,
      },
    )
  }

  async #databases(connection: AdminConnection): Promise<readonly string[]> {
    const named = databasesOf(this.#target)
    if (named !== 'all') return named.length === 0 ? [await currentDatabase(connection)] : named
    const rows = await connection.query(
      `select datname::text as name from pg_database
        where datallowconn and not datistemplate and has_database_privilege(oid, 'connect') order by 1`,
    )
    return rows.map(row => String(row['name']))
  }

  /** Ends what runs as the role, hands on what it owns, and drops it. It must not be able to log in any more. */
  async #remove(connection: AdminConnection, name: string): Promise<void> {
    const [found] = await connection.query(
      `select oid::text, shobj_description(oid, 'pg_authid') as note from pg_roles where rolname = $1`,
      [name],
    )
    if (found === undefined) return
    const oid = String(found['oid'])
    await terminateAll(connection, oid)
    const note = readRoleNote(typeof found['note'] === 'string' ? found['note'] : null)
    const heir = (await exists(connection, note?.heir)) ? (note?.heir ?? '') : this.#admin.user
    const handOn = `reassign owned by ${quoted(name)} to ${quoted(heir)}; drop owned by ${quoted(name)}`
    const own = await currentDatabase(connection)
    const owning = await connection.query(
      `select distinct d.datname::text as name, s.dbid = 0 as shared from pg_shdepend s left join pg_database d on d.oid = s.dbid
        where s.refclassid = 'pg_authid'::regclass and s.refobjid = $1::oid and s.classid <> 'pg_auth_members'::regclass`,
      [oid],
    )
    for (const row of owning) {
      const database = typeof row['name'] === 'string' ? row['name'] : own
      if (database === own) await connection.query(handOn)
      else await this.#asAdministrator(async inside => await inside.query(handOn), database)
    }
    try {
      await connection.query(`drop role ${quoted(name)}`)
    } catch (error) {
      if (!isGone(error)) throw error
    }
    // A login that had passed its check as the role was locked out is seen only now.
    await terminateAll(connection, oid).catch(() => undefined)
  }

  async #asAdministrator<Result>(
    work: (connection: AdminConnection) => Promise<Result>,
    database: string = this.#mainDatabase(),
  ): Promise<Result> {
    const open = async () => await AdminConnection.open(this.#target, this.#admin, database)
    const { warm } = this.#options
    // One of another database may be asked for while one of the main one is held: those do not wait for a turn.
    if (warm !== undefined && database === this.#mainDatabase())
      return await warm.use(connectionKey(this.#target, this.#admin, database), open, work)
    const connection = await open()
    try {
      return await work(connection)
    } finally {
      await connection.close()
    }
  }

  #mainDatabase(): string {
    const named = databasesOf(this.#target)
    return this.#admin.database ?? (named === 'all' ? undefined : named[0]) ?? 'postgres'
  }
}

function userOf(credential: Credential): string {
  if (credential.user === null) throw new AgentgateError('INTERNAL', 'a credential of postgres-role without a role')
  return credential.user
}

function isGone(error: unknown): boolean {
  return error instanceof AdministratorRefused && error.sqlstate === undefinedObject
}

async function lockOut(connection: AdminConnection, name: string): Promise<void> {
  try {
    await connection.query(`alter role ${quoted(name)} nologin`)
  } catch (error) {
    if (!isGone(error)) throw error
  }
}

async function terminateAll(connection: AdminConnection, oid: string): Promise<void> {
  const deadline = performance.now() + terminateWithinMs
  for (let wait = 2; ; wait = Math.min(50, wait * 2)) {
    const running = await connection.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where usesysid = $1::oid and pid <> pg_backend_pid()',
      [oid],
    )
    if (running.length === 0) return
    if (performance.now() > deadline)
      throw new AgentgateError('TARGET_REFUSED', `a backend did not end in ${terminateWithinMs / 1000} s`, {
        hint: 'it is in a call that cannot be interrupted; a later sweep tries again',
      })
    await sleep(wait)
  }
}

/** `2026-11-21 16:04:00+00`, by the server's clock, as its own is what VALID UNTIL is held against. */
async function serverTime(connection: AdminConnection, inSeconds: number): Promise<string> {
  const [row] = await connection.query(
    `select to_char((clock_timestamp() + make_interval(secs => $1)) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') as until`,
    [inSeconds],
  )
  return `${String(row?.['until'])}+00`
}

async function currentDatabase(connection: AdminConnection): Promise<string> {
  const [row] = await connection.query('select current_database()::text as name')
  return String(row?.['name'])
}

async function exists(connection: AdminConnection, role: string | undefined): Promise<boolean> {
  if (role === undefined) return false
  return (await connection.query('select from pg_roles where rolname = $1', [role])).length > 0
}

async function ensureRole(connection: AdminConnection, name: string, comment: string): Promise<void> {
  if (await exists(connection, name)) return
  await connection.query(
    [
      `create role ${quoted(name)} nologin`,
      `comment on role ${quoted(name)} is ${literal(comment)}`,
      ...selfGrant(connection, name),
    ].join(';\n'),
  )
}

async function isMember(connection: AdminConnection, member: string, role: string): Promise<boolean> {
  const rows = await connection.query(
    `select from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member
      where r.rolname = $1 and u.rolname = $2`,
    [role, member],
  )
  return rows.length > 0
}

/** To end its backends and hand on what it owns one must be a member of a role, or a superuser. */
function selfGrant(connection: AdminConnection, name: string): string[] {
  if (connection.superuser) return []
  return [`grant ${quoted(name)} to current_user${membershipOptions(connection, true)}`]
}

function membershipOptions(connection: AdminConnection, inherits: boolean): string {
  return connection.version >= version16 ? ` with inherit ${inherits}, set true` : ''
}

async function lacks(
  connection: AdminConnection,
  role: string,
  { privileges, schemas }: NonNullable<SqlGrant['allTables']>,
): Promise<boolean> {
  const rows = await connection.query(
    `select from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = any($1) and c.relkind in ('r', 'v', 'm', 'f', 'p')
        and exists (select from unnest($2::text[]) p where not has_table_privilege($3, c.oid, p)) limit 1`,
    [schemas, privileges, role],
  )
  return rows.length > 0
}
