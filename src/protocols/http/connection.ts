import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { AgentgateError } from '../../errors.ts'
import { Hasher } from '../../masking/hasher.ts'
import type { Mask } from '../../policy/action.ts'
import type { Asker, Context } from '../protocol.ts'
import { serveHttp } from '../serve-http.ts'
import { turnAway } from './access.ts'
import { newAction, type HttpAction, type RequestBody } from './action.ts'
import { BodyMask } from './body-mask.ts'
import { forward } from './forward.ts'
import { AmbiguousTarget, readTarget, type Target } from './path.ts'
import { endedBy, rawRefusal, refusalOf, refuse } from './refusal.ts'
import { settingsOf, type HttpSettings } from './settings.ts'
import { connectUpstream, UpstreamAgent } from './upstream.ts'

/** Bodies up to here are read before the decision: approvers and the record see them whole. */
const maxShownBodyBytes = 64 * 1024
/** A refused request's body up to here is read and forgotten, so that the connection can go on. */
const maxDroppedBodyBytes = 1024 * 1024
const idleClientMs = 60_000

/** One client connection: its requests are decided and answered one after another. */
export class HttpConnection implements Asker<HttpAction> {
  readonly connection: Context['connection']
  readonly #client: Duplex
  readonly #context: Context
  readonly #edit: (action: HttpAction, text: string) => HttpAction
  readonly #settings: HttpSettings
  readonly #agent: UpstreamAgent
  /** The masks of the last decision, prepared. */
  #mask: { readonly masks: readonly Mask[]; readonly prepared: BodyMask } | undefined
  #gone = new AbortController()
  #answering: ServerResponse | undefined

  /** @param edit what an approver's text makes of an action; throws AgentgateError where it cannot stand in for it */
  constructor(client: Duplex, context: Context, edit: (action: HttpAction, text: string) => HttpAction) {
    this.#client = client
    this.#context = context
    this.#edit = edit
    this.connection = context.connection
    this.#settings = settingsOf(context.resource.settings)
    this.#agent = new UpstreamAgent(
      async () => await connectUpstream(context.resource, async () => await context.upstream()),
    )
  }

  /** Settles when the client's connection is closed and nothing of ours is open. */
  async serve(): Promise<void> {
    try {
      await serveHttp({
        client: this.#client,
        signal: this.#context.signal,
        idleClientMs,
        saysContinue: true,
        answer: async (request, response) => await this.#answerNext(request, response),
        onGone: () => this.#gone.abort(),
        onEnd: () => this.#end(),
        onUpgrade: (event, socket) => {
          this.#note('a request to change protocols')
          socket.end(rawRefusal({ status: 501, message: `plain requests only, no ${event}` }))
        },
        onMalformed: (error, socket) => this.#malformed(error, socket),
      })
    } finally {
      this.#agent.destroy()
    }
  }

  #malformed(error: Error, socket: Duplex): void {
    if (!socket.writable || this.#answering?.headersSent === true) {
      socket.destroy()
      return
    }
    this.#note('a malformed request')
    const tooLong = 'code' in error && error.code === 'HPE_HEADER_OVERFLOW'
    socket.end(
      rawRefusal(
        tooLong
          ? { status: 431, message: 'the headers are too long' }
          : { status: 400, message: 'the request is malformed' },
      ),
    )
  }

  /** The session is over: whoever still waits for an answer gets that as one. */
  #end(): void {
    const response = this.#answering
    if (response === undefined || response.headersSent) this.#client.destroy()
    else {
      response.setHeader('connection', 'close')
      response.once('finish', () => this.#client.end())
      refuse(response, endedBy(this.#context.signal))
    }
    this.#gone.abort()
  }

  async #answerNext(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    this.#gone = gone
    this.#answering = response
    const over = () => {
      gone.abort()
      this.#answering = undefined
    }
    if (response.closed) over()
    else response.once('close', over)
    try {
      await this.#answer(request, response, gone.signal)
    } catch (error) {
      if (error instanceof AgentgateError && !response.headersSent) refuse(response, refusalOf(error))
      else response.destroy()
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse, gone: AbortSignal): Promise<void> {
    const turned = turnAway(request, this.#context.clientSecret)
    if (turned !== null) {
      this.#note(turned.note)
      response.setHeader('connection', 'close')
      if (turned.status === 401) response.setHeader('www-authenticate', 'Bearer realm="agentgate"')
      refuse(response, turned)
      return
    }
    const target = targetOf(request)
    if (target instanceof AmbiguousTarget) {
      this.#note('a request for an ambiguous path')
      refuse(response, { status: 400, message: target.message })
      return
    }
    const action = newAction(request.method ?? '', target, mediaTypeOf(request), await readBody(request, response))
    const decision = await this.#context.decide(action, this)
    this.#context.commit()
    if (decision.kind === 'deny') {
      if (action.body.kind === 'streamed' && (action.body.bytes ?? Infinity) > maxDroppedBodyBytes)
        response.setHeader('connection', 'close')
      refuse(response, { ...decision, status: decision.code === 'RECORDING_FAILED' ? 503 : 403 })
      return
    }
    if (action.body.kind === 'streamed') sayContinue(request, response)
    await forward({
      context: this.#context,
      settings: this.#settings,
      agent: this.#agent,
      request,
      response,
      mask: this.#prepared(decision.masks),
      decision,
      gone,
    })
  }

  #prepared(masks: readonly Mask[]): BodyMask {
    if (this.#mask?.masks !== masks) {
      const { maskKey } = this.#context.resource
      this.#mask = { masks, prepared: new BodyMask(masks, maskKey === undefined ? null : new Hasher(maskKey)) }
    }
    return this.#mask.prepared
  }

  holdsLocks(): boolean {
    return false
  }

  /** HTTP has no word for waiting that clients understand: the answer takes its time. A client that leaves withdraws. */
  onHold(): AbortSignal {
    return this.#gone.signal
  }

  revise(action: HttpAction, text: string | undefined): Promise<HttpAction> {
    return new Promise(resolve => resolve(text === undefined ? action : this.#edit(action, text)))
  }

  #note(what: string): void {
    void this.#context.record({ kind: 'note', connection: this.connection, text: `refused ${what}` })
  }
}

function targetOf(request: IncomingMessage): Target | AmbiguousTarget {
  try {
    return readTarget(request.url ?? '')
  } catch (error) {
    if (error instanceof AmbiguousTarget) return error
    throw error
  }
}

function mediaTypeOf(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

function sayContinue(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers.expect !== undefined) response.writeContinue()
}

async function readBody(request: IncomingMessage, response: ServerResponse): Promise<RequestBody> {
  if (request.headers['transfer-encoding'] !== undefined) return { kind: 'streamed', bytes: null }
  const length = Number(request.headers['content-length'] ?? '0')
  if (length === 0) return { kind: 'none' }
  if (length > maxShownBodyBytes) return { kind: 'streamed', bytes: length }
  sayContinue(request, response)
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return { kind: 'whole', bytes: Buffer.concat(chunks) }
}
