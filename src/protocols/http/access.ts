import type { IncomingMessage } from 'node:http'
import type { Secret } from '../../secret.ts'

/** Why a request is answered without being decided on. */
export interface Turned {
  readonly status: number
  readonly message: string
  readonly hint?: string
  /** For the record and the person who looks at it; nothing of the request itself. */
  readonly note: string
}

const loopbackNames = new Set(['localhost', '127.0.0.1', '[::1]'])
/** A request that names another method or path in a header means something else to the servers that listen to it. */
const rewritingHeaders = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
]

/** Whether a request comes from a client of ours, and can be understood in one way only. Null: yes. */
export function turnAway(request: IncomingMessage, secret: Secret): Turned | null {
  if (countOf(request, 'host') !== 1 || !isLoopback(request.headers.host ?? ''))
    return { status: 403, message: 'the Host header must name this computer', note: 'a request for another host' }
  const { origin } = request.headers
  const site = request.headers['sec-fetch-site']
  if (
    (origin !== undefined && !isOwnOrigin(origin)) ||
    (site !== undefined && site !== 'none' && site !== 'same-origin')
  )
    return { status: 403, message: 'web pages may not use a tunnel', note: 'a request by a web page' }
  if (!provesItself(request.headers.authorization, secret))
    return {
      status: 401,
      message: 'this tunnel needs its secret, as Authorization: Bearer …',
      hint: 'take the URL that agentgate connect shows',
      note: 'a request without the secret of this tunnel',
    }
  const { method } = request
  if (method === 'TRACE' || method === 'TRACK')
    return { status: 405, message: `${method} would show the target's credential`, note: 'a TRACE request' }
  const names = new Set(request.rawHeaders.filter((_, index) => index % 2 === 0).map(canonicalName))
  const rewriting = rewritingHeaders.find(name => names.has(name))
  if (rewriting !== undefined)
    return {
      status: 400,
      message: `the header ${rewriting} asks for something else than the request line`,
      note: 'a request that overrides its own method or path',
    }
  const coding = request.headers['transfer-encoding']
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || request.headers['content-length'] !== undefined))
    return { status: 400, message: 'the length of the body is ambiguous', note: 'a request of ambiguous length' }
  return null
}

/** CGI and its heirs take `x_y` for `x-y`. */
export function canonicalName(name: string): string {
  return name.toLowerCase().replaceAll('_', '-')
}

function countOf(request: IncomingMessage, name: string): number {
  let count = 0
  for (let index = 0; index < request.rawHeaders.length; index += 2)
    if (request.rawHeaders[index]?.toLowerCase() === name) count++
  return count
}

/** A page that had its own name resolve to 127.0.0.1 (DNS rebinding) still sends that name. */
function isLoopback(host: string): boolean {
  return loopbackNames.has(host.toLowerCase().replace(/:\d{1,5}$/, ''))
}

function isOwnOrigin(origin: string): boolean {
  const match = /^https?:\/\/([^/]+)$/.exec(origin)
  return match?.[1] !== undefined && isLoopback(match[1])
}

/** `Bearer SECRET`, or `Basic` with the secret as password, which is what clients make of a URL with a user in it. */
function provesItself(authorization: string | undefined, secret: Secret): boolean {
  const match = /^(bearer|basic) +(\S+) *$/i.exec(authorization ?? '')
  if (match?.[1] === undefined || match[2] === undefined) return false
  if (match[1].toLowerCase() === 'bearer') return secret.equals(match[2])
  const pair = Buffer.from(match[2], 'base64').toString('utf8')
  return secret.equals(pair.slice(pair.indexOf(':') + 1))
}
