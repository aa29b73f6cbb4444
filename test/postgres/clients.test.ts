import { existsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Place, shopEnvironment, shopPolicy, type Tunnels } from '../support/agentgate.ts'
import { describeWith, type Need } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { runProgram, type Finished } from '../support/processes.ts'
import { serverKinds, startServer, type ServerKind, type TestServer } from '../support/servers.ts'

// Each client does its work twice, straight at one server and through a tunnel to another that was started from the same
// copy, and tells what it got: the two must be the same text.

const cache =
  process.env['AGENTGATE_TEST_CACHE'] ??
  path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'agentgate-test')
const clients = path.join(import.meta.dirname, 'clients')

interface Client {
  readonly name: string
  readonly needs: readonly Need[]
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** It takes the URL as it is, without libpq's parameters. */
  readonly url?: 'plain'
  /** How it goes to the tunnel; the server itself has no TLS. */
  readonly tls?: 'require' | 'direct'
  /** So one server shows the same to it, oids and all, with agentgate and without. */
  readonly onlyReads?: boolean
}

function made(name: string, ...parts: readonly string[]): Need {
  const file = path.join(cache, ...parts)
  return { name, missing: existsSync(file) ? undefined : 'run test/postgres/clients/setup.sh' }
}

const python = path.join(cache, 'venv', 'bin', 'python')
const inPython = (name: string, script: string): Client => ({
  name,
  needs: [made(`python with ${name}`, 'venv', 'bin', 'python')],
  command: [python, path.join(clients, 'python', script)],
})
const jdbc = (name: string, ...properties: readonly string[]): Client => ({
  name,
  needs: [made('pgjdbc', 'java', 'JdbcClient.class')],
  command: [
    'java',
    '-cp',
    `${path.join(cache, 'java')}:${path.join(cache, 'java', 'postgresql.jar')}`,
    'JdbcClient',
    ...properties,
  ],
})

const mapper = (name: string, script: string): Client => ({
  name,
  needs: [made(name, 'orm', 'made-of')],
  command: [process.execPath, path.join(clients, 'orm', script)],
  env: { NODE_PATH: path.join(cache, 'orm', 'node_modules') },
  url: 'plain',
})

const all: readonly Client[] = [
  { name: 'node pg', needs: [], url: 'plain', command: [process.execPath, path.join(clients, 'node', 'pg-client.js')] },
  {
    name: 'node postgres',
    needs: [],
    url: 'plain',
    command: [process.execPath, path.join(clients, 'node', 'postgres-client.js')],
  },
  inPython('psycopg 3', 'psycopg_client.py'),
  inPython('asyncpg', 'asyncpg_client.py'),
  inPython('SQLAlchemy', 'sqlalchemy_client.py'),
  inPython('Django', 'django_client.py'),
  {
    ...inPython('pgAdmin', 'pgadmin_client.py'),
    needs: [made('pgAdmin’s templates', 'pgadmin', 'done')],
    env: { PGADMIN_TEMPLATES: path.join(cache, 'pgadmin') },
    onlyReads: true,
  },
  mapper('Prisma', 'prisma-client.cjs'),
  mapper('Drizzle', 'drizzle-client.cjs'),
  mapper('TypeORM', 'typeorm-client.cjs'),
  {
    ...jdbc('DBeaver’s queries by JDBC'),
    needs: [made('DBeaver’s queries', 'java', 'DbeaverClient.class')],
    command: [
      'java',
      '-cp',
      `${path.join(cache, 'java')}:${path.join(cache, 'java', 'postgresql.jar')}`,
      'DbeaverClient',
    ],
    onlyReads: true,
  },
  jdbc('JDBC'),
  { ...jdbc('JDBC over TLS'), tls: 'require' },
  { ...inPython('psycopg 3 over TLS', 'psycopg_client.py'), tls: 'require' },
  jdbc('JDBC, simple protocol', 'preferQueryMode', 'simple'),
  jdbc('JDBC, binary at once', 'prepareThreshold', '1'),
  {
    name: 'Hibernate',
    needs: [made('Hibernate', 'hibernate', 'HibernateClient.class')],
    command: [
      'java',
      '-cp',
      `${path.join(cache, 'hibernate')}:${path.join(cache, 'hibernate', '*')}:${path.join(cache, 'java', 'postgresql.jar')}`,
      'HibernateClient',
    ],
  },
  { name: 'Go pgx 5', needs: [made('pgx 5', 'pgx5')], command: [path.join(cache, 'pgx5')] },
  {
    name: 'Go pgx 5 over TLS from the first byte',
    needs: [made('pgx 5', 'pgx5')],
    command: [path.join(cache, 'pgx5')],
    tls: 'direct',
  },
  { name: 'Go pgx 4 and lib/pq', needs: [made('pgx 4', 'pgx4')], command: [path.join(cache, 'pgx4')] },
]

async function run(client: Client, url: string, tls?: Client['tls']): Promise<Finished> {
  const [command = '', ...args] = client.command
  const at = new URL(url)
  const mode = tls === undefined ? 'disable' : 'require'
  at.searchParams.set('sslmode', mode)
  if (tls === 'direct') at.searchParams.set('sslnegotiation', 'direct')
  return await runProgram(command, args, {
    deadlineMs: 120_000,
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      LANG: 'C.UTF-8',
      PYTHONIOENCODING: 'utf-8',
      PYTHONWARNINGS: 'ignore',
      PYTHONDONTWRITEBYTECODE: '1',
      NODE_NO_WARNINGS: '1',
      CLIENT_URL: client.url === 'plain' ? url : at.href,
      CLIENT_JDBC_URL: `jdbc:postgresql://${at.host}${at.pathname}?sslmode=${mode}`,
      PGUSER: decodeURIComponent(at.username),
      PGPASSWORD: decodeURIComponent(at.password),
      TZ: 'UTC',
      ...client.env,
    },
  })
}

function suite(kind: ServerKind): void {
  const owned = new Owned()
  let direct: TestServer
  let behind: TestServer
  let tunnels: Tunnels
  beforeAll(async () => {
    direct = owned.add(await startServer(kind))
    behind = owned.add(await startServer(kind))
    tunnels = owned.add(await new Place(shopPolicy(behind), shopEnvironment).connect())
  })
  afterAll(async () => await owned.close())

  for (const client of all)
    describeWith(client.name, client.needs, () => {
      it('gets what it gets without agentgate', { timeout: 240_000 }, async () => {
        const expected = await run(client, (client.onlyReads === true ? behind : direct).appUrl)
        expect(expected.stderr).toBe('')
        expect(expected.code).toBe(0)
        const got = await run(client, tunnels.tunnel.url, client.tls)
        expect(got.stdout).toBe(expected.stdout)
        expect(got.stderr).toBe('')
        expect(got.code).toBe(0)
      })
    })
}

for (const kind of serverKinds) describeWith(`clients through a tunnel, ${kind.name}`, [kind.need], () => suite(kind))
