// agentgate beside the server itself, a plain Node relay and pgbouncer: node bench/run.js postgres [--quick]
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { serverUser } from '../src/demo/postgres-binaries.ts'
import { startPostgres, type PostgresServer } from '../src/demo/postgres-server.ts'
import { freePort } from '../test/support/port.ts'
import { keepResult, median, quantile, type ResultTable } from './result.ts'

const quick = process.argv.includes('--quick')
const rounds = quick ? 1 : 3
const seconds = quick ? 1 : 2
const bulkRows = quick ? 50_000 : 500_000
const app = { user: 'app', password: 'bench', database: 'bench' }
const debian15 = '/usr/lib/postgresql/15/bin'

/** Somebody between client and server, or nobody. */
interface Peer {
  readonly name: string
  readonly url: string
  /** The process whose memory counts. */
  readonly pid: number | null
}

const light = `
rules:
  - { name: no unbounded writes, when: { statement: [update, delete], where: missing }, then: deny }
  - { name: no ddl, when: { statement: [drop, truncate, alter] }, then: deny }
`
const full = `
rules:
  - { name: no unbounded writes, when: { statement: [update, delete], where: missing }, then: deny }
  - { name: no ddl, when: { statement: [drop, truncate, alter, create, grant, revoke] }, then: deny }
  - { name: no programs, when: { statement: [do, call] }, then: deny }
  - { name: payroll, when: { table: payroll }, then: deny }
  - { name: audit trail, when: { statement: [insert, update, delete], table: "audit_*" }, then: deny }
  - { name: payments, when: { statement: [insert, update, delete], table: payments }, then: approve }
  - { name: refunds, when: { statement: [update], table: refunds }, then: approve }
  - { name: history, when: { statement: [delete], table: pgbench_history }, then: deny }
masks:
  - { name: contact data, columns: [people.email, people.phone, customers.email], with: partial }
  - { name: cards, columns: [payments.card_number, "*.iban"], with: redact }
  - { name: numbers, columns: ["*.ssn"], with: hash }
`
const masked = `
masks:
  - { name: one column, columns: [bulk.email], with: partial }
`

const detecting = `
masks:
  - { name: whatever it is, detect: [email, phone, card-number, iban, national-id, api-key, private-key, jwt, high-entropy], with: redact }
`

const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-bench-'))
const children: ChildProcess[] = []
let server: PostgresServer | undefined
async function main(): Promise<void> {
  server = await startPostgres({
    binaries: { bin: debian15 },
    folder: path.join(folder, 'servers'),
    settings: { max_connections: '200', shared_buffers: '256MB' },
  })
  const superuser = server.url.reveal()
  await psql(superuser, `create role ${app.user} login password '${app.password}'`)
  await psql(superuser, `create database ${app.database} owner ${app.user}`)
  const direct: Peer = { name: 'direct', url: appUrl(server.port), pid: null }
  await run('pgbench', ['-i', '-q', '-s', '5', direct.url])
  await psql(
    direct.url,
    `create table bulk as select n as id, 'customer number ' || n as name, 'c' || n || '@example.com' as email,
       md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) as body, now() as at from generate_series(1, ${bulkRows}) n;
     analyze bulk;`,
  )
  await psql(superuser.replace(/\/postgres$/, `/${app.database}`), 'vacuum')
  const relay = await startRelay(server.port)
  const bouncer = await startBouncer(server.port)
  const peers: Peer[] = [
    direct,
    relay,
    bouncer,
    await startAgentgate('agentgate, light', light),
    await startAgentgate('agentgate, full', full),
  ]
  const masking = [
    await startAgentgate('agentgate, a column masked', masked),
    await startAgentgate('agentgate, all text looked through', detecting),
  ]

  // Compilers of JavaScript need some thousands of statements before they show what stays.
  for (const peer of [...peers, ...masking]) for (const mode of modes) await pgbench(peer, mode, 1)
  const statements = await measureStatements(peers)
  const all = [...peers, ...masking]
  await sleep(sealedAfterMs)
  const memory = all.flatMap(({ name, pid }) => (pid === null ? [] : [memoryOf(name, pid)]))
  const bulk = await measureBulk(all)
  for (const each of memory) each.most = megabytes(each.pid, 'VmHWM')
  const starts = await measureStarts()

  const file = keepResult({
    name: 'postgres',
    title: 'PostgreSQL',
    tables: [
      ...statementTables(peers, statements),
      ...bulkTables(all, bulk),
      {
        title: 'Memory',
        note: 'Resident memory in MB: after the statements, and by how much it was more at most during the rows and copies.',
        columns: ['', 'before', 'more'],
        rows: memory.map(({ name, before, most }) => [name, before.toFixed(0), Math.max(0, most - before).toFixed(0)]),
      },
      {
        title: 'First answer',
        note: 'From the start of the command to the answer to a first query through it, in ms.',
        columns: ['', 'p50', 'most'],
        rows: [['agentgate connect', median(starts).toFixed(0), Math.max(...starts).toFixed(0)]],
      },
    ],
    measurements: { rounds, seconds, bulkRows, server: server.version, statements, bulk, memory, starts },
  })
  console.log(file)
}

