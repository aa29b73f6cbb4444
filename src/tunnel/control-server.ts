import { chmodSync, rmSync } from 'node:fs'
import http from 'node:http'
import { z } from 'zod'
import { approvalAnswer } from '../control/schema.ts'
import type { ControlEvent } from '../control/schema.ts'
import type { SessionControl } from '../control/session-control.ts'
import { parseJson, readBounded } from '../json-body.ts'
import type { Presence } from './approval-gate.ts'

/** What the sockets serve: a session, with the presence that each answer comes with. */
export interface ServedControl extends SessionControl {
  answerAs(id: string, answer: z.infer<typeof approvalAnswer>, presence: Presence): ReturnType<SessionControl['answer']>
}

const maxBodyBytes = 1 << 20
const previewBody = z.object({ text: z.string() })
const stopBody = z.object({ reason: z.string().max(1000).optional() })

/**
 * Serves a session on its two unix sockets, which lie in a folder that only this user can enter: session.sock tells,
 * control.sock also decides.
 */
export async function serveControl(
  control: ServedControl,
  sockets: { readonly session: string; readonly control: string },
) {
  const end = new AbortController()
  const servers = await Promise.all([
    listen(createServer(control, end.signal, false), sockets.session),
    listen(createServer(control, end.signal, true), sockets.control),
  ])
  return {
    close: async (): Promise<void> => {
      end.abort()
      await Promise.all(
        servers.map(async server => {
          server.closeIdleConnections()
          const closed = new Promise<void>(resolve => server.close(() => resolve()))
          setTimeout(() => server.closeAllConnections(), 250).unref()
          await closed
        }),
      )
      for (const path of Object.values(sockets)) rmSync(path, { force: true })
    },
  }
}

async function listen(server: http.Server, path: string): Promise<http.Server> {
  rmSync(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      server.on('error', () => undefined)
      resolve()
    })
  })
  chmodSync(path, 0o600)
  return server
}

function createServer(control: ServedControl, end: AbortSignal, mayDecide: boolean): http.Server {
  return http.createServer({ requestTimeout: 10_000 }, (request, response) => {
    respond(control, end, mayDecide, request, response).catch((error: unknown) => {
      if (error instanceof BadRequest) return send(response, error.status, { error: { message: error.message } })
      if (!response.headersSent) send(response, 500, { error: { message: 'the session could not answer' } })
      else response.destroy()
    })
  })
}

class BadRequest extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

async function respond(
  control: ServedControl,
  end: AbortSignal,
  mayDecide: boolean,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://session')
  const route = `${request.method ?? 'GET'} ${pathname}`
  if (route === 'GET /v1/session') {
    send(response, 200, await control.status())
    return
  }
  if (!mayDecide) throw new BadRequest(404, 'not here: session.sock only tells')
  if (route === 'GET /v1/approvals') {
    send(response, 200, await control.approvals())
    return
  }
  if (route === 'GET /v1/events') return streamEvents(control, end, response)
  if (route === 'POST /v1/session/stop') {
    const body = stopBody.safeParse(await readJson(request))
    if (!body.success) throw new BadRequest(400, 'the body is not what this call takes')
    send(response, 202, {})
    return control.stop(body.data.reason ?? 'ended by its owner')
  }
  const match = /^POST \/v1\/approvals\/(a_[0-9A-Z]{4,32})(\/preview)?$/.exec(route)
  const id = match?.[1]
  if (id === undefined) throw new BadRequest(404, 'no such call')
  if (match?.[2] !== undefined) {
    const body = previewBody.safeParse(await readJson(request))
    if (!body.success) throw new BadRequest(400, 'the body is not what this call takes')
    send(response, 200, await control.preview(id, body.data.text))
    return
  }
  const answer = approvalAnswer.safeParse(await readJson(request))
  if (!answer.success) throw new BadRequest(400, 'the body is not what this call takes')
  send(response, 200, await control.answerAs(id, answer.data, 'socket'))
}

function send(response: http.ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body)
  response
    .writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    .end(text)
}

async function readJson(request: http.IncomingMessage): Promise<unknown> {
  const body = await readBounded(request, maxBodyBytes)
  if (body === undefined) throw new BadRequest(413, 'the body is too large')
  if (body.length === 0) return {}
  const content = parseJson(body.toString('utf8'))
  if (content === undefined) throw new BadRequest(400, 'the body is not JSON')
  return content
}

async function streamEvents(control: ServedControl, end: AbortSignal, response: http.ServerResponse): Promise<void> {
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  response.flushHeaders()
  for await (const event of control.events(AbortSignal.any([gone.signal, end]))) {
    if (!response.write(`${JSON.stringify(withoutSecrets(event))}\n`))
      await new Promise<void>(resolve => {
        response.once('drain', resolve)
        response.once('close', resolve)
      })
  }
  response.end()
}

/** A watcher of control.sock is not a client of the tunnel: it gets no way to log in to it. */
function withoutSecrets(event: ControlEvent): ControlEvent {
  return event.event === 'ready'
    ? { ...event, tunnels: event.tunnels.map(tunnel => ({ ...tunnel, url: '', env: {} })) }
    : event
}
