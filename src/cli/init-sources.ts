import os from 'node:os'
import path from 'node:path'

/** A database that this user can reach today, without any secret of it. */
export interface FoundResource {
  readonly name: string
  /** `DATABASE_URL` */
  readonly source: string
  readonly address: string | undefined
  readonly database: string | undefined
  /** Where the default is not what is used today. */
  readonly tls: 'require' | 'off' | undefined
  /** The keys of a static credential besides its issuer. */
  readonly credential: string
  readonly note: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

const maxFromPgpass = 5

/** What there is to start a policy from: the first source that has something. */
export function findResources(env: Environment, read: (file: string) => string | undefined): readonly FoundResource[] {
  return fromUrl(env) ?? fromService(env, read) ?? fromVariables(env) ?? fromPgpass(env, read) ?? []
}

function fromUrl(env: Environment): readonly FoundResource[] | undefined {
  const text = env['DATABASE_URL']
  if (text === undefined || text === '') return undefined
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return undefined
  }
  if (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:') return undefined
  const database = decoded(url.pathname.slice(1))
  const address = addressOf(decoded(url.hostname) || url.searchParams.get('host') || 'localhost', url.port)
  return [
    {
      name: nameFrom(database, 'db'),
      source: 'DATABASE_URL',
      address,
      database: database === '' ? undefined : database,
      ...tlsOf(url.searchParams.get('sslmode') ?? env['PGSSLMODE'], address),
      credential: 'url: "${env:DATABASE_URL}"',
    },
  ]
}

function fromVariables(env: Environment): readonly FoundResource[] | undefined {
  const host = env['PGHOST']
  if (host === undefined || host === '') return undefined
  const address = addressOf(host, env['PGPORT'])
  const database = env['PGDATABASE']
  return [
    {
      name: nameFrom(database, 'db'),
      source: 'PGHOST',
      address,
      database,
      ...tlsOf(env['PGSSLMODE'], address, env['PGPASSWORD'] === undefined),
      credential: credentialText(env['PGUSER'], 'PGPASSWORD'),
    },
  ]
}

/** The connection service file (PG 16 docs §34.17). */
function fromService(
  env: Environment,
  read: (file: string) => string | undefined,
): readonly FoundResource[] | undefined {
  const wanted = env['PGSERVICE']
  if (wanted === undefined || wanted === '') return undefined
  const text = read(env['PGSERVICEFILE'] ?? path.join(homeOf(env), '.pg_service.conf'))
  const settings = new Map<string, string>()
  let section = ''
  for (const line of (text ?? '').split(/\r?\n/)) {
    const head = /^\s*\[([^\]]+)\]/.exec(line)
    if (head?.[1] !== undefined) section = head[1]
    const pair = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/.exec(line)
    if (section === wanted && pair?.[1] !== undefined && pair[2] !== undefined) settings.set(pair[1], pair[2])
  }
  const host = settings.get('host')
  if (host === undefined) return undefined
  const address = addressOf(host, settings.get('port'))
  return [
    {
      name: nameFrom(wanted, 'db'),
      source: `PGSERVICE ${wanted.replace(/[^A-Za-z0-9._-]/g, '')}`,
      address,
      database: settings.get('dbname'),
      ...tlsOf(settings.get('sslmode'), address, true),
      credential: credentialText(settings.get('user'), 'PGPASSWORD'),
    },
  ]
}

/** The password file (PG 16 docs §34.16): hosts, databases and users of it, never its last field. */
function fromPgpass(
  env: Environment,
  read: (file: string) => string | undefined,
): readonly FoundResource[] | undefined {
  const text = read(env['PGPASSFILE'] ?? path.join(homeOf(env), '.pgpass'))
  if (text === undefined) return undefined
  const found: FoundResource[] = []
  for (const line of text.split(/\r?\n/)) {
    const fields = /^((?:[^:\\#]|\\.)(?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):/.exec(line)
    if (fields === null) continue
    const [host = '*', port = '*', database = '*', user = '*'] = fields
      .slice(1)
      .map(field => field.replace(/\\(.)/g, '$1'))
    if (host === '*') continue
    const address = addressOf(host, port === '*' ? undefined : port)
    if (found.some(one => one.address === address && one.database === (database === '*' ? undefined : database)))
      continue
    let name = nameFrom(database === '*' ? host.split('.')[0] : database, 'db')
    for (let count = 2; found.some(one => one.name === name); count++) name = `${name.replace(/-[0-9]+$/, '')}-${count}`
    found.push({
      name,
      source: '~/.pgpass',
      address,
      database: database === '*' ? undefined : database,
      ...tlsOf(undefined, address, true),
      credential: credentialText(user === '*' ? undefined : user, 'PGPASSWORD'),
    })
    if (found.length === maxFromPgpass) break
  }
  return found.length === 0 ? undefined : found
}

function credentialText(user: string | undefined, variable: string): string {
  const name = user === undefined || user === '' || user.includes('${') ? 'postgres' : user
  return `user: ${JSON.stringify(name)}, password: "\${env:${variable}}"`
}

/** What libpq's sslmode comes to. Whatever does not check a certificate is written down, so that somebody sees it. */
function tlsOf(
  sslmode: string | undefined,
  address: string,
  passwordMissing = false,
): Pick<FoundResource, 'tls' | 'note'> {
  const loopback = /^(?:localhost|127\.|\[::1\]|\/)/.test(address)
  const password = passwordMissing ? 'its password is not kept here: export PGPASSWORD=… before connecting' : undefined
  if (loopback || sslmode === undefined || sslmode === 'verify-full') return { tls: undefined, note: password }
  if (sslmode === 'disable') return { tls: 'off', note: 'sslmode=disable: password and data go in the clear' }
  if (sslmode === 'require') return { tls: 'require', note: 'sslmode=require checks no certificate; verify-full does' }
  return { tls: undefined, note: password }
}

function addressOf(host: string, port: string | undefined): string {
  const [first = 'localhost'] = host.split(',') // several hosts are tried in turn by libpq; a resource is one
  const [firstPort] = (port ?? '').split(',')
  const number = firstPort === undefined || firstPort === '' ? '5432' : firstPort
  if (first.startsWith('/')) return path.join(first, `.s.PGSQL.${number}`)
  const bare = first.replace(/^\[|\]$/g, '')
  return bare.includes(':') ? `[${bare}]:${number}` : `${bare}:${number}`
}

function nameFrom(text: string | undefined, otherwise: string): string {
  const name = (text ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+|-+$/g, '')
    .slice(0, 40)
  return name === '' ? otherwise : name
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function homeOf(env: Environment): string {
  return env['HOME'] ?? os.homedir()
}
