import type http from 'node:http'
import type https from 'node:https'
import type { z } from 'zod'
import { AgentgateError, type ErrorCode } from '../errors.ts'
import { parseJson, readBounded } from '../json-body.ts'

/** A request for approval holds its statement. */
const maxBodyBytes = 1 << 20

export async function listening(server: http.Server | https.Server, listen: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      server.on('error', () => undefined)
      resolve()
    })
    listen()
  })
}

export function bearerOf(request: http.IncomingMessage): string | undefined {
  return /^Bearer ([\w.~+/=-]+)$/.exec(request.headers.authorization ?? '')?.[1]
}

export function tooOften(): AgentgateError {
  return new AgentgateError('RATE_LIMITED', 'the broker is asked too often', { hint: 'come back in a second' })
}

export function noSuchCall(): AgentgateError {
  return new AgentgateError('USAGE', 'the broker knows no such call')
}

const statuses: Partial<Record<ErrorCode, number>> = {
  RATE_LIMITED: 429,
  USAGE: 400,
  NOT_LOGGED_IN: 401,
  DENIED: 403,
  NO_SUCH_GRANT: 404,
  NO_SUCH_APPROVAL: 404,
  NO_SUCH_SESSION: 404,
  NO_SUCH_RESOURCE: 404,
  NO_SUCH_SCOPE: 404,
  POLICY_INVALID: 422,
  VERIFICATION_FAILED: 422,
  POLICY_CHANGED: 409,
  REVOKED: 409,
  EXPIRED: 409,
  TARGET_UNREACHABLE: 502,
  TARGET_REFUSED: 502,
  IDP_UNREACHABLE: 502,
  STORE_FAILED: 503,
}

/** Answers with an error. */
export function refuse(response: http.ServerResponse, error: unknown): void {
  const { code, message, hint } =
    error instanceof AgentgateError
      ? error
      : { code: 'INTERNAL' as const, message: 'the broker has a bug', hint: undefined }
  if (code === 'RATE_LIMITED') response.setHeader('retry-after', '1')
  response.setHeader('connection', 'close') // what is left of a body is nobody's next request
  send(response, statuses[code] ?? 500, { error: { code, message, ...(hint === undefined ? {} : { hint }) } })
}

export function send(response: http.ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body)
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
    })
    .end(text)
}

/** @throws AgentgateError USAGE: too large, or not what the call takes */
export async function read<T>(body: z.ZodType<T>, request: http.IncomingMessage): Promise<T> {
  const bytes = await readBounded(request, maxBodyBytes)
  if (bytes === undefined) throw new AgentgateError('USAGE', 'the body is too large')
  const content = parseJson(bytes.toString('utf8'))
  if (content === undefined) throw new AgentgateError('USAGE', 'the body is not JSON')
  const parsed = body.safeParse(content)
  if (!parsed.success) throw new AgentgateError('USAGE', 'the body is not what this call takes')
  return parsed.data
}
