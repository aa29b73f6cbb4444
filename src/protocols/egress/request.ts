import type { IncomingMessage } from 'node:http'
import type { Secret } from '../../secret.ts'
import { canonicalHost } from './hosts.ts'
import type { Refusal } from './refusal.ts'

export interface Wanted {
  readonly host: string
  readonly port: number
  /** With its query; empty for CONNECT. */
  readonly path: string
}

const noSecret: Refusal = {
  status: 407,
  message: 'this proxy needs its secret',
  hint: 'take HTTPS_PROXY as agentgate gives it',
}

/** Where CONNECT wants to go (RFC 9110 §9.3.6), or why that is not answered. */
export function readConnect(request: IncomingMessage, secret: Secret): Wanted | Refusal {
  if (!provesItself(request, secret)) return noSecret
  const match = /^(.+):(\d{1,5})$/.exec(request.url ?? '')
  const host = canonicalHost(match?.[1] ?? '')
  const port = Number(match?.[2] ?? 0)
  if (host === undefined || port < 1 || port > 65_535)
    return { status: 400, message: 'CONNECT takes a host and a port, such as example.com:443' }
  // A proxy behind could go by this one (RFC 9112 §3.2.3 wants both alike).
  if (!hostsAgree(request, host, port, null)) return disagreeing
  return { host, port, path: '' }
}

/** Where a request in absolute form wants to go (RFC 9112 §3.2.2), or why that is not answered. */
export function readAbsolute(request: IncomingMessage, secret: Secret): Wanted | Refusal {
  if (!provesItself(request, secret)) return noSecret
  const match = /^http:\/\/([^/?#@\\\s]+)([/?][^#\s]*)?$/i.exec(request.url ?? '')
  if (match === null)
    return /^https:/i.test(request.url ?? '')
      ? { status: 400, message: 'https goes through CONNECT' }
      : { status: 400, message: 'this is a proxy: a request names its whole URL, http://host/path' }
  const [, authority = '', rest = ''] = match
  const parts = /^(.*?)(?::(\d{1,5}))?$/.exec(authority)
  const host = canonicalHost(parts?.[1] ?? '')
  const port = Number(parts?.[2] ?? 80)
  if (host === undefined || port < 1 || port > 65_535) return { status: 400, message: 'the URL names no host' }
  if (!hostsAgree(request, host, port, 80)) return disagreeing
  const coding = request.headers['transfer-encoding']
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || request.headers['content-length'] !== undefined))
    return { status: 400, message: 'the length of the body is ambiguous' }
  return { host, port, path: rest.startsWith('/') ? rest : `/${rest}` }
}

const disagreeing: Refusal = { status: 403, message: 'the Host header names another host than the request line' }

/** Exactly one Host header that says the same; for CONNECT none is let pass, as HTTP/1.0 clients send none. */
function hostsAgree(request: IncomingMessage, host: string, port: number, usualPort: number | null): boolean {
  const values = valuesOf(request, 'host')
  if (values.length === 0) return usualPort === null
  const parts = /^(.*?)(?::(\d{1,5}))?$/.exec(values[0] ?? '')
  const named = parts?.[2] === undefined ? (usualPort ?? port) : Number(parts[2])
  return values.length === 1 && canonicalHost(parts?.[1] ?? '') === host && named === port
}

function valuesOf(request: IncomingMessage, name: string): readonly string[] {
  const { rawHeaders } = request
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name)
}

/** `Basic` with the secret as password, which is what clients make of a proxy's URL with a user in it; or `Bearer`. */
function provesItself(request: IncomingMessage, secret: Secret): boolean {
  const [value = '', ...more] = valuesOf(request, 'proxy-authorization')
  const match = /^(bearer|basic) +(\S+) *$/i.exec(value)
  if (match?.[1] === undefined || match[2] === undefined || more.length > 0) return false
  if (match[1].toLowerCase() === 'bearer') return secret.equals(match[2])
  const pair = Buffer.from(match[2], 'base64').toString('utf8')
  return secret.equals(pair.slice(pair.indexOf(':') + 1))
}

/** Of one connection only, or between client and proxy (RFC 9110 §7.6.1, §11.7). */
const hopByHop = new Set(
  ['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer'].concat(
    ['transfer-encoding', 'upgrade', 'host', 'expect'],
  ),
)

/** Names and values in turn, without what is of one connection only. */
export function passedHeaders(message: IncomingMessage): readonly (readonly [string, string])[] {
  const listed = new Set((message.headers.connection ?? '').split(',').map(name => name.trim().toLowerCase()))
  const passed: [string, string][] = []
  for (let index = 0; index + 1 < message.rawHeaders.length; index += 2) {
    const [name = '', value = ''] = message.rawHeaders.slice(index, index + 2)
    const key = name.toLowerCase()
    if (!hopByHop.has(key) && !listed.has(key)) passed.push([name, value])
  }
  return passed
}
