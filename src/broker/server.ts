import { chmodSync, rmSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'
import type { Paths } from '../config/paths.ts'
import { brokerCall, type CallAsking } from '../control/broker-calls.ts'
import * as schema from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import type { CompiledPolicy } from '../policy/compile.ts'
import { auditor, callerCalls } from './caller-calls.ts'
import { Callers, type Door } from './callers.ts'
import { listening, noSuchCall, read, refuse, send } from './http.ts'
import { sendHealth, sendMetrics, serveMonitoring, watchCall } from './monitoring.ts'
import { sessionCalls, type Asked, type Desks } from './session-calls.ts'

export interface ServerOptions extends Desks {
  readonly paths: Paths
  /** Where it started by itself: what this user's own processes say to it. */
  readonly own?: OwnCalls
}

export interface OwnCalls {
  about(): Promise<schema.OwnBroker>
  adopt(adopted: schema.Adoption): Promise<void>
  retire(): Promise<boolean>
}

export interface TcpPlace {
  readonly host: string
  readonly port: number
  readonly certificate: Buffer
  readonly key: Buffer
}

/** The broker's HTTP API. Whoever opens a listener closes the server. */
export class BrokerServer {
  readonly #options: ServerOptions
  readonly #callers: Callers
  readonly #servers: { readonly server: http.Server | https.Server; readonly socket?: string }[] = []
  readonly #end = new AbortController()

  constructor(options: ServerOptions) {
    this.#options = options
    this.#callers = new Callers(options.sessions, options.store, options.paths)
  }

  /** When somebody last asked something. */
  askedAt = performance.now()

  /** Whoever can open it is this user; `ask`: may look and ask, and neither approve nor end. */
  async listenUnix(socket: string, rights: 'administer' | 'ask' = 'administer'): Promise<void> {
    rmSync(socket, { force: true })
    const server = http.createServer({ requestTimeout: 10_000 }, this.#handler(rights))
    await listening(server, () => server.listen(socket))
    chmodSync(socket, 0o600)
    this.#servers.push({ server, socket })
  }

  /** Always TLS. Returns the port. */
  async listenTcp(place: TcpPlace): Promise<number> {
    const server = https.createServer(
      { cert: place.certificate, key: place.key, requestTimeout: 10_000, minVersion: 'TLSv1.2' },
      this.#handler('network'),
    )
    await listening(server, () => server.listen(place.port, place.host))
    this.#servers.push({ server })
    return (server.address() as net.AddressInfo).port
  }

  /** For scrapers and load balancers: without TLS, and nothing but health, readiness and metrics. Returns the port. */
  async listenMonitoring(host: string, port: number): Promise<number> {
    const server = serveMonitoring(this.#options.sessions, this.#options.store)
    await listening(server, () => server.listen(port, host))
    this.#servers.push({ server })
    return (server.address() as net.AddressInfo).port
  }

  async close(): Promise<void> {
    this.#end.abort()
    await Promise.all(
      this.#servers.map(async ({ server, socket }) => {
        server.closeAllConnections()
        await new Promise<void>(resolve => server.close(() => resolve()))
        if (socket !== undefined) rmSync(socket, { force: true })
      }),
    )
  }

  #handler(door: Door): http.RequestListener {
    const { metrics } = this.#options.sessions
    return (request, response) => {
      this.askedAt = performance.now()
      watchCall(metrics, request, response)
      this.#respond(door, request, response).catch((error: unknown) => {
        metrics.count('errors', { code: error instanceof AgentgateError ? error.code : 'INTERNAL' })
        if (response.headersSent) response.destroy()
        else refuse(response, error)
      })
    }
  }

  async #respond(door: Door, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://broker')
    const method = request.method ?? 'GET'
    const found = brokerCall(method, pathname)
    if (found?.call.asks === 'anyone') {
      await this.#tellAnyone(found.call.id, door, request, response)
      return
    }
    if (found?.call.asks === 'session') {
      await this.#callers.session(found.ids.session, request)
      const answered = await sessionCalls[found.call.id](this.#options, this.#asked(found, request, response) as never)
      answer(response, answered)
      return
    }
    if (door === 'ask' && method !== 'GET' && found?.call.id !== 'ask')
      throw new AgentgateError('DENIED', 'this socket tells and takes questions; who administers uses control.sock')
    const caller = await this.#callers.caller(door, request)
    if (door === 'administer' && (await this.#ofOwner(`${method} ${pathname}`, request, response))) return
    if (found === undefined) throw noSuchCall()
    const administersUnder = async (policy: CompiledPolicy) =>
      await this.#callers.administersUnder(policy, door, request)
    const about = { caller, query, administersUnder, end: this.#end.signal }
    const asked = { ...this.#asked(found, request, response), ...about }
    answer(response, await callerCalls[found.call.id](this.#options, asked as never))
  }

  /**
   * The body is read where a handler asks for it: who may not ask is told that first. It is as the handler's own call has it,
   * which TypeScript does not follow from one table to the other: hence `as never` above.
   */
  #asked(
    { call, ids }: NonNullable<ReturnType<typeof brokerCall>>,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Asked<unknown> {
    return { ids, response, body: async () => ('body' in call ? await read<unknown>(call.body, request) : undefined) }
  }

  async #tellAnyone(
    id: CallAsking<'anyone'>,
    door: Door,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    const { sessions, store, witness } = this.#options
    switch (id) {
      case 'isAlive':
      case 'isReady':
        sendHealth(response, id === 'isAlive' ? '/healthz' : '/readyz', sessions.vouches)
        return
      case 'metrics':
        // Anyone's only where monitoring listens for itself.
        auditor(await this.#callers.caller(door, request))
        await sendMetrics(response, sessions, store)
        return
      case 'witnessKey':
        send(response, 200, witness.key())
        return
      case 'issuers': {
        const issuers = sessions.policy.policy.declaration.issuers.map(({ issuer, audience, clientId, scopes }) => ({
          issuer,
          audience,
          clientId,
          scopes: scopes ?? null,
        }))
        send(response, 200, { issuers })
        return
      }
      default:
        id satisfies never
    }
  }

  /** Whether it was one of those. */
  async #ofOwner(route: string, request: http.IncomingMessage, response: http.ServerResponse): Promise<boolean> {
    const { own } = this.#options
    if (own === undefined) return false
    if (route === 'GET /v1/own') send(response, 200, await own.about())
    else if (route === 'POST /v1/own/retire') send(response, 200, { retired: await own.retire() })
    else if (route === 'POST /v1/own/sessions') {
      await own.adopt(await read(schema.adoption, request))
      send(response, 200, { sessions: 1 })
    } else return false
    return true
  }
}

function answer(response: http.ServerResponse, body: object | undefined): void {
  if (body !== undefined) send(response, 200, body)
}
