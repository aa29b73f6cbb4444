import { once } from 'node:events'
import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { AgentgateError } from '../../errors.ts'
import type { RecordedEvent } from '../../recording/event.ts'
import type { Context, Decision } from '../protocol.ts'
import type { HttpAction } from './action.ts'
import { type BodyKind, type BodyMask, Unmaskable } from './body-mask.ts'
import { EchoGuard } from './echo-guard.ts'
import { requestHeaders, responseHeaders } from './headers.ts'
import { refuse } from './refusal.ts'
import type { HttpSettings } from './settings.ts'
import { authorityOf, type UpstreamAgent } from './upstream.ts'

export interface Exchange {
  readonly context: Context
  readonly settings: HttpSettings
  readonly agent: UpstreamAgent
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Made of the decision's masks. */
  readonly mask: BodyMask
  readonly decision: Extract<Decision<HttpAction>, { kind: 'allow' }>
  /** Aborts when the client is no longer there. */
  readonly gone: AbortSignal
}

/** Headers that hold made-up values which have to come back as they are. */
const keepsValue = new Set(['set-cookie', 'etag'])

type Outcome = Pick<Extract<RecordedEvent, { kind: 'outcome' }>, 'status' | 'tag' | 'masked'>

/**
 * Carries out one allowed request: body up, answer down, each as fast as the slower side, masked and recorded on the way.
 * @throws AgentgateError where the client can still be told, as nothing of the answer has been sent
 */
export async function forward(exchange: Exchange): Promise<void> {
  const { context, response, decision, gone } = exchange
  const started = performance.now()
  let outcome: Outcome = { status: 'lost', tag: '', masked: [] }
  const upstream = send(exchange)
  try {
    outcome = await relay(exchange, await upstream.answer)
  } catch (error) {
    if (gone.aborted) outcome = { ...outcome, status: 'cancelled' }
    else if (error instanceof AgentgateError) {
      outcome = { ...outcome, status: error.code === 'TARGET_UNREACHABLE' ? 'lost' : 'error', tag: error.code }
      throw error
    } else if (response.headersSent) response.destroy()
    else refuse(response, { status: 502, message: `${context.resource.name} broke off the connection` })
  } finally {
    upstream.request.destroy()
    await context.record({
      kind: 'outcome',
      connection: context.connection,
      action: decision.event,
      rows: null,
      milliseconds: Math.round(performance.now() - started),
      ...outcome,
    })
  }
}

function send({ context, settings, agent, request, mask, decision, gone }: Exchange): {
  readonly request: ClientRequest
  readonly answer: Promise<IncomingMessage>
} {
  const { action } = decision
  const { resource } = context
  const upstream = http.request({
    agent,
    method: action.method,
    path: `${settings['base-path'] ?? ''}${action.target.sent}`,
    signal: gone,
  })
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    upstream.on('response', resolve)
    upstream.on('error', reject)
    upstream.on('upgrade', (_answer, socket) => {
      socket.destroy()
      reject(new AgentgateError('TARGET_REFUSED', `${resource.name} changed protocols unasked`))
    })
  })
  answer.catch(() => undefined)
  const headers = requestHeaders(request, action, {
    authority: authorityOf(resource),
    settings,
    credential: resource.credential,
    whole: mask.hidesAnything,
  })
  upstream.removeHeader('host')
  for (const [name, value] of headers) upstream.appendHeader(name, value)
  if (action.body.kind === 'whole') upstream.end(action.body.bytes)
  else if (action.body.kind === 'none') upstream.end()
  // A failure shows as the request's own error.
  else pipeline(request, upstream).catch(() => upstream.destroy())
  return { request: upstream, answer }
}

async function relay(exchange: Exchange, answer: IncomingMessage): Promise<Outcome> {
  const { context, response, mask, decision, gone } = exchange
  const status = answer.statusCode ?? 502
  const hasBody = decision.action.method !== 'HEAD' && status !== 204 && status !== 304
  const guard = new EchoGuard(context.resource.credential.secret?.reveal() ?? '')
  if (status === 206 && mask.hidesAnything)
    throw new Unmaskable('it is a part of something', 'the target was asked for all of it')
  const filter = hasBody ? mask.filter(bodyKindOf(answer)) : null
  const head = () =>
    response.writeHead(
      status,
      responseHeaders(answer, {
        changesLength: filter !== null,
        text: (value, name) => guard.text(keepsValue.has(name) ? value : mask.text(value, '')),
      }),
    )
  const pass = async (bytes: Buffer) => {
    if (bytes.length === 0) return
    if (!response.headersSent) head()
    await context.record({ kind: 'result', connection: context.connection, action: decision.event, bytes })
    if (!response.write(bytes)) await once(response, 'drain', { signal: gone })
  }
  if (filter?.buffers !== true) {
    head()
    response.flushHeaders()
  }
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const clean = guard.push(chunk)
    await pass(filter === null ? clean : filter.push(clean))
  }
  const rest = guard.end()
  await pass(filter === null ? rest : filter.push(rest))
  if (filter !== null) await pass(filter.end())
  if (!response.headersSent) head()
  response.end()
  const masked = [...(filter?.masked ?? []), ...(guard.found ? ['credential'] : [])]
  return { status: status < 400 ? 'ok' : 'error', tag: String(status), masked }
}

function bodyKindOf(answer: IncomingMessage): BodyKind {
  const type = answer.headers['content-type'] ?? ''
  return {
    mediaType: type.split(';', 1)[0]?.trim().toLowerCase() ?? '',
    charset: (/;\s*charset\s*=\s*"?([^\s";]+)/i.exec(type)?.[1] ?? '').toLowerCase(),
    encoding: (answer.headers['content-encoding'] ?? 'identity').trim().toLowerCase(),
  }
}
