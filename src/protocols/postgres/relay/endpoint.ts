import path from 'node:path'
import type { Endpoint, Listening } from '../../protocol.ts'
import { defaultDatabase } from '../analysis/schema.ts'
import { settingsOf } from './settings.ts'

const standardPort = 5432
/** Of a unix socket; libpq makes its name of it. */
export const socketName = `.s.PGSQL.${standardPort}`

// libpq lets these take the place of, or add conditions to, what PGHOST and the like say (PG 18 docs §32.15).
const clears = [
  'PGHOSTADDR',
  'PGSERVICE',
  'PGSERVICEFILE',
  'PGPASSFILE',
  'PGREQUIREAUTH',
  'PGCHANNELBINDING',
  'PGSSLCERT',
  'PGSSLKEY',
  'PGSSLROOTCERT',
  'PGSSLCRL',
  'PGSSLNEGOTIATION',
  'PGREQUIREPEER',
  'PGGSSENCMODE',
  'PGTARGETSESSIONATTRS',
  'PGLOADBALANCEHOSTS',
]

/** What a client is given: libpq's variables, URLs, a service and a password file. */
export function endpoint(listening: Listening): Endpoint {
  const { resource, clientSecret, subject, port, unixSocket } = listening
  const secret = clientSecret.reveal()
  // Only a label: the secret is what counts.
  const user = /^[\w.@-]{1,63}$/.test(subject.principal.name) ? subject.principal.name : 'agentgate'
  const database = defaultDatabase(settingsOf(resource)) ?? resource.credential.user ?? 'postgres'
  const socketFolder = port === null && unixSocket !== null ? path.dirname(unixSocket) : null
  const host = socketFolder ?? listening.host
  const usedPort = port ?? standardPort
  const place = host.includes(':') ? `[${host}]` : host
  const name = encodeURIComponent(user)
  const path_ = encodeURIComponent(database)
  const url = (withSecret: boolean) => {
    const who = withSecret ? `${name}:${encodeURIComponent(secret)}` : name
    return socketFolder === null
      ? `postgresql://${who}@${place}:${usedPort}/${path_}`
      : `postgresql://${who}@/${path_}?host=${encodeURIComponent(socketFolder)}&port=${usedPort}`
  }
  return {
    address: socketFolder === null ? `${place}:${usedPort}` : (unixSocket ?? ''),
    url: url(true),
    shown: url(false),
    env: {
      PGHOST: host,
      PGPORT: String(usedPort),
      PGUSER: user,
      PGPASSWORD: secret,
      PGDATABASE: database,
      // Nothing leaves the machine; `require` works too.
      PGSSLMODE: 'disable',
      // What is set for the server itself must not reach the tunnel.
      PGOPTIONS: '',
    },
    clears,
    files: {
      'pg_service.conf': `[${resource.name}]\nhost=${host}\nport=${usedPort}\nuser=${user}\ndbname=${database}\nsslmode=disable\n`,
      pgpass: `${[host, String(usedPort), '*', '*', secret].map(passField).join(':')}\n`,
    },
    use: `psql service=${resource.name}       or  ${url(false)}`,
  }
}

/** A field of a password file (PG 18 docs §32.16). */
function passField(value: string): string {
  return value === '*' ? value : value.replaceAll(/[\\:]/g, '\\$&')
}
