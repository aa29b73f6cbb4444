import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Paths } from '../config/paths.ts'
import type { ApprovalAnswer, ApprovalRequest } from '../control/schema.ts'
import { AgentgateError } from '../errors.ts'
import { loadPolicy } from '../policy/load.ts'
import type { Subject } from '../policy/subject.ts'
import type { Protocol } from '../protocols/protocol.ts'
import { Secret } from '../secret.ts'
import type { Session } from '../tunnel/session.ts'
import { startSession } from '../tunnel/start.ts'
import { demoPolicy } from './demo-policy.ts'
import { startPostgres, type PostgresServer } from './postgres-server.ts'
import { shopSql } from './shop.sql.ts'
import { SqlClient, type Answer } from './sql-client.ts'

/** One thing that the demo shows, with what was sent, what came back, and whether it is so. */
export interface DemoStep {
  readonly name: string
  readonly title: string
  readonly sent: string
  readonly received: readonly Received[]
  /** What must hold for the step to have happened. */
  readonly checks: readonly Check[]
}

export type Received =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'rows'; readonly columns: Answer['columns']; readonly rows: Answer['rows'] }

export interface Check {
  readonly what: string
  readonly ok: boolean
}

export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface DemoOptions {
  readonly protocols: ReadonlyMap<string, Protocol>
  readonly subject: Subject
  readonly version: string
  readonly onProgress: (doing: string) => void
  readonly onStep: (step: DemoStep) => void
  /** Decides on what waits, for the person or by asking them. Gives what was made of it, where it was edited. */
  readonly approve: (request: ApprovalRequest, suggestion: string, session: Session) => Promise<string | undefined>
  /** Runs an agentgate command in the demo's own home, as a person would. */
  readonly agentgate: (args: readonly string[], env: Readonly<Record<string, string>>) => Promise<CommandResult>
  readonly signal: AbortSignal
}

/** The write that waits for a person, and what the demo suggests to make of it. */
export const heldWrite = {
  asked: "update payments set status = 'refunded' where id in (41, 42)",
  edited: "update payments set status = 'refunded' where id = 41",
  touches: [41, 42],
} as const

/**
 * The main job from end to end, on a server of its own, through the tunnel's own listener. Everything it makes is in
 * folders of its own, gone when it is disposed of, or killed.
 */
export class Demo implements AsyncDisposable {
  readonly #options: DemoOptions
  readonly #folder: string
  readonly #paths: Paths
  readonly #policy: string
  readonly #password = new Secret(randomBytes(15).toString('base64url'))
  #server: PostgresServer | undefined
  #session: Session | undefined
  #client: SqlClient | undefined
  #direct: SqlClient | undefined
  #failed = 0

