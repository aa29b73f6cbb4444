import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AgentgateError } from '../../errors.ts'
import type { Context, Decision } from '../protocol.ts'
import { placeOf, type EgressAction } from './action.ts'
import { dial } from './destination.ts'
import { recordOutcome, type Outcome } from './outcome.ts'
import { refusalOf, refuse, type Refusal } from './refusal.ts'
import { passedHeaders } from './request.ts'

export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly context: Context
  readonly decision: Extract<Decision<EgressAction>, { kind: 'allow' }>
  readonly gone: AbortSignal
}

/** One plain request that was allowed: to the address that was decided on, body up, answer down. */
export async function exchange(parts: Exchange): Promise<void> {
  await recordOutcome(parts.context, parts.decision.event, async () => await carry(parts))
}

async function carry({ request, response, decision, gone }: Exchange): Promise<Outcome> {
  const { action } = decision
  const place = placeOf(action)
  let tag = ''
  let upstream: http.ClientRequest | undefined
  try {
    const socket = await dial(action.addresses, action.port, gone)
    upstream = http.request({
      agent: new OneConnection(socket),
      method: request.method,
      path: action.request.kind === 'http' ? action.request.path : '/',
      setHost: false,
      signal: gone,
    })
    const answered = once(upstream, 'response') as Promise<[IncomingMessage]>
    answered.catch(() => undefined)
    upstream.on('error', () => undefined) // whoever waits for the answer is told
    upstream.setHeader('Host', action.port === 80 ? place.replace(/:80$/, '') : place)
    for (const [name, value] of passedHeaders(request)) upstream.appendHeader(name, value)
    upstream.setHeader('Connection', 'close')
    // Not by pipeline, which would take the client's connection down with a server that answers before it has read all.
    request.pipe(upstream)
    const [answer] = await answered
    tag = String(answer.statusCode ?? 0)
    response.writeHead(answer.statusCode ?? 502, passedHeaders(answer).flat())
    await pipeline(answer, response)
    return { status: 'ok', tag }
  } catch (error) {
    if (gone.aborted) return { status: 'cancelled', tag }
    const refusal: Refusal =
      error instanceof AgentgateError ? refusalOf(error) : { status: 502, message: `${place} broke off the connection` }
    if (response.headersSent) response.destroy()
    else refuse(response, refusal)
    return { status: 'lost', tag }
  } finally {
    upstream?.destroy()
  }
}

/** Of one request only: a connection kept for one host must not serve another. */
class OneConnection extends http.Agent {
  readonly #socket: Duplex

  constructor(socket: Duplex) {
    super({ keepAlive: false })
    this.#socket = socket
  }

  override createConnection(): Duplex {
    return this.#socket
  }
}
