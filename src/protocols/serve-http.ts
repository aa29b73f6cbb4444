import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

/** Whoever has asked for nothing by then is no client of ours. */
const firstRequestMs = 30_000
/** Pipelined (RFC 9112 §9.3.2), with the one that is being answered; a client that sends more is broken. */
export const maxWaitingRequests = 64

/** HTTP/1.1 on one connection that something else has accepted. */
export interface HttpService {
  readonly client: Duplex
  /** Of the session. Aborted from the start, the client is let in far enough to be told why. */
  readonly signal: AbortSignal
  readonly idleClientMs: number
  /** One request at a time: the next comes when this has settled and its answer is out. */
  readonly answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>
  /** `answer` sends 100 Continue itself where a request expects it; else it is sent at once. */
  readonly saysContinue?: true
  /** The client's connection is closed. */
  readonly onGone: () => void
  /** The session has ended. */
  readonly onEnd: () => void
  /** CONNECT; whoever takes it owns the socket. In its turn, as a request. */
  readonly connect?: (request: IncomingMessage, head: Buffer) => Promise<void>
  readonly onUpgrade: (event: 'connect' | 'upgrade', socket: Duplex) => void
  readonly onMalformed: (error: Error, socket: Duplex) => void
}

/**
 * Serves a connection until it is closed and nothing of ours is open.
 * @throws whatever an answer failed with that was no answer to the client; its connection is closed then
 */
export async function serveHttp(service: HttpService): Promise<void> {
  const { client, signal, connect } = service
  client.on('error', () => undefined) // its 'close' says the same
  const closed = new Promise<void>(resolve => {
    if (client.closed) resolve()
    else client.once('close', resolve)
  }).then(() => service.onGone())
  const silent = setTimeout(() => client.destroy(), firstRequestMs)
  if (!signal.aborted) signal.addEventListener('abort', service.onEnd, { once: true })

  let queue: Promise<void> = Promise.resolve()
  let waiting = 0
  const failures: unknown[] = []
  const inTurn = (work: () => Promise<void>) => {
    clearTimeout(silent)
    if (++waiting > maxWaitingRequests) {
      client.destroy()
      return
    }
    queue = queue.then(async () => {
      try {
        // Whoever left before its turn came asks for nothing any more.
        if (!client.destroyed) await work()
      } catch (error) {
        failures.push(error)
        client.destroy()
      } finally {
        waiting--
      }
    })
  }
  const request = (request: IncomingMessage, response: ServerResponse) => {
    response.on('error', () => undefined) // its 'close' says the same
    inTurn(async () => {
      await service.answer(request, response)
      if (!response.closed && !client.destroyed) await once(response, 'close')
    })
  }
  const server = http.createServer({ keepAliveTimeout: service.idleClientMs, insecureHTTPParser: false })
  server.on('request', request)
  if (service.saysContinue === true) server.on('checkContinue', request)
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (connect === undefined) service.onUpgrade('connect', socket)
    else inTurn(async () => await connect(request, head))
  })
  server.on('upgrade', (_request: IncomingMessage, socket: Duplex) => service.onUpgrade('upgrade', socket))
  server.on('clientError', service.onMalformed)
  try {
    server.emit('connection', client)
    await closed
    await queue
    if (failures.length > 0) throw failures[0]
  } finally {
    clearTimeout(silent)
    signal.removeEventListener('abort', service.onEnd)
  }
}