// --- statements ---

interface StatementRun {
  readonly peer: string
  readonly mode: string
  readonly clients: number
  readonly round: number
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
}

const modes = ['simple', 'extended', 'prepared'] as const
const clientCounts = [1, 16] as const

async function measureStatements(peers: readonly Peer[]): Promise<StatementRun[]> {
  const runs: StatementRun[] = []
  for (let round = 1; round <= rounds; round++)
    for (const mode of modes)
      for (const clients of clientCounts)
        for (const peer of turned(peers, round)) {
          const result = await pgbench(peer, mode, clients)
          runs.push({ peer: peer.name, mode, clients, round, ...result })
          say(
            `round ${round}  ${mode.padEnd(8)}  ${clients} clients  ${peer.name.padEnd(18)}  ${result.perSecond.toFixed(0)}/s`,
          )
        }
  return runs
}

/** Another first one each round, so that none always comes after the same. */
function turned<T>(all: readonly T[], by: number): readonly T[] {
  return all.map((_, n) => all[(n + by) % all.length] as T)
}

async function pgbench(peer: Peer, mode: string, clients: number) {
  const logs = mkdtempSync(path.join(folder, 'log-'))
  const threads = Math.min(clients, 2)
  const said = await run('pgbench', [
    ...['-n', '-S', '-M', mode, '-c', String(clients), '-j', String(threads), '-T', String(seconds)],
    ...['-l', `--log-prefix=${path.join(logs, 'l')}`, peer.url],
  ])
  const micros: number[] = []
  for (const file of readdirSync(logs))
    for (const line of readFileSync(path.join(logs, file), 'utf8').split('\n')) {
      const taken = Number(line.split(' ')[2]) // client, transaction, µs, …
      if (taken > 0) micros.push(taken)
    }
  rmSync(logs, { recursive: true })
  const perSecond = Number(/tps = ([\d.]+) \(without/.exec(said)?.[1])
  if (!(perSecond > 0) || micros.length === 0) throw new Error(`pgbench said nothing to go by: ${said}`)
  return { perSecond, p50: quantile(micros, 0.5), p99: quantile(micros, 0.99) }
}

function statementTables(peers: readonly Peer[], runs: readonly StatementRun[]): ResultTable[] {
  const of = (peer: string, mode: string, clients: number) =>
    runs.filter(each => each.peer === peer && each.mode === mode && each.clients === clients)
  // Each round's against the direct one of the same round.
  const against = (
    peer: string,
    mode: string,
    clients: number,
    compare: (own: StatementRun, direct: StatementRun) => number,
  ) =>
    of(peer, mode, clients).map(own =>
      compare(
        own,
        of('direct', mode, clients).find(each => each.round === own.round)!,
      ),
    )
  const spread = (values: readonly number[], digits: number) =>
    `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`
  return [
    {
      title: 'Added to a statement, one client',
      note: `Microseconds more than the same statement takes directly, mean; median of ${rounds} rounds (least–most). pgbench -S, ${seconds} s each.`,
      columns: ['', ...modes],
      rows: peers.slice(1).map(({ name }) => [
        name,
        ...modes.map(mode =>
          spread(
            against(name, mode, 1, (own, direct) => 1e6 / own.perSecond - 1e6 / direct.perSecond),
            0,
          ),
        ),
      ]),
    },
    {
      title: 'Sixteen clients at once',
      note: 'Statements a second as a share of what goes directly, client, server and whoever stands between on one machine.',
      columns: ['', ...modes],
      rows: peers.slice(1).map(({ name }) => [
        name,
        ...modes.map(mode =>
          spread(
            against(name, mode, 16, (own, direct) => own.perSecond / direct.perSecond),
            2,
          ),
        ),
      ]),
    },
    ...clientCounts.map(clients => ({
      title: `Time of a statement, ${clients === 1 ? 'one client' : `${clients} clients`}`,
      note: 'p50 / p99 in microseconds, median of the rounds.',
      columns: ['', ...modes],
      rows: peers.map(({ name }) => [
        name,
        ...modes.map(mode => {
          const own = of(name, mode, clients)
          return `${median(own.map(each => each.p50)).toFixed(0)} / ${median(own.map(each => each.p99)).toFixed(0)}`
        }),
      ]),
    })),
  ]
}

// --- bulk ---

interface BulkRun {
  readonly peer: string
  readonly what: string
  readonly round: number
  /** null: it was refused. */
  readonly ms: number | null
  readonly bytes: number
}

const bulkKinds = ['COPY out', 'COPY in', 'rows to a bare client'] as const

async function measureBulk(peers: readonly Peer[]): Promise<BulkRun[]> {
  const runs: BulkRun[] = []
  const file = path.join(folder, 'bulk.copy')
  const copied = await run('psql', ['-X', '-q', '-c', `\\copy bulk to '${file}'`, peers[0]?.url ?? ''])
  if (copied !== '') throw new Error(copied)
  const bytes = readFileSync(file).length
  await psql(peers[0]?.url ?? '', 'create unlogged table taken (like bulk)')
  for (let round = 1; round <= rounds; round++)
    for (const what of bulkKinds)
      for (const peer of turned(peers, round)) {
        const start = performance.now()
        let ms: number | null
        try {
          if (what === 'COPY out') await run('psql', ['-X', '-q', '-c', '\\copy bulk to /dev/null', peer.url])
          else if (what === 'COPY in') await run('psql', ['-X', '-q', '-c', `\\copy taken from '${file}'`, peer.url])
          else await bareSelect(peer.url, 'select * from bulk')
          ms = performance.now() - start
        } catch (error) {
          ms = null
          console.error(`${peer.name}, ${what}: ${error instanceof Error ? error.message.slice(-300) : 'failed'}`)
        }
        if (what === 'COPY in') await psql(peers[0]?.url ?? '', 'truncate taken')
        runs.push({ peer: peer.name, what, round, ms, bytes })
        say(`round ${round}  ${what.padEnd(22)}  ${peer.name.padEnd(28)}  ${ms?.toFixed(0) ?? 'refused,'} ms`)
      }
  return runs
}

function bulkTables(peers: readonly Peer[], runs: readonly BulkRun[]): ResultTable[] {
  const megabytes = ((runs[0]?.bytes ?? 0) / 1e6).toFixed(0)
  return [
    {
      title: `${bulkRows.toLocaleString('en')} rows, ${megabytes} MB`,
      note: 'Time taken in percent of what it takes directly: median of the rounds (least–most).',
      columns: ['', ...bulkKinds],
      rows: peers.slice(1).map(({ name }) => [
        name,
        ...bulkKinds.map(what => {
          const percents = runs
            .filter(each => each.peer === name && each.what === what)
            .map(own => {
              const direct = runs.find(each => each.peer === 'direct' && each.what === what && each.round === own.round)
              return own.ms === null ? NaN : (100 * own.ms) / (direct?.ms ?? NaN)
            })
          if (percents.some(Number.isNaN)) return 'refused'
          return `${median(percents).toFixed(0)} (${Math.min(...percents).toFixed(0)}–${Math.max(...percents).toFixed(0)})`
        }),
      ]),
    },
  ]
}

/** A client that throws away what it gets, so that nearly all that is timed is on the way to it. */
async function bareSelect(url: string, sql: string): Promise<void> {
  const { bareClient } = await import('./bare-client.ts')
  const client = await bareClient(url)
  try {
    await client.discard(sql)
  } finally {
    client.close()
  }
}

// --- start ---

async function measureStarts(): Promise<number[]> {
  const times: number[] = []
  const { bareClient } = await import('./bare-client.ts')
  for (let n = 0; n < (quick ? 2 : 7); n++) {
    const start = performance.now()
    const started = await startAgentgate(`start ${n}`, light)
    const client = await bareClient(started.url)
    await client.discard('select 1')
    times.push(performance.now() - start)
    client.close()
    const child = children.pop()
    child?.kill('SIGTERM')
    if (child) await once(child, 'exit')
  }
  return times
}

// --- who stands between ---

function appUrl(port: number): string {
  return `postgresql://${app.user}:${app.password}@127.0.0.1:${port}/${app.database}?sslmode=disable`
}

async function startRelay(port: number): Promise<Peer> {
  const child = start(process.execPath, [path.join('bench', 'relay.js'), '127.0.0.1', String(port)])
  const own = Number(await firstLine(child, /^\d+$/))
  return { name: 'plain Node relay', url: appUrl(own), pid: child.pid ?? null }
}

async function startBouncer(port: number): Promise<Peer> {
  const user = serverUser()
  const own = await freePort()
  const at = mkdtempSync(path.join(os.tmpdir(), 'agentgate-bench-bouncer-'))
  const users = path.join(at, 'users')
  const config = path.join(at, 'config')
  writeFileSync(users, `"${app.user}" "${app.password}"\n`)
  writeFileSync(
    config,
    `[databases]
${app.database} = host=127.0.0.1 port=${port} dbname=${app.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = session
max_client_conn = 100
default_pool_size = 50
ignore_startup_parameters = extra_float_digits
`,
  )
  for (const file of [users, config]) chmodSync(file, 0o644)
  chmodSync(at, 0o755)
  const child = start('pgbouncer', ['-q', config], user ? { uid: user.uid, gid: user.gid } : {})
  await answers(own)
  child.once('exit', () => rmSync(at, { recursive: true, force: true }))
  return { name: 'pgbouncer', url: appUrl(own), pid: child.pid ?? null }
}

async function startAgentgate(name: string, rules: string): Promise<Peer> {
  const at = mkdtempSync(path.join(folder, 'agentgate-'))
  mkdirSync(path.join(at, 'home'), { mode: 0o700 })
  const policy = path.join(at, 'agentgate.yaml')
  const address = `127.0.0.1:${server?.port ?? 0}`
  writeFileSync(
    policy,
    `version: 1
resources:
  bench:
    kind: postgres
    address: ${address}
    database: ${app.database}
    tls: off
    credential: { issuer: static, user: ${app.user}, secret: "\${env:BENCH_PASSWORD}" }
    scopes: { all: {} }
recording: { results: { keep: 64MB, then: digest } }
${rules}`,
  )
  const env = {
    PATH: process.env['PATH'],
    HOME: at,
    AGENTGATE_HOME: path.join(at, 'home'),
    AGENTGATE_BROKER: 'none', // nothing starts beside what is measured
    BENCH_PASSWORD: app.password,
  }
  const digest = await run('bin/agentgate', ['policy', 'digest', '--policy', policy], env)
  const pinned = /sha256:[0-9a-f]{64}/.exec(digest)?.[0] ?? ''
  const child = start('bin/agentgate', ['connect', 'bench', '--json', '--policy', policy, '--policy-digest', pinned], {
    env,
  })
  const ready = JSON.parse(await firstLine(child, /"event":"ready"/)) as { tunnels: { url: string }[] }
  const url = new URL(ready.tunnels[0]?.url ?? '')
  url.searchParams.set('sslmode', 'disable')
  return { name, url: url.href, pid: child.pid ?? null }
}

function start(command: string, args: readonly string[], options: object = {}): ChildProcess {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options })
  child.on('error', error => console.error(`${command}: ${error.message}`))
  children.push(child)
  return child
}