  constructor(options: DemoOptions) {
    this.#options = options
    this.#folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-demo-'))
    chmodSync(this.#folder, 0o700)
    mkdirSync(this.home, { mode: 0o700 })
    this.#paths = new Paths({ AGENTGATE_HOME: this.home })
    this.#policy = path.join(this.#folder, 'agentgate.yaml')
  }

  get home(): string {
    return path.join(this.#folder, 'home')
  }

  get policy(): string {
    return this.#policy
  }

  /** Where a client connects, its secret included. */
  get url(): Secret {
    return new Secret(this.#opened.ready.tunnels[0]?.url ?? '')
  }

  get session(): Session {
    return this.#opened
  }

  get paths(): Paths {
    return this.#paths
  }

  /** Shows every step. @returns how many did not happen as they should. */
  async run(): Promise<number> {
    await this.#start()
    await this.#query()
    await this.#masks()
    await this.#refusal()
    await this.#approval()
    await this.#recording()
    return this.#failed
  }

  /** Opens the tunnel again, to play with. */
  async open(): Promise<Session> {
    this.#session = await this.#connect()
    return this.#session
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.close()
    this.#direct?.close()
    await this.#session?.close('the demo is over').catch(() => undefined)
    await this.#server?.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  get #opened(): Session {
    if (this.#session === undefined) throw new AgentgateError('INTERNAL', 'the demo has no session yet')
    return this.#session
  }

  async #start(): Promise<void> {
    this.#options.onProgress('starting a PostgreSQL of its own')
    const server = (this.#server = await startPostgres({
      binaries: 'embedded',
      folder: path.join(os.tmpdir(), `agentgate-servers-${process.getuid?.() ?? 0}`),
      removeWith: [this.#folder],
    }))
    this.#options.signal.throwIfAborted()
    this.#options.onProgress('filling the shop')
    const superuser = await SqlClient.connect(server.url)
    try {
      expectNoError(await superuser.query(`create role app login password '${this.#password.reveal()}'`))
      expectNoError(await superuser.query('create database shop owner app'))
    } finally {
      superuser.close()
    }
    const password = this.#password.reveal()
    this.#direct = await SqlClient.connect(new Secret(`postgresql://app:${password}@127.0.0.1:${server.port}/shop`))
    expectNoError(await this.#direct.query(shopSql()))

    this.#options.signal.throwIfAborted()
    this.#options.onProgress('opening the tunnel')
    writeFileSync(this.#policy, demoPolicy(`127.0.0.1:${server.port}`), { mode: 0o600 })
    this.#session = await this.#connect()
    this.#client = await SqlClient.connect(this.url)
    const { tunnels } = await this.#session.status()
    this.#step({
      name: 'connect',
      title: 'a tunnel to a PostgreSQL of its own',
      sent: `agentgate connect shop --policy ${this.#policy}`,
      received: [
        text(`${tunnels[0]?.label ?? ''}, as ${this.#options.subject.principal.name}, at ${tunnels[0]?.shown ?? ''}`),
      ],
      checks: [{ what: 'the tunnel accepts a client', ok: this.#client.connected }],
    })
  }

  async #connect(): Promise<Session> {
    const env = { AGENTGATE_HOME: this.home, DEMO_PASSWORD: this.#password.reveal() }
    const source = { path: this.#policy, cwd: this.#folder, env, kinds: this.#options.protocols }
    // It is the demo's own file, just written: trusted by its digest, as CI does it.
    const { digest } = await loadPolicy({ ...source, untrusted: 'accept' })
    const policy = await loadPolicy({ ...source, digest })
    return await startSession({
      command: 'connect',
      resources: [{ name: 'shop', scope: undefined }],
      policy,
      protocols: this.#options.protocols,
      subject: this.#options.subject,
      paths: this.#paths,
      env,
      ttlSeconds: undefined,
      port: undefined,
      listen: { tcp: true, unixSocket: false },
      staysAfterExpiry: false,
      argv: ['agentgate', 'demo'],
      version: this.#options.version,
      watch: undefined,
    })
  }

  async #query(): Promise<void> {
    const sql = 'select id, name, city from customers order by id limit 3'
    const [answer, direct] = [await this.#ask(sql), await this.#askDirectly(sql)]
    this.#step({
      name: 'query',
      title: 'a query passes',
      sent: sql,
      received: shown(answer),
      checks: [{ what: 'the same rows as without agentgate', ok: same(answer, direct) && answer.rows.length === 3 }],
    })
  }

  async #masks(): Promise<void> {
    const sql =
      'select c.name, c.email as reach_me_at, p.card_number from payments p join orders o on o.id = p.order_id join customers c on c.id = o.customer_id order by p.id limit 3'
    const [answer, direct] = [await this.#ask(sql), await this.#askDirectly(sql)]
    const hidden = direct.rows.flatMap(row => [row[1], row[2]])
    const seen = JSON.stringify(answer.rows)
    this.#step({
      name: 'mask',
      title: 'contact data and card numbers are masked, whatever a column is called',
      sent: sql,
      received: shown(answer),
      checks: [
        {
          what: 'names come through',
          ok: answer.rows.every((row, n) => row[0] === direct.rows[n]?.[0]) && answer.rows.length === 3,
        },
        {
          what: 'no address and no card number does',
          ok: hidden.length === 6 && hidden.every(value => typeof value === 'string' && !seen.includes(value)),
        },
      ],
    })
  }

  async #refusal(): Promise<void> {
    const sql = 'delete from orders'
    const before = await this.#askDirectly('select count(*) from orders')
    const answer = await this.#ask(sql)
    const next = await this.#ask('select count(*) from orders')
    this.#step({
      name: 'refuse',
      title: 'a DELETE without WHERE is refused, with its reason',
      sent: sql,
      received: [...shown(answer), text('and the session goes on: select count(*) from orders'), ...shown(next)],
      checks: [
        {
          what: 'refused as the policy says',
          ok: /needs a WHERE/.test(answer.error?.get('M') ?? '') && answer.error?.get('C') === '42501',
        },
        { what: 'the rows are still there', ok: same(before, await this.#askDirectly('select count(*) from orders')) },
        { what: 'the same connection answers on', ok: same(next, before) },
      ],
    })
  }

