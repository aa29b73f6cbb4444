import net from 'node:net'
import { AgentgateError } from '../../../src/errors.ts'
import { connectionId, type ApprovalId, type ResourceName, type ScopeName, type SessionId } from '../../../src/ids.ts'
import type { Action, Mask } from '../../../src/policy/action.ts'
import type { SqlAction } from '../../../src/protocols/postgres/analysis/analysed.ts'
import type { Analyser, ResultMasker } from '../../../src/protocols/postgres/relay/analyser.ts'
import { PostgresRelay } from '../../../src/protocols/postgres/relay/accept.ts'
import type { Asker, Context, Decision, ServedResource } from '../../../src/protocols/protocol.ts'
import type { RecordedEvent } from '../../../src/recording/event.ts'
import { Secret } from '../../../src/secret.ts'

type Verdict =
  | 'allow'
  | 'deny'
  | { readonly hold: (asker: Asker) => Promise<{ text?: string } | 'reject'> }
  /** Of an approved shape whose rows are bounded; where that cannot be, or they were too many, it is denied and says why. */
  | { readonly within: (rows: number) => boolean }

export interface TunnelOptions {
  readonly address: string
  readonly user: string
  readonly password: Secret | null
  readonly analyser: Analyser
  readonly masker: ResultMasker
  readonly decide?: (action: SqlAction) => Verdict
  readonly masks?: readonly Mask[]
  readonly tls?: ServedResource['tls']
  readonly settings?: unknown
  readonly certificate?: ServedResource['credential']['certificate']
}

export interface TestTunnel {
  readonly port: number
  readonly secret: string
  /** All events but results. */
  readonly events: RecordedEvent[]
  readonly results: Buffer[]
  keepsResults: boolean
  /** What ended connections that did not end well. */
  readonly errors: unknown[]
  masks: readonly Mask[]
  decide: (action: SqlAction) => Verdict
  generation: number
  limit: { readonly rows: number | null; readonly bytes: number | null } | null
  /** Keys of `when` that rules have. */
  readonly asks: Set<string>
  readonly shapes: Set<string>
  readonly connections: Set<net.Socket>
  revoke(error: AgentgateError): void
  close(): Promise<void>
}

const rule = { name: 'test rule', place: 'agentgate.yaml:41' }

/** The relay behind a listener, with a table in place of the policy. */
export async function openTunnel(options: TunnelOptions): Promise<TestTunnel> {
  const relay = new PostgresRelay(options.analyser, options.masker)
  const secret = new Secret('ag_test-secret-0123456789')
  const abort = new AbortController()
  const resource: ServedResource = {
    name: 'db' as ResourceName,
    kind: 'postgres',
    address: options.address,
    tls: options.tls ?? { mode: 'off', name: undefined, ca: undefined },
    settings: options.settings ?? { database: '*' },
    scope: { name: 'all' as ScopeName, settings: {} },
    credential: {
      issuer: 'static',
      user: options.user,
      secret: options.password,
      certificate: options.certificate ?? null,
      expiresAt: null,
    },
  }
  const accepted = new Set<Promise<void>>()
  let count = 0
  let event = 0
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, socket => {
    tunnel.connections.add(socket)
    socket.on('close', () => tunnel.connections.delete(socket))
    const connection = connectionId(++count)
    const deny = (message: string): Decision<never> => ({
      kind: 'deny',
      code: 'DENIED',
      message,
      rule,
      hint: undefined,
      event: ++event,
    })
    const allow = <A extends Action>(action: A, edited: boolean): Decision<A> => ({
      kind: 'allow',
      action,
      edited,
      approval: null,
      rule: null,
      masks: tunnel.masks,
      ...(tunnel.limit === null ? {} : { limit: { rule, ...tunnel.limit } }),
      event: ++event,
    })
    const context: Context = {
      session: 's_TEST' as SessionId,
      connection,
      subject: {
        principal: { name: 'maria', groups: [], source: 'os-user' },
        actor: null,
        confined: false,
        purpose: null,
        ticket: null,
      },
      resource,
      clientSecret: secret,
      signal: abort.signal,
      get generation() {
        return tunnel.generation
      },
      masks: () => tunnel.masks,
      decide: <A extends Action>(action: A, asker: Asker<A>) => {
        const verdict = tunnel.decide(action as unknown as SqlAction)
        if (verdict === 'allow') return allow(action, false)
        if (verdict === 'deny') return deny('no such thing here')
        if ('within' in verdict) {
          const tried = asker.tried?.()
          if (tried !== undefined) return deny(`held again: ${tried}`)
          if (asker.countsRows?.(action) !== true) return deny('held: its rows cannot be bounded')
          return { ...allow(action, false), withinRows: verdict.within } as Decision<A>
        }
        return (async () => {
          const signal = asker.onHold({ id: 'a_TEST' as ApprovalId, rule, approvers: 'dba', withinSeconds: 600 })
          const withdrawn = new Promise<'withdrawn'>(resolve => {
            if (signal.aborted) resolve('withdrawn')
            signal.addEventListener('abort', () => resolve('withdrawn'))
          })
          const answer = await Promise.race([verdict.hold(asker as unknown as Asker), withdrawn])
          if (answer === 'withdrawn')
            return { ...deny('withdrawn while it waited for approval'), code: 'APPROVAL_WITHDRAWN' } as Decision<A>
          if (answer === 'reject') return deny('rejected by maria: no')
          const revised = await asker.revise(action, answer.text)
          return allow(revised, answer.text !== undefined)
        })()
      },
      denies: action => tunnel.decide(action as SqlAction) === 'deny',
      refuse: () => ++event,
      asks: condition => tunnel.asks.has(condition),
      shapes: tunnel.shapes,
      commit: () => undefined,
      record: recorded => {
        if (recorded.kind === 'result') {
          if (tunnel.keepsResults) tunnel.results.push(Buffer.from(recorded.bytes))
        } else tunnel.events.push(recorded)
      },
      upstream: async () => await connect(options.address),
    }
    const done = relay.accept(socket, context).catch((error: unknown) => void tunnel.errors.push(error))
    accepted.add(done)
    void done.then(() => accepted.delete(done))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const tunnel: TestTunnel = {
    port: (server.address() as net.AddressInfo).port,
    secret: secret.reveal(),
    events: [],
    results: [],
    keepsResults: true,
    errors: [],
    masks: options.masks ?? [],
    decide: options.decide ?? (() => 'allow'),
    generation: 1,
    limit: null,
    asks: new Set(),
    shapes: new Set(),
    connections: new Set(),
    revoke: error => abort.abort(error),
    close: async () => {
      abort.abort(new AgentgateError('REVOKED', 'the test is over'))
      server.close()
      await Promise.all(accepted)
    },
  }
  return tunnel
}

async function connect(address: string): Promise<net.Socket> {
  const colon = address.lastIndexOf(':')
  const socket = address.startsWith('/')
    ? net.connect(address)
    : net.connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)), noDelay: true })
  return await new Promise((resolve, reject) => {
    socket.once('error', () =>
      reject(new AgentgateError('TARGET_UNREACHABLE', 'cannot reach db', { hint: 'start it' })),
    )
    socket.once('connect', () => {
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}
