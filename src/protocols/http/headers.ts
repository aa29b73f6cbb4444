import type { IncomingMessage } from 'node:http'
import type { Credential } from '../../credentials/credential.ts'
import { canonicalName } from './access.ts'
import type { HttpAction } from './action.ts'
import type { HttpSettings } from './settings.ts'

/** Of one connection only (RFC 9110 §7.6.1). */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** What the client says to us, or we say in its place. */
const ours = new Set([
  'accept-encoding',
  'authorization',
  'content-length',
  'expect',
  'forwarded',
  'host',
  'origin',
  'via',
  'x-real-ip',
])

function listedBy(message: IncomingMessage): Set<string> {
  return new Set((message.headers.connection ?? '').split(',').map(name => canonicalName(name.trim())))
}

function* pairsOf(message: IncomingMessage): Generator<readonly [string, string]> {
  for (let index = 0; index + 1 < message.rawHeaders.length; index += 2)
    yield [message.rawHeaders[index] ?? '', message.rawHeaders[index + 1] ?? '']
}

export interface SentAs {
  readonly authority: string
  readonly settings: HttpSettings
  readonly credential: Credential
  /** Ask for the whole thing: part of a value cannot be recognised. */
  readonly whole: boolean
}

/** A request's headers as the target gets them: the client's own, the credential, and a length that is true. */
export function requestHeaders(request: IncomingMessage, action: HttpAction, as: SentAs): [string, string][] {
  const { settings, credential } = as
  const listed = listedBy(request)
  const credentialName = settings.header ?? 'authorization'
  const headers: [string, string][] = [['Host', as.authority]]
  for (const [name, value] of pairsOf(request)) {
    const key = canonicalName(name)
    if (hopByHop.has(key) || ours.has(key) || listed.has(key) || key === canonicalName(credentialName)) continue
    if (key.startsWith('x-forwarded-') || key.startsWith('sec-fetch-')) continue
    if (as.whole && (key === 'range' || key === 'if-range')) continue
    headers.push([name, value])
  }
  headers.push(['Accept-Encoding', 'identity'])
  headers.push(...credentialHeaders(settings, credential))
  const { body } = action
  if (body.kind === 'whole') headers.push(['Content-Length', String(body.bytes.length)])
  else if (body.kind === 'streamed')
    headers.push(body.bytes === null ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', String(body.bytes)])
  else if (!['GET', 'HEAD', 'OPTIONS', 'DELETE'].includes(action.method)) headers.push(['Content-Length', '0'])
  return headers
}

/** How the target knows us: no header where there is no secret. */
export function credentialHeaders(settings: HttpSettings, { user, secret }: Credential): [string, string][] {
  if (secret === null) return []
  const { header = 'authorization', prefix } = settings
  const value = secret.reveal()
  if (prefix !== undefined) return [[header, prefix + value]]
  if (header !== 'authorization') return [[header, value]]
  return [[header, user === null ? `Bearer ${value}` : `Basic ${Buffer.from(`${user}:${value}`).toString('base64')}`]]
}

/** An answer's headers as the client gets them, names and values in turn. `text` hides what may not be seen. */
export function responseHeaders(
  answer: IncomingMessage,
  options: { readonly changesLength: boolean; readonly text: (value: string, name: string) => string },
): string[] {
  const listed = listedBy(answer)
  const headers: string[] = []
  for (const [name, value] of pairsOf(answer)) {
    const key = name.toLowerCase()
    if (hopByHop.has(key) || listed.has(key)) continue
    // The digest of what was not sent is of no use either.
    if (
      options.changesLength &&
      ['content-length', 'content-md5', 'digest', 'content-digest', 'accept-ranges'].includes(key)
    )
      continue
    headers.push(name, options.text(value, key))
  }
  return headers
}
