import http from 'node:http'
import { brokerCall } from '../control/broker-calls.ts'
import { AgentgateError } from '../errors.ts'
import type { Metrics } from './metrics.ts'
import type { Sessions } from './sessions.ts'
import type { Store } from './store.ts'

/** Counts a call when it has been answered, by its name in the API: what was asked for is whatever somebody sent. */
export function watchCall(metrics: Metrics, request: http.IncomingMessage, response: http.ServerResponse): void {
  const [pathname = ''] = (request.url ?? '').split('?')
  const call = brokerCall(request.method ?? '', pathname)?.call.id ?? 'none'
  const startedAt = performance.now()
  response.once('close', () => {
    metrics.count('calls', { call, status: response.headersSent ? String(response.statusCode) : 'left' })
    // A stream takes as long as its session.
    if (call !== 'followSession') metrics.observe('callSeconds', (performance.now() - startedAt) / 1000, { call })
  })
}

/** @param vouches the store has answered within the last seconds: asked at most once a second, whoever asks here */
export function sendHealth(response: http.ServerResponse, pathname: string, vouches: boolean): void {
  if (pathname === '/healthz') sendText(response, 200, 'application/json', '{"status":"alive"}')
  else if (vouches) sendText(response, 200, 'application/json', '{"status":"ready"}')
  else
    sendText(
      response,
      503,
      'application/json',
      JSON.stringify({ error: { code: 'STORE_FAILED', message: 'the broker’s store does not answer' } }),
    )
}

export async function sendMetrics(response: http.ServerResponse, sessions: Sessions, store: Store): Promise<void> {
  // A store that is away is what somebody wants to see here.
  const counts = await store.counts().catch((error: unknown) => {
    if (error instanceof AgentgateError) return {}
    throw error
  })
  const text = sessions.metrics.text({
    ...counts,
    tunnels: sessions.here().length,
    vouches: sessions.vouches ? 1 : 0,
  })
  sendText(response, 200, 'text/plain; version=0.0.4; charset=utf-8', text)
}

/** `GET /healthz`, `/readyz` and `/metrics` alone. */
export function serveMonitoring(sessions: Sessions, store: Store): http.Server {
  return http.createServer({ requestTimeout: 10_000 }, (request, response) => {
    const [pathname = ''] = (request.url ?? '').split('?')
    if (request.method !== 'GET') return sendText(response, 405, 'text/plain', '')
    if (pathname === '/healthz' || pathname === '/readyz') return sendHealth(response, pathname, sessions.vouches)
    if (pathname !== '/metrics') return sendText(response, 404, 'text/plain', '')
    sendMetrics(response, sessions, store).catch(() => response.destroy())
  })
}

function sendText(response: http.ServerResponse, status: number, type: string, text: string): void {
  response
    .writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store' })
    .end(text)
}
