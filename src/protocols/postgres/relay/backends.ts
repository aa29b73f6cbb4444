import type { Duplex } from 'node:stream'
import type { SeenBackend, ServedResource } from '../../protocol.ts'
import { defaultDatabase } from '../analysis/schema.ts'
import { ServerConnection } from './server-connection.ts'
import { roleParameters, settingsOf } from './settings.ts'

/** Every role that agentgate makes begins so (src/credentials/postgres-role/role-name.ts). */
const managed = 'agentgate\\\\_%'

/** For a role of its own its columns are there; of others' connections a plain role sees the id, the role and the program. */
const question = (
  roles: string,
) => `select a.pid::pg_catalog.text, a.usename::pg_catalog.text, a.datname::pg_catalog.text,
 a.application_name, pg_catalog.host(a.client_addr), a.state,
 (pg_catalog.date_part('epoch', a.backend_start) * 1000)::pg_catalog.int8::pg_catalog.text
 from pg_catalog.pg_stat_activity a
 where a.pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid()
 and (a.backend_type is null or a.backend_type operator(pg_catalog.=) 'client backend')
 and ${roles} order by a.pid`

/** The server's own list of connections under roles that only tunnels should use: the resource's, and all that are made for sessions. */
export async function backends(
  resource: ServedResource,
  upstream: () => Promise<Duplex>,
): Promise<readonly SeenBackend[]> {
  const user = resource.credential.user ?? ''
  const connection = await ServerConnection.open({
    resource,
    upstream,
    database: defaultDatabase(settingsOf(resource)) ?? (user === '' ? 'postgres' : user),
    parameters: [['application_name', 'agentgate'], ...roleParameters(resource)],
    minor: 0,
  })
  try {
    const roles =
      resource.credential.issuer === 'postgres-role'
        ? `a.usename::pg_catalog.text operator(pg_catalog.~~) E'${managed}'`
        : 'a.usename operator(pg_catalog.=) session_user'
    const rows = await connection.query(question(roles))
    return rows.map(([pid, role, database, program, from, state, since]) => ({
      id: Number(pid),
      role: role ?? '',
      database: database ?? null,
      program: program ?? null,
      from: from ?? null,
      state: state ?? null,
      since: since === null || since === undefined ? null : Number(since),
    }))
  } finally {
    connection.close()
  }
}
