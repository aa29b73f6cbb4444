import { AgentgateError } from '../errors.ts'
import { Secret } from '../secret.ts'
import { confirmAsPerson } from './browser.ts'
import type { CommandResult, RunningCommand } from './commands.ts'
import { rows, same, shown, text, texts, type DemoStep } from './demo-step.ts'
import { jonas, maria, type DemoPerson } from './identity-provider.ts'
import { SqlClient, type Answer } from './sql-client.ts'
import { Stage, type StageOptions } from './stage.ts'

/** Who sits before the demo. */
export interface Spectator {
  /** Shows what they can do now. */
  say(lines: readonly string[]): void
  /** Resolves once they press enter: the demo then does it for them. */
  enter(signal: AbortSignal): Promise<void>
}

export interface DemoOptions extends StageOptions {
  /** What comes next; its step follows when it has happened. */
  readonly onBegin: (step: Pick<DemoStep, 'title' | 'sent'>) => void
  readonly onStep: (step: DemoStep) => void
  /** Undefined: there is nobody, and the demo does everything by itself. */
  readonly spectator: Spectator | undefined
}

/** The write that waits for somebody else. */
const heldWrite = "update payments set status = 'refunded' where id in (41, 42)"
const look = 'select id, status from payments where id in (41, 42) order by id'
const roles =
  "select rolname as role, rolvaliduntil::timestamp(0) as valid_until from pg_roles where rolname like 'agentgate\\_shop\\_%'"
const slow = 'select count(*) from orders, pg_sleep(600)'
const running = `select usename as role, state, query from pg_stat_activity where query = '${slow}'`

/** The main job from end to end, by agentgate's own commands, each a process of its own. */
export class Demo implements AsyncDisposable {
  readonly #options: DemoOptions
  readonly #stage: Stage
  #session: { readonly command: RunningCommand; readonly id: string; readonly url: Secret } | undefined
  #client: SqlClient | undefined
  #failed = 0

  constructor(options: DemoOptions) {
    this.#options = options
    this.#stage = new Stage(options)
  }

  get stage(): Stage {
    return this.#stage
  }

  /** Where a client connects, its secret included; the same for every session of maria's to the shop. */
  get url(): Secret {
    return this.#opened.url
  }

  /** Shows every step. @returns how many did not happen as they should. */
  async run(): Promise<number> {
    await this.#stage.open()
    const other = await this.#logInUnseen(jonas)
    await this.#login()
    await this.#connect()
    await this.#query()
    await this.#masks()
    await this.#refusal()
    await other.finished
    await this.#approval()
    await this.#revocation()
    await this.#recording()
    return this.#failed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.close()
    await this.#stage[Symbol.asyncDispose]()
  }

  get #opened() {
    if (this.#session === undefined) throw new AgentgateError('INTERNAL', 'the demo has no session yet')
    return this.#session
  }

  /** Somebody else at a machine of their own: the code is confirmed, the login not yet over. */
  async #logInUnseen(person: DemoPerson): Promise<RunningCommand> {
    const command = this.#stage.commands.start(['login'], this.#stage.env(person.id))
    await confirmAsPerson(await this.#code(command), person)
    return command
  }

