import type { ServerResponse } from 'node:http'
import { AgentgateError } from '../../errors.ts'
import type { RuleRef } from '../../policy/action.ts'

/** What a client is told that gets no answer of the target. */
export interface Refusal {
  readonly status: number
  readonly message: string
  readonly rule?: RuleRef | null | undefined
  readonly hint?: string | undefined
}

function bodyOf({ message, rule, hint }: Refusal): string {
  return `${JSON.stringify({
    error: {
      message: `refused by agentgate: ${message}`,
      rule: rule === null || rule === undefined ? null : `${rule.name} (${rule.place})`,
      hint: hint ?? null,
    },
  })}\n`
}

/** Answers in the target's stead; does nothing where an answer has begun. */
export function refuse(response: ServerResponse, refusal: Refusal): void {
  if (response.headersSent || response.destroyed) return
  const body = bodyOf(refusal)
  response.writeHead(refusal.status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  })
  response.end(body)
}

/** The same where there is only a socket. */
export function rawRefusal(refusal: Refusal): string {
  const body = bodyOf(refusal)
  const reason =
    refusal.status === 400
      ? 'Bad Request'
      : refusal.status === 431
        ? 'Request Header Fields Too Large'
        : 'Not Implemented'
  return (
    `HTTP/1.1 ${refusal.status} ${reason}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  )
}

export function refusalOf(error: AgentgateError): Refusal {
  return { status: statusOf(error), message: error.message, hint: error.hint }
}

function statusOf(error: AgentgateError): number {
  switch (error.code) {
    case 'TARGET_UNREACHABLE':
    case 'TARGET_REFUSED':
    case 'TLS_FAILED':
    case 'PROTOCOL':
      return 502
    case 'RECORDING_FAILED':
      return 503
    case 'INTERNAL':
      return 500
    default:
      return 403
  }
}

/** Why the session is over. */
export function endedBy(signal: AbortSignal): Refusal {
  return signal.reason instanceof AgentgateError
    ? refusalOf(signal.reason)
    : { status: 403, message: 'the session was closed' }
}