  async #approval(): Promise<void> {
    const { session } = this
    const look = `select id, status from payments where id in (${heldWrite.touches.join(', ')}) order by id`
    const before = await this.#askDirectly(look)
    const watch = new AbortController()
    const decided = this.#decide(session, watch.signal, look)
    decided.catch(() => this.#client?.close()) // nobody can answer any more: the statement must not wait
    let answer: Answer
    try {
      answer = await this.#ask(heldWrite.asked)
    } catch (error) {
      watch.abort()
      await decided // it may know why
      throw error
    }
    const { held, rowsWhileHeld, outcome, ran } = await decided
    const after = await this.#askDirectly(look)
    const changed = after.rows.filter((row, n) => row[1] !== before.rows[n]?.[1]).map(row => Number(row[0]))
    // Left to itself, the demo makes the edit that it suggests; a person may decide in any way.
    const expected =
      outcome === 'edited'
        ? ran === heldWrite.edited
          ? [41]
          : changed
        : outcome === 'approved'
          ? heldWrite.touches
          : []
    this.#step({
      name: 'approve',
      title: 'a write to payments waits for a person, who may change it',
      sent: heldWrite.asked,
      received: [
        ...answer.notices.map(notice => text(`NOTICE:  ${notice}`)),
        text(outcome === 'edited' ? `approved with an edit:  ${ran ?? ''}` : outcome),
        ...shown(answer),
        text('and straight from the server:'),
        { kind: 'rows', columns: after.columns, rows: after.rows },
      ],
      checks: [
        {
          what: 'it was held, once, and nothing ran meanwhile',
          ok: held && rowsWhileHeld !== undefined && same(rowsWhileHeld, before),
        },
        {
          what: outcome === 'edited' ? 'what ran is the edit' : 'what was decided is what happened',
          ok:
            JSON.stringify(changed) === JSON.stringify(expected) &&
            (answer.error === null) === (outcome === 'edited' || outcome === 'approved'),
        },
      ],
    })
  }

  /** Sees the request come, has it answered, and says how that ended. */
  async #decide(
    session: Session,
    signal: AbortSignal,
    look: string,
  ): Promise<{ held: boolean; rowsWhileHeld: Answer | undefined; outcome: string; ran: string | undefined }> {
    let asked = 0
    let rowsWhileHeld: Answer | undefined
    let outcome = 'not held'
    let ran: string | undefined
    let action: number | undefined
    for await (const event of session.events(AbortSignal.any([signal, this.#options.signal]))) {
      if (event.event === 'approval') {
        // It comes again only where something else has changed meanwhile, and here nothing does.
        if (++asked > 1)
          await session.answer(event.request.id, { outcome: 'reject', reason: 'asked twice' }, 'terminal')
        else {
          rowsWhileHeld = await this.#askDirectly(look)
          ran = await this.#options.approve(event.request, heldWrite.edited, session)
        }
      } else if (event.event === 'approval-ended') outcome = event.outcome
      else if (event.event === 'decision' && event.decision !== 'held') {
        if (event.decision !== 'allowed' && event.decision !== 'approved') break
        action = event.action
      } else if (event.event === 'outcome' && event.action === action) break
    }
    this.#options.signal.throwIfAborted()
    return { held: asked === 1, rowsWhileHeld, outcome, ran }
  }

  async #recording(): Promise<void> {
    const { session } = this
    this.#client?.close()
    await session.close('the demo has shown it')
    const env = { AGENTGATE_HOME: this.home }
    const replay = await this.#options.agentgate(['sessions', 'replay', session.id], env)
    const verify = await this.#options.agentgate(['sessions', 'verify', session.id], env)
    const emails = await this.#askDirectly('select email from customers')
    const firstName = (await this.#askDirectly('select name from customers where id = 1')).rows[0]?.[0] ?? null
    const lines = replay.stdout.trimEnd().split('\n')
    this.#step({
      name: 'record',
      title: 'all of it is on record, which can be replayed and verified',
      sent: `agentgate sessions replay ${session.id}; agentgate sessions verify ${session.id}`,
      received: [
        ...lines.map(text),
        ...(verify.stdout + verify.stderr).trimEnd().replaceAll('\t', '  ').split('\n').map(text),
      ],
      checks: [
        {
          what: 'the replay has what was asked and what came back',
          ok:
            replay.code === 0 &&
            /delete from orders/.test(replay.stdout) &&
            /update payments/.test(replay.stdout) &&
            firstName !== null &&
            replay.stdout.includes(firstName),
        },
        {
          what: 'and nothing that was masked',
          ok: emails.rows.every(([email]) => !replay.stdout.includes(email ?? '')),
        },
        { what: 'it is whole and unaltered', ok: verify.code === 0 && /whole and unaltered/.test(verify.stdout) },
      ],
    })
  }

  async #ask(sql: string): Promise<Answer> {
    this.#options.signal.throwIfAborted()
    if (this.#client === undefined) throw new AgentgateError('INTERNAL', 'the demo has no client yet')
    return await this.#client.query(sql)
  }

  async #askDirectly(sql: string): Promise<Answer> {
    if (this.#direct === undefined) throw new AgentgateError('INTERNAL', 'the demo has no server yet')
    return await this.#direct.query(sql)
  }

  #step(step: DemoStep): void {
    if (!step.checks.every(check => check.ok)) this.#failed += 1
    this.#options.onStep(step)
  }
}

