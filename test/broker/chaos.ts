import pg from 'pg'
import { expect } from 'vitest'
import type { OpenedSession, OpenRequest } from '../../src/control/broker-schema.ts'
import type { ApprovalRequest } from '../../src/control/schema.ts'
import { newApprovalId } from '../../src/ids.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { app, postgres15, query, startServer, type TestServer } from '../support/servers.ts'
import { RunningBroker } from './running-broker.ts'

/** Grants that live, or may. */
export const live = `select id from agentgate.grants where state in ('minting', 'active')`
export const roles = `select rolname from pg_roles where rolname like 'agentgate\\_shop%'`
/** Brokers that wait for a lock that `holding` holds. */
export const blocked = `select from pg_stat_activity where application_name like 'agentgate%' and wait_event_type = 'Lock'`

export const openRequest: OpenRequest = {
  command: 'connect',
  resources: [{ name: 'shop', scope: 'read' }],
  ttlSeconds: null,
  actor: null,
  confined: false,
  purpose: null,
  ticket: null,
  host: 'chaos',
}

/** What a tunnel of a session would ask the broker to have decided. */
export function heldRequest({ session, grants: [grant] }: OpenedSession): ApprovalRequest {
  const now = Date.now()
  return {
    id: newApprovalId(),
    session,
    resource: grant!.resource,
    connection: 'c1',
    view: {
      ...{ kind: 'postgres', summary: 'SELECT payments', text: 'select * from payments', effect: 'read' },
      ...{ verbs: ['select'], reads: ['public.payments'], writes: [], attributes: {} },
    },
    rule: { name: 'asks', place: 'agentgate.yaml:10' },
    effects: [],
    holdsLocks: false,
    principal: 'x',
    actor: null,
    purpose: null,
    ticket: null,
    client: null,
    askedAt: new Date(now).toISOString(),
    expiresAt: new Date(now + 300_000).toISOString(),
    approvers: { groups: [], count: 1, notSelf: false },
    editable: false,
    challenge: null,
  }
}

/** A broker with a PostgreSQL that is its store and its target, to be killed at any moment. */
export class Chaos {
  readonly server: TestServer
  readonly broker: RunningBroker
  /** The store's URL. */
  readonly store: string
  readonly #owned: Owned

  private constructor(owned: Owned, server: TestServer, broker: RunningBroker, store: string) {
    this.#owned = owned
    this.server = server
    this.broker = broker
    this.store = store
  }

  static async start(): Promise<Chaos> {
    const owned = new Owned()
    const server = owned.add(await startServer(postgres15, { max_connections: '100', synchronous_commit: 'on' }))
    await server.query('create database ag_store')
    const store = server.superuserUrl('ag_store')
    const policy = `version: 1
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: postgres-role, admin: "\${env:ADMIN_URL}" }
    scopes: { read: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] } }
rules:
  - { name: asks, when: { statement: select, table: payments }, then: approve, approvers: { within: 10m } }
`
    const env = { ADMIN_URL: server.superuserUrl(), AGENTGATE_DATABASE_URL: store }
    const broker = owned.add(await RunningBroker.start(policy, env, ['--grace', '3s']))
    return new Chaos(owned, server, broker, store)
  }

  async count(text: string, values: readonly unknown[] = []): Promise<number> {
    return (await query(this.store, text, values)).length
  }

  async restart(): Promise<void> {
    await this.broker.kill()
    await this.broker.restart()
  }

  /** Tunnels are dead by now: nothing may live that nobody owns, and nobody may have been answered twice. */
  async settled(): Promise<void> {
    await until('no grant is left without an owner', async () => (await this.count(live)) === 0, 30_000)
    await until('no role outlives its grant', async () => (await this.count(roles)) === 0, 30_000)
    expect(await this.count(`select from pg_stat_activity where usename like 'agentgate\\_shop%'`)).toBe(0)
    expect(await this.count(`select from agentgate.approvals where state = 'open'`)).toBe(0)
    await this.decidedOnce()
  }

  async decidedOnce(): Promise<void> {
    const twice = `select about from agentgate.audit where kind in ('approved', 'rejected') group by about having count(*) > 1`
    expect(await this.count(twice)).toBe(0)
  }

  /** Holds something at the server until it is let go. */
  async holding(url: string, text: string): Promise<{ release(): Promise<void> }> {
    const holder = await connected(url)
    await holder.query(text)
    return { release: async () => await holder.end() }
  }

  /** Of making a role at the target. */
  async holdingTarget(): Promise<{ release(): Promise<void> }> {
    return await this.holding(
      this.server.superuserUrl(),
      `select pg_advisory_lock(hashtext('agentgate'), hashtext('shop/read'))`,
    )
  }

  /** Crash recovery of the whole server: a backend is killed (PG 15 docs §19.5), and all others go with it. */
  async crash(): Promise<void> {
    const witness = await connected(this.server.superuserUrl())
    const gone = new Promise<void>(resolve => witness.once('end', () => resolve()))
    const [backend] = await query(
      this.store,
      `select pid from pg_stat_activity where application_name like 'agentgate%' and pid <> pg_backend_pid() order by random() limit 1`,
    )
    const { rows } = await witness.query('select pg_backend_pid() as pid')
    process.kill(Number((backend ?? rows[0])['pid']), 'SIGKILL')
    await gone // before that it may still answer as if nothing had happened
    await until('PostgreSQL is back', async () =>
      query(this.store, 'select 1').then(
        () => true,
        () => false,
      ),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.close()
  }
}

/** The error of what is expected to fail, undefined where it does not. */
export async function refused(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (error: unknown) => error,
  )
}

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  return client
}