  /** @throws AgentgateError where the login ends without one */
  async #code(command: RunningCommand): Promise<string> {
    const ended = command.finished.then(({ stderr }) => {
      throw new AgentgateError('LOGIN_FAILED', `the demo's own login failed: ${stderr.trim()}`)
    })
    ended.catch(() => undefined)
    return await Promise.race([this.#stage.provider.nextCode(), ended])
  }

  async #login(): Promise<void> {
    const { spectator } = this.#options
    this.#begin({ title: 'you log in: to a company’s identity provider, with a code', sent: 'agentgate login' })
    spectator?.say(['confirm the code in a browser; without one press enter, and the demo does it', ''])
    const terminal = spectator === undefined ? 'none' : 'output'
    const command = this.#stage.commands.start(['login'], this.#stage.env('maria'), terminal)
    const address = this.#code(command)
    address.catch(() => undefined)
    const confirm = async () => await confirmAsPerson(await address, maria)
    if (spectator === undefined) await confirm()
    else await this.#orByEnter(command.finished, confirm)
    const { code, stdout, stderr } = await command.finished
    this.#options.signal.throwIfAborted()
    // Why stands above, where the person sees what it says.
    if (code !== 0)
      throw new AgentgateError('LOGIN_FAILED', 'you did not log in', { hint: 'once more: agentgate demo' })
    const who = await this.#run('maria', ['whoami'])
    this.#step({
      name: 'login',
      title: 'you log in: to a company’s identity provider, with a code',
      sent: 'agentgate login',
      received: [...texts(stderr), ...texts(stdout)],
      checks: [
        {
          what: `you are ${maria.email}, of group support`,
          ok: /^maria@shop\.example {2}\(support\)/.test(who.stdout),
        },
      ],
    })
  }

  async #connect(): Promise<void> {
    const before = await this.#direct(roles)
    const args = ['connect', 'shop', '--json', '--show-secrets']
    const command = this.#stage.commands.start(args, this.#stage.env('maria'))
    this.#session = await command.event(event => {
      const [tunnel] = Array.isArray(event['tunnels']) ? (event['tunnels'] as { url?: unknown }[]) : []
      if (event['event'] !== 'ready' || typeof event['session'] !== 'string' || typeof tunnel?.url !== 'string') return
      return { command, id: event['session'], url: new Secret(tunnel.url) }
    }, this.#options.signal)
    this.#client = await SqlClient.connect(this.url)
    const after = await this.#direct(roles)
    this.#step({
      name: 'connect',
      title: 'a tunnel: the broker makes a role that lives as long as you need it',
      sent: 'agentgate connect shop',
      received: [text('and in the server’s pg_roles there is now'), rows(after)],
      checks: [
        { what: 'the tunnel accepts a client', ok: this.#client.connected },
        { what: 'its role was not there before, and has an end', ok: before.rows.length === 0 && isOneWithEnd(after) },
      ],
    })
  }

  async #query(): Promise<void> {
    const sql = 'select id, name, city from customers order by id limit 3'
    const [answer, direct] = [await this.#ask(sql), await this.#direct(sql)]
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
    const [answer, direct] = [await this.#ask(sql), await this.#direct(sql)]
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
    const count = 'select count(*) from orders'
    const before = await this.#direct(count)
    const answer = await this.#ask(sql)
    const next = await this.#ask(count)
    this.#step({
      name: 'refuse',
      title: 'a DELETE without WHERE is refused, with its reason',
      sent: sql,
      received: [...shown(answer), text(`and the session goes on: ${count}`), ...shown(next)],
      checks: [
        {
          what: 'refused as the policy says',
          ok: /needs a WHERE/.test(answer.error?.get('M') ?? '') && answer.error?.get('C') === '42501',
        },
        { what: 'the rows are still there', ok: same(before, await this.#direct(count)) },
        { what: 'the same connection answers on', ok: same(next, before) },
      ],
    })
  }

  async #approval(): Promise<void> {
    const { spectator, signal } = this.#options
    const { command } = this.#opened
    this.#begin({ title: 'a write to payments waits for somebody else', sent: heldWrite })
    const before = await this.#direct(look)
    const asking = this.#ask(heldWrite)
    asking.catch(() => undefined)
    const id = await command.event(event => requestOf(event), signal)
    const meanwhile = await this.#direct(look)
    const decided = command.event(
      event => (event['event'] === 'approval-ended' && event['id'] === id ? event : undefined),
      signal,
    )
    const inSecondTerminal = `sh ${this.#stage.script('jonas')} approvals`
    const approve = async () => {
      const { code, stderr } = await this.#run('jonas', ['approvals', 'approve', id, '--reason', 'both came back'])
      if (code !== 0) throw new AgentgateError('INTERNAL', `the demo's own approval failed: ${stderr.trim()}`)
    }
    if (spectator === undefined) await approve()
    else {
      spectator.say([
        'it is waiting: only a dba may say yes, and not whoever asks. In a second terminal, be jonas (dba):',
        '',
        `    ${inSecondTerminal}`,
        '',
        'without a second terminal press enter, and the demo approves as jonas',
      ])
      await this.#orByEnter(decided, approve)
    }
    const end = await decided
    const answer = await asking
    const after = await this.#direct(look)
    const [outcome, by] = [String(end['outcome']), typeof end['by'] === 'string' ? end['by'] : null]
    const changed = after.rows.filter((row, n) => row[1] !== before.rows[n]?.[1]).length
    this.#step({
      name: 'approve',
      title: 'a write to payments waits for somebody else',
      sent: heldWrite,
      received: [
        ...answer.notices.map(notice => text(`NOTICE:  ${notice}`)),
        text(`${outcome} by ${by ?? 'nobody'}, in a terminal of their own`),
        ...shown(answer),
        text('and straight from the server:'),
        rows(after),
      ],
      checks: [
        { what: 'nothing ran while it waited', ok: same(meanwhile, before) },
        { what: 'somebody else decided', ok: by === jonas.email },
        {
          what: 'what was decided is what happened',
          // Left to itself, the demo approves; a person may decide in any way.
          ok:
            outcome === 'approved'
              ? changed === 2 && answer.error === null
              : spectator !== undefined && (outcome === 'edited' || changed === 0),
        },
      ],
    })
  }

  async #revocation(): Promise<void> {
    const { command, id } = this.#opened
    const asking = this.#ask(slow).then(
      answer => answer.error?.get('M') ?? 'it was answered',
      (error: unknown) => (error instanceof Error ? error.message : 'it ended'),
    )
    const before = await this.#seenWhile(asking, running)
    const grants = await this.#run('broker', ['grants', 'list', '--json'])
    const grant = /"grant":"(g_[0-9A-Z]+)","session":"([^"]+)"/.exec(grants.stdout)
    const args = ['grants', 'revoke', grant?.[1] ?? '', '--reason', 'laptop lost']
    const start = performance.now()
    const revoking = this.#run('broker', args)
    const said = await asking
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    const revoked = await revoking
    const [left, gone] = [await this.#direct(running), await this.#direct(roles)]
    const { code, stderr } = await command.finished
    this.#step({
      name: 'revoke',
      title: 'an administrator takes it all back, under a statement that runs',
      sent: `agentgate ${args.slice(0, 3).join(' ')} --reason "laptop lost"`,
      received: [
        text('it ran:'),
        rows(before),
        ...texts(revoked.stdout + revoked.stderr),
        text(`the client, ${seconds} s later (the command's own start included):  ${said}`),
        ...texts(stderr),
      ],
      checks: [
        { what: 'it was this session’s grant', ok: revoked.code === 0 && grant?.[2] === id },
        {
          what: 'the statement ended, and nothing of it is left at the server',
          ok: before.rows.length === 1 && left.rows.length === 0,
        },
        { what: 'its role is gone from pg_roles', ok: gone.error === null && gone.rows.length === 0 },
        { what: 'the tunnel has closed, and said why (exit code 8)', ok: code === 8 && stderr.includes('laptop lost') },
      ],
    })
    this.#client?.close()
  }

  async #recording(): Promise<void> {
    const { id } = this.#opened
    const replay = await this.#run('maria', ['sessions', 'replay', id])
    const verify = await this.#run('maria', ['sessions', 'verify', id])
    const emails = await this.#direct('select email from customers')
    const firstName = (await this.#direct('select name from customers where id = 1')).rows[0]?.[0] ?? null
    this.#step({
      name: 'record',
      title: 'all of it is on record, which can be replayed and verified',
      sent: `agentgate sessions replay ${id}; agentgate sessions verify ${id}`,
      received: [...replay.stdout.trimEnd().split('\n').map(text), ...texts(verify.stdout + verify.stderr)],
      checks: [
        {
          what: 'the replay has what was asked, who approved it, and what came back',
          ok:
            replay.code === 0 &&
            ['delete from orders', 'update payments', 'pg_sleep', jonas.email].every(word =>
              replay.stdout.includes(word),
            ) &&
            firstName !== null &&
            replay.stdout.includes(firstName),
        },
        {
          what: 'and nothing that was masked',
          ok: emails.rows.length > 0 && emails.rows.every(([email]) => !replay.stdout.includes(email ?? '')),
        },
        { what: 'it is whole and unaltered', ok: verify.code === 0 && /whole and unaltered/.test(verify.stdout) },
      ],
    })
  }

  /** Waits for what the person does, or for enter, on which the demo does it for them. */
  async #orByEnter(done: Promise<unknown>, instead: () => Promise<void>): Promise<void> {
    const { spectator, signal } = this.#options
    if (spectator === undefined) return
    const over = new AbortController()
    const entered = spectator.enter(AbortSignal.any([signal, over.signal])).then(
      () => true,
      () => false, // it was done, or the demo is over
    )
    const finished = done.then(
      () => false,
      () => false, // whoever waits for it is told
    )
    const first = await Promise.race([entered, finished])
    over.abort()
    signal.throwIfAborted()
    if (first) await instead()
  }

  async #run(whose: 'broker' | 'maria' | 'jonas', args: readonly string[]): Promise<CommandResult> {
    this.#options.signal.throwIfAborted()
    return await this.#stage.commands.run(args, this.#stage.env(whose))
  }

  async #ask(sql: string): Promise<Answer> {
    this.#options.signal.throwIfAborted()
    if (this.#client === undefined) throw new AgentgateError('INTERNAL', 'the demo has no client yet')
    return await this.#client.query(sql)
  }

  async #direct(sql: string): Promise<Answer> {
    return await this.#stage.direct.query(sql)
  }

  /** Asks until there are rows, or until what makes them is over. */
  async #seenWhile(lasting: Promise<unknown>, sql: string): Promise<Answer> {
    const state = { over: false }
    void lasting.then(() => (state.over = true))
    for (;;) {
      const answer = await this.#direct(sql)
      if (answer.rows.length > 0 || state.over) return answer
      this.#options.signal.throwIfAborted()
    }
  }

  #begin(step: Pick<DemoStep, 'title' | 'sent'>): void {
    this.#options.onBegin(step)
  }

  #step(step: DemoStep): void {
    if (!step.checks.every(check => check.ok)) this.#failed += 1
    this.#options.onStep(step)
  }
}

function requestOf(event: Readonly<Record<string, unknown>>): string | undefined {
  const request = event['request']
  if (event['event'] !== 'approval' || typeof request !== 'object' || request === null || !('id' in request)) return
  return typeof request.id === 'string' ? request.id : undefined
}

function isOneWithEnd(answer: Answer): boolean {
  return answer.rows.length === 1 && typeof answer.rows[0]?.[1] === 'string'
}
