import type { Duplex } from 'node:stream'
import { AgentgateError } from '../../../errors.ts'
import { certificateEnd } from '../../../config/tls.ts'
import type { Probed, ServedResource } from '../../protocol.ts'
import { defaultDatabase } from '../analysis/schema.ts'
import { ServerConnection } from './server-connection.ts'
import { ServerRefused } from './server-login.ts'
import { placeOf, roleParameters, settingsOf } from './settings.ts'

/** Servers whose grammar and catalogues are known; the parser is that of 18. */
const oldestVersion = 130_000
const newestMajor = 18

const question = `select pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version'),
 pg_catalog.pg_backend_pid()::pg_catalog.text, pg_catalog.current_setting('is_superuser'),
 pg_catalog.current_database()::pg_catalog.text`

/** Whether the server answers and would serve us, and as what. @throws AgentgateError */
export async function probe(resource: ServedResource, upstream: () => Promise<Duplex>): Promise<Probed> {
  const settings = settingsOf(resource)
  const database = defaultDatabase(settings) ?? resource.credential.user ?? 'postgres'
  const connection = await open(resource, upstream, database)
  try {
    const [row = []] = await connection.query(question)
    const [number, version = '', processId, superuser, name] = row
    const warnings: string[] = []
    const versionNumber = Number(number)
    if (!(versionNumber >= oldestVersion))
      throw new AgentgateError('TARGET_REFUSED', `${resource.name}: PostgreSQL ${version ?? '?'} is older than 13`, {
        hint: 'agentgate reads the catalogues of PostgreSQL 13 to 18',
      })
    if (versionNumber >= (newestMajor + 1) * 10_000)
      warnings.push(
        `PostgreSQL ${version ?? '?'} is newer than the grammar agentgate reads statements by (${newestMajor})`,
      )
    const pooled = Number(processId) !== connection.login.processId
    if (pooled && resource.credential.issuer === 'postgres-role') throw behindPooler(resource)
    if (pooled && settings.pooler !== 'session')
      warnings.push('a connection pooler stands before the server: address the server itself, or set `pooler: session`')
    if (superuser === 'on')
      warnings.push(
        `its role ${resource.credential.user ?? ''} is a superuser, so rules are the only wall: use a lesser role`,
      )
    if (resource.tls.mode === 'require') warnings.push('its certificate is not verified (tls: require)')
    const short = /^\d+(\.\d+)?/.exec(version ?? '')?.[0] ?? '?'
    return {
      label: `${name ?? database} at ${placeOf(resource.address)}, PostgreSQL ${short}`,
      warnings,
      certificateEnd: certificateEnd(connection.login.stream),
    }
  } finally {
    connection.close()
  }
}

async function open(
  resource: ServedResource,
  upstream: () => Promise<Duplex>,
  database: string,
): Promise<ServerConnection> {
  try {
    return await ServerConnection.open({
      resource,
      upstream,
      database,
      parameters: [['application_name', 'agentgate'], ...roleParameters(resource)],
      minor: 0,
    })
  } catch (error) {
    // A role that was made a moment ago is known to its server; whoever does not know it is no server, or another one.
    if (error instanceof ServerRefused && resource.credential.issuer === 'postgres-role') {
      const sqlstate = error.fields.get('C')
      if (sqlstate === '08P01') throw behindPooler(resource) // PgBouncer's word for what it refuses
      if (sqlstate === '28P01' || sqlstate === '28000')
        throw new AgentgateError(
          'TARGET_REFUSED',
          `${resource.name}: the role made for this session may not log in at ${resource.address}`,
          {
            hint: 'address: and the administrator’s url must lead to one server, without a pooler; its pg_hba.conf must let roles log in by scram-sha-256',
          },
        )
    }
    throw error
  }
}

/** A pooler keeps its own list of users, and gives one role's connections to another's. */
function behindPooler(resource: ServedResource): AgentgateError {
  return new AgentgateError('TARGET_REFUSED', `${resource.name}: a connection pooler stands before the server`, {
    hint: 'issuer postgres-role needs the server itself: set address: to it, or use issuer: static',
  })
}
