/**
 * The broker with 200 live sessions: `npm run build && node bench/run.js broker [--quick]`. How long until a grant is there,
 * until an answer has come back, and until the backends of a killed session are gone from pg_stat_activity.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { BrokerClient } from '../src/control/broker-client.ts'
import type { OpenedSession, StreamEvent } from '../src/control/broker-schema.ts'
import type { ApprovalRequest } from '../src/control/schema.ts'
import { startPostgres, type PostgresServer } from '../src/demo/postgres-server.ts'
import { newApprovalId } from '../src/ids.ts'
import { keepResult, quantile } from './result.ts'

const quick = process.argv.includes('--quick')
const liveSessions = quick ? 40 : 200
const rounds = quick ? 20 : 100
const silentMs = 30_000
const debian15 = '/usr/lib/postgresql/15/bin'
const agentgate = path.resolve('bin/agentgate')
if (!existsSync('dist/agentgate.js')) throw new Error('no bundle: run npm run build first')

const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-bench-'))
const children: ChildProcess[] = []

/** A session as its tunnel holds it: its stream on the line, one backend of its own at the target. */
interface Live {
  readonly opened: OpenedSession
  readonly client: pg.Client
  readonly pid: number
  readonly heard: ((event: StreamEvent) => void)[]
  readonly over: AbortController
}

interface Measured {
  readonly grant: number[]
  readonly approval: number[]
  readonly kill: number[]
  readonly answered: number[]
}