/** The answer of a demo that nobody sits before. */
export function suggestedAnswer(suggestion: string): ApprovalAnswer {
  return { outcome: 'edit', text: suggestion, reason: 'one refund at a time' }
}

function text(line: string): Received {
  return { kind: 'text', text: line }
}

function shown(answer: Answer): readonly Received[] {
  const received: Received[] = []
  if (answer.columns.length > 0) received.push({ kind: 'rows', columns: answer.columns, rows: answer.rows })
  else if (answer.tag !== '') received.push(text(answer.tag))
  if (answer.error !== null) {
    received.push(text(`${answer.error.get('S') ?? 'ERROR'}:  ${answer.error.get('M') ?? ''}`))
    for (const [field, label] of [
      ['D', 'DETAIL'],
      ['H', 'HINT'],
    ] as const)
      if (answer.error.has(field)) received.push(text(`${label}:  ${answer.error.get(field) ?? ''}`))
  }
  return received
}

function same(one: Answer, other: Answer): boolean {
  return one.error === null && JSON.stringify([one.columns, one.rows]) === JSON.stringify([other.columns, other.rows])
}

function expectNoError(answer: Answer): void {
  if (answer.error !== null)
    throw new AgentgateError('INTERNAL', `the demo's own set-up failed: ${answer.error.get('M') ?? 'no reason given'}`)
}
