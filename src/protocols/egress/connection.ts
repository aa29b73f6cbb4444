import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { AgentgateError } from '../../errors.ts'
import type { Asker, Context, Decision } from '../protocol.ts'
import { serveHttp } from '../serve-http.ts'
import { newAction, type EgressAction, type EgressSettings } from './action.ts'
import { addressesOf, isListed, type Resolve } from './destination.ts'
import { exchange } from './exchange.ts'
import { refusalAnswer, refusalOf, refuse, type Refusal } from './refusal.ts'
import { readAbsolute, readConnect, type Wanted } from './request.ts'
import { tlsTunnel } from './tls-tunnel.ts'

const idleClientMs = 60_000

type Allowed = Extract<Decision<EgressAction>, { kind: 'allow' }>

/** One client of the proxy: a tunnel through CONNECT, or plain requests one after another. */
export class EgressConnection implements Asker<EgressAction> {
  readonly connection: Context['connection']
  readonly #client: Duplex
  readonly #context: Context
  readonly #settings: EgressSettings
  readonly #resolve: Resolve
  readonly #gone = new AbortController()

  constructor(client: Duplex, context: Context, settings: EgressSettings, resolve: Resolve) {
    this.#client = client
    this.#context = context
    this.#settings = settings
    this.#resolve = resolve
    this.connection = context.connection
  }

  /** Settles when the client's connection is closed and nothing of ours is open. */
  async serve(): Promise<void> {
    const client = this.#client
    await serveHttp({
      client,
      signal: this.#context.signal,
      idleClientMs,
      answer: async (request, response) => await this.#plain(request, response),
      connect: async (request, head) => await this.#connect(request, head),
      onGone: () => this.#gone.abort(),
      onEnd: () => client.destroy(),
      onUpgrade: () => {
        this.#note('a request to change protocols')
        client.end(refusalAnswer({ status: 501, message: 'no upgrades; TLS goes through CONNECT' }))
      },
      onMalformed: () => {
        this.#note('a malformed request')
        if (client.writable) client.end(refusalAnswer({ status: 400, message: 'the request is malformed' }))
      },
    })
  }

  async #connect(request: IncomingMessage, head: Buffer): Promise<void> {
    const client = this.#client
    const wanted = readConnect(request, this.#context.clientSecret)
    const decision = await this.#decided(wanted, { kind: 'tls' })
    if ('status' in decision) client.end(refusalAnswer(decision))
    else await tlsTunnel({ client, head, context: this.#context, decision, gone: this.#gone.signal })
  }

  async #plain(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const wanted = readAbsolute(request, this.#context.clientSecret)
    const path = 'path' in wanted ? wanted.path : ''
    const decision = await this.#decided(wanted, { kind: 'http', method: request.method ?? '', path })
    if ('status' in decision) {
      refuse(response, decision)
      return
    }
    await exchange({ request, response, context: this.#context, decision, gone: this.#gone.signal })
  }

  /** Everything that stands between a wish and a connection. Never throws for a refusal. */
  async #decided(wanted: Wanted | Refusal, request: EgressAction['request']): Promise<Allowed | Refusal> {
    if ('status' in wanted) {
      this.#note(wanted.status === 407 ? 'a request without the secret of this proxy' : 'a request that is no proxy’s')
      return wanted
    }
    const { host, port } = wanted
    const unlisted = newAction({ host, port, request, addresses: [] })
    try {
      if (!isListed(this.#settings, host, port, request.kind === 'tls' ? 443 : 80)) {
        const message = `${host}:${port} is not among the hosts that the policy lists`
        this.#context.refuse(unlisted, message)
        this.#context.commit()
        return { status: 403, message, hint: `hosts of ${this.#context.resource.name} in agentgate.yaml` }
      }
      const addresses = await addressesOf(this.#settings, host, this.#resolve)
      const action = newAction({ ...unlisted, addresses })
      const decision = await this.#context.decide(action, this)
      this.#context.commit()
      return decision.kind === 'allow' ? decision : refusalOf(decision)
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      if (error.code === 'DENIED') this.#context.refuse(unlisted, error.message)
      return refusalOf(error)
    }
  }

  holdsLocks(): boolean {
    return false
  }

  /** A proxy's client waits for its answer, which takes its time; one that leaves withdraws. */
  onHold(): AbortSignal {
    return this.#gone.signal
  }

  async revise(action: EgressAction, text: string | undefined): Promise<EgressAction> {
    if (text !== undefined) throw new AgentgateError('DENIED', 'where a client goes cannot be edited')
    const addresses = await addressesOf(this.#settings, action.host, this.#resolve)
    const same = addresses.every(address => action.addresses.includes(address))
    return same ? action : newAction({ ...action, addresses })
  }

  #note(what: string): void {
    void this.#context.record({ kind: 'note', connection: this.connection, text: `refused ${what}` })
  }
}
