import type { ServerResponse } from 'node:http'
import type { AgentgateError } from '../../errors.ts'

/** What a client is told that is not connected. */
export interface Refusal {
  readonly status: 400 | 403 | 407 | 501 | 502 | 503
  readonly message: string
  readonly hint?: string | undefined
}

const reasons: Readonly<Record<Refusal['status'], string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  407: 'Proxy Authentication Required',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
}

/** Clients show little of what a proxy says to CONNECT, so the reason stands in a header too. */
function answerOf({ status, message, hint }: Refusal): { readonly headers: readonly [string, string][]; body: string } {
  const text = `refused by agentgate: ${message}`
  const body = `${text}${hint === undefined ? '' : `\nhint: ${hint}`}\n`
  return {
    headers: [
      ...(status === 407 ? [['Proxy-Authenticate', 'Basic realm="agentgate"'] satisfies [string, string]] : []),
      ['X-Agentgate-Refused', text.replace(/[^ -~]/g, '?')],
      ['Content-Type', 'text/plain; charset=utf-8'],
      ['Content-Length', String(Buffer.byteLength(body))],
      // What came behind it, a body of any length, is not read.
      ['Connection', 'close'],
    ],
    body,
  }
}

/** The whole answer, where there is only a socket. */
export function refusalAnswer(refusal: Refusal): string {
  const { headers, body } = answerOf(refusal)
  const lines = headers.map(([name, value]) => `${name}: ${value}`)
  return [`HTTP/1.1 ${refusal.status} ${reasons[refusal.status]}`, ...lines, '', body].join('\r\n')
}

/** Answers a request in the host's stead. */
export function refuse(response: ServerResponse, refusal: Refusal): void {
  const { headers, body } = answerOf(refusal)
  response.writeHead(refusal.status, reasons[refusal.status], headers.flat())
  response.end(body)
}

export function refusalOf({ code, message, hint }: Pick<AgentgateError, 'code' | 'message' | 'hint'>): Refusal {
  const status =
    code === 'TARGET_UNREACHABLE' || code === 'PROTOCOL'
      ? 502
      : code === 'RECORDING_FAILED' || code === 'INTERNAL'
        ? 503
        : 403
  return { status, message, hint }
}
