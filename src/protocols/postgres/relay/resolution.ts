import { z } from 'zod'
import { AgentgateError } from '../../../errors.ts'
import type { Resolution } from '../analysis/analysed.ts'

/** Every name is qualified: the session's search_path may hold others of the same name. */
export const resolutionSql = `select pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text,
 pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('client_encoding'),
 pg_catalog.current_setting('server_version_num'), session_user::pg_catalog.text, current_user::pg_catalog.text,
 pg_catalog.current_database()::pg_catalog.text, pg_catalog.pg_backend_pid()::pg_catalog.text,
 pg_catalog.current_setting('max_identifier_length')`

const schemas = z.array(z.string())

export interface ReadResolution {
  readonly resolution: Resolution
  readonly backendPid: number
}

/** @throws AgentgateError TARGET_REFUSED: the server answers otherwise than PostgreSQL does. */
export function readResolution(rows: readonly (readonly (string | null)[])[]): ReadResolution {
  const [path, conforming, encoding, version, session, role, database, pid, identifierLength] = rows[0] ?? []
  if (!path || !conforming || !encoding || !version || !session || !role || !database)
    throw new AgentgateError('TARGET_REFUSED', 'the server does not say how it resolves names')
  // Names are cut where the server cuts them; another NAMEDATALEN than the usual one would cut elsewhere.
  if (identifierLength !== '63')
    throw new AgentgateError(
      'TARGET_REFUSED',
      `the server was built for names of ${identifierLength ?? '?'} bytes, not 63`,
    )
  return {
    resolution: {
      serverVersion: Number(version),
      database,
      sessionUser: session,
      role,
      searchPath: schemas.parse(JSON.parse(path)),
      standardConformingStrings: conforming === 'on',
      clientEncoding: encoding,
    },
    backendPid: Number(pid),
  }
}
