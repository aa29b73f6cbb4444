import { readFileSync } from 'node:fs'
import net from 'node:net'
import type tls from 'node:tls'
import { AgentgateError } from '../errors.ts'
import { Secret } from '../secret.ts'

/** The PostgreSQL that a store is on. */
export interface DatabasePlace {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: Secret | undefined
  readonly database: string
  readonly tls: false | tls.ConnectionOptions
  /** Without user and password. */
  readonly shown: string
}

/**
 * `postgresql://user:password@host:port/database?sslmode=…&sslrootcert=…`. To anything but this machine TLS is verified,
 * unless the URL says `sslmode=disable`.
 * @throws AgentgateError USAGE, which shows no part of it
 */
export function readDatabaseUrl(text: Secret): DatabasePlace {
  const wrong = (what: string) =>
    new AgentgateError('USAGE', `the database’s url ${what}`, {
      hint: 'DATABASE_URL=postgresql://user:password@host:5432/database?sslrootcert=ca.pem',
    })
  let url: URL
  try {
    url = new URL(text.reveal())
  } catch {
    throw wrong('cannot be read as a URL')
  }
  if (url.protocol !== 'postgresql:' && url.protocol !== 'postgres:') throw wrong('is not of PostgreSQL')
  const decoded = (part: string) => {
    try {
      return decodeURIComponent(part)
    } catch {
      throw wrong('has a % that is no escape')
    }
  }
  const user = decoded(url.username)
  const database = decoded(url.pathname.slice(1))
  if (user === '' || database === '') throw wrong('names no user, or no database')
  // libpq takes a socket's folder as a parameter, or as an escaped host (PG 18 docs §32.1.1.2).
  const host = url.searchParams.get('host') ?? decoded(url.hostname).replace(/^\[|\]$/g, '')
  if (host === '') throw wrong('names no host')
  const port = url.port === '' ? Number(url.searchParams.get('port') ?? 5432) : Number(url.port)
  return {
    host,
    port,
    user,
    password: url.password === '' ? undefined : new Secret(decoded(url.password)),
    database,
    tls: tlsOf(host, url.searchParams, wrong),
    shown: `${host.includes(':') ? `[${host}]` : host}:${port}/${database}`,
  }
}

function tlsOf(
  host: string,
  parameters: URLSearchParams,
  wrong: (what: string) => AgentgateError,
): false | tls.ConnectionOptions {
  const mode = parameters.get('sslmode')
  const rootFile = parameters.get('sslrootcert')
  const here = host.startsWith('/') || host === 'localhost' || host === '::1' || /^127\./.test(host)
  if (mode === 'disable') return false
  if (mode !== null && !['allow', 'prefer', 'require', 'verify-ca', 'verify-full'].includes(mode))
    throw wrong('has an sslmode that PostgreSQL does not know')
  if (here && rootFile === null && (mode === null || mode === 'allow' || mode === 'prefer')) return false
  let ca: string | undefined
  try {
    ca = rootFile === null || rootFile === 'system' ? undefined : readFileSync(rootFile, 'utf8')
  } catch {
    throw wrong('names a file of certificates (sslrootcert) that cannot be read')
  }
  return {
    rejectUnauthorized: true, // whatever the environment says
    ...(ca === undefined ? {} : { ca }),
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(mode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
  }
}