async function main(): Promise<void> {
  const server = await startPostgres({
    binaries: { bin: debian15 },
    folder: path.join(folder, 'servers'),
    settings: { max_connections: '500' },
  })
  try {
    const superuser = server.url.reveal()
    await query(superuser, 'create database store')
    const results = new Map<string, Measured>()
    results.set('SQLite', await measure('sqlite', server, {}))
    const database = superuser.replace(/\/postgres$/, '/store')
    results.set('PostgreSQL', await measure('postgres', server, { AGENTGATE_DATABASE_URL: database }))
    const row = (name: string, of: readonly number[]) => [
      name,
      ...[0.5, 0.99, 1].map(share => quantile(of, share).toFixed(1)),
      String(of.length),
    ]
    const columns = ['', 'p50', 'p99', 'most', 'times']
    const table = (title: string, note: string, pick: (of: Measured) => readonly number[]) => ({
      title,
      note,
      columns,
      rows: [...results].map(([store, of]) => row(`store on ${store}`, pick(of))),
    })
    const file = keepResult({
      name: 'broker',
      title: `Broker, ${liveSessions} live sessions`,
      tables: [
        table(
          'Kill to dead backend',
          'Milliseconds from the call that kills a session until its backend, which runs a statement, is gone from pg_stat_activity, looked at all the time over another connection.',
          of => of.kill,
        ),
        table(
          'Kill to answer',
          'Milliseconds until that call has been answered: role dropped, end written down.',
          of => of.answered,
        ),
        table(
          'Grant round trip',
          'Milliseconds from the call that opens a session to its answer: policy, a role made at the target, all of it written down.',
          of => of.grant,
        ),
        table(
          'Approval round trip',
          'Milliseconds from the tunnel’s request to the approver’s yes on the tunnel’s stream, the approver’s call made as soon as the request is there.',
          of => of.approval,
        ),
      ],
      measurements: Object.fromEntries(results),
    })
    console.log(file)
  } finally {
    for (const child of children) child.kill('SIGTERM')
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measure(
  name: string,
  server: PostgresServer,
  more: Readonly<Record<string, string>>,
): Promise<Measured> {
  const superuser = server.url.reveal()
  const address = await startBroker(name, server, more)
  const broker = new BrokerClient({ address }, null)
  const monitor = new pg.Client({ connectionString: superuser })
  await monitor.connect()
  const measured: Measured = { grant: [], approval: [], kill: [], answered: [] }
  const live: Live[] = []
  try {
    for (let n = 0; n < liveSessions; n++) live.push(await open(broker, server))
    for (let n = 0; n < rounds; n++) {
      const victim = live.shift()
      if (victim === undefined) break
      const killedAt = performance.now()
      const answered = broker.killSession(victim.opened.session, 'bench').then(() => performance.now() - killedAt)
      await goneFrom(monitor, victim.pid)
      measured.kill.push(performance.now() - killedAt)
      measured.answered.push(await answered)
      victim.over.abort()
      const grantedAt = performance.now()
      live.push(await open(broker, server, () => measured.grant.push(performance.now() - grantedAt)))
      measured.approval.push(await approve(broker, live[n % live.length] ?? victim))
    }
  } finally {
    for (const each of live) each.over.abort()
    await Promise.all(live.map(async each => await each.client.end().catch(() => undefined)))
    // A backend that sleeps does not see that its client is gone.
    await monitor.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename like 'agentgate\\_%'`)
    await monitor.end()
  }
  return measured
}

async function goneFrom(monitor: pg.Client, pid: number): Promise<void> {
  for (;;) {
    const { rows } = await monitor.query('select from pg_stat_activity where pid = $1', [pid])
    if (rows.length === 0) return
    await sleep(1)
  }
}

async function approve(broker: BrokerClient, { opened, heard }: Live): Promise<number> {
  const now = Date.now()
  const request: ApprovalRequest = {
    id: newApprovalId(),
    session: opened.session,
    connection: 'c1',
    resource: 'db',
    rule: { name: 'asks', place: 'agentgate.yaml:1' },
    effects: [],
    holdsLocks: false,
    client: null,
    principal: opened.principal.name,
    actor: null,
    purpose: null,
    ticket: null,
    view: {
      kind: 'postgres',
      summary: 'SELECT t',
      text: 'select 1 from t',
      effect: 'read',
      verbs: ['select'],
      reads: ['public.t'],
      writes: [],
      attributes: {},
    },
    askedAt: new Date(now).toISOString(),
    expiresAt: new Date(now + 60_000).toISOString(),
    approvers: { groups: [], count: 1, notSelf: false },
    editable: false,
    challenge: null,
  }
  const startedAt = performance.now()
  const answered = new Promise<void>(resolve => {
    heard.push(event => {
      if (event.event === 'approval' && event.id === request.id) resolve()
    })
  })
  await broker.ask(opened.session, opened.token, request)
  await broker.answer(request.id, { outcome: 'approve' })
  await answered
  heard.length = 0
  return performance.now() - startedAt
}

async function open(
  broker: BrokerClient,
  server: PostgresServer,
  granted: () => void = () => undefined,
): Promise<Live> {
  const opened = await broker.open({
    command: 'connect',
    resources: [{ name: 'db', scope: 'read' }],
    ttlSeconds: null,
    actor: null,
    confined: false,
    purpose: null,
    ticket: null,
    host: 'bench',
  })
  granted()
  const heard: Live['heard'] = []
  const over = new AbortController()
  void (async () => {
    try {
      for await (const event of broker.stream(opened.session, opened.token, silentMs, over.signal))
        for (const each of heard) each(event)
    } catch {
      return // ended, or killed: what is measured is at the target
    }
  })()
  const credential = opened.grants[0]?.credential
  const client = new pg.Client({
    host: '127.0.0.1',
    port: server.port,
    database: 'postgres',
    user: credential?.user ?? '',
    password: credential?.secret ?? '',
  })
  client.on('error', () => undefined)
  await client.connect()
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  client.query('select pg_sleep(3600)').catch(() => undefined)
  return { opened, client, pid: rows[0]?.pid ?? 0, heard, over }
}

async function startBroker(
  name: string,
  server: PostgresServer,
  more: Readonly<Record<string, string>>,
): Promise<string> {
  const home = path.join(folder, name)
  mkdirSync(home, { mode: 0o700 })
  const policy = path.join(home, 'agentgate.yaml')
  writeFileSync(
    policy,
    `version: 1
resources:
  db:
    kind: postgres
    address: 127.0.0.1:${server.port}
    database: postgres
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes: { read: { grant: [ "USAGE ON SCHEMA public" ] } }
rules:
  - { name: asks, when: { statement: select, table: t }, then: approve, approvers: { within: 10m } }
`,
  )
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
    AGENTGATE_HOME: home,
    ADMIN_URL: server.url.reveal(),
    ...more,
  }
  const digest = execFileSync(agentgate, ['policy', 'digest', '--policy', policy], { env, encoding: 'utf8' })
  const trusted = ['--policy', policy, '--policy-digest', /sha256:[0-9a-f]{64}/.exec(digest)?.[0] ?? '']
  const child = spawn(agentgate, ['broker', '--json', ...trusted], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as { event: string; addresses?: readonly string[] }
    if (said.event === 'ready') return said.addresses?.[0] ?? ''
  }
  throw new Error('the broker ended')
}

async function query(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(text)
  await client.end()
}

await main()