async function firstLine(child: ChildProcess, pattern: RegExp): Promise<string> {
  return await new Promise((resolve, reject) => {
    let said = ''
    let found = false
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      if (found) return // goes on reading, so that it never waits for us
      said += chunk
      const line = said
        .split('\n')
        .slice(0, -1)
        .find(each => pattern.test(each))
      if (line === undefined) return
      found = true
      resolve(line)
    })
    child.once('exit', code => reject(new Error(`it ended (${code}): ${said}`)))
  })
}

async function answers(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = net.connect({ host: '127.0.0.1', port })
    const open = await new Promise<boolean>(resolve => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (open) return
    await sleep(25)
  }
  throw new Error(`nobody answers at ${port}`)
}

/** Of the process that serves: agentgate's shell became it. */
/** Every session has sealed a part of its recording by then. */
const sealedAfterMs = 12_000

/** What it holds now; from here on the kernel counts the most anew (proc(5), clear_refs). */
function memoryOf(name: string, pid: number): { name: string; pid: number; before: number; most: number } {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  return { name, pid, before: megabytes(pid, 'VmRSS'), most: 0 }
}

function megabytes(pid: number, of: 'VmRSS' | 'VmHWM'): number {
  const kilobytes = new RegExp(`${of}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kilobytes) / 1024
}

async function psql(url: string, sql: string): Promise<void> {
  await run('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-c', sql, url])
}

async function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${stderr}`)
  return stdout
}

function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${text}\n`)
}

try {
  await main()
} finally {
  for (const child of children) child.kill('SIGTERM')
  await Promise.all(
    children.map(async child =>
      child.exitCode === null && child.signalCode === null ? await once(child, 'exit') : [],
    ),
  )
  await server?.stop()
  rmSync(folder, { recursive: true, force: true })
}
