import { z } from 'zod'
import { AgentgateError } from '../../errors.ts'
import type { Action, ActionView } from '../../policy/action.ts'
import type { Ask } from '../protocol.ts'
import { network } from './addresses.ts'
import { canonicalHost, hostPattern } from './hosts.ts'

/** What agentgate.yaml may say of an egress resource. */
export const resourceSchema = z.object({
  /** Where clients may go. Without a port: 443 with TLS, 80 in plain HTTP. */
  hosts: z.array(hostPattern).min(1),
  /** Private networks and addresses that those names may lead to. An address among `hosts` opens itself. */
  addresses: z.array(network).optional(),
})

export type EgressSettings = z.output<typeof resourceSchema>

const hostGlobs = z
  .union([z.string(), z.array(z.string()).min(1)])
  .transform(value => (typeof value === 'string' ? [value] : value).map(host => host.toLowerCase()))

/** What `when` and `unless` may ask. */
export const whenSchema = z.object({
  /** `registry.npmjs.org`; `*.npmjs.org` is whatever lies below it. */
  host: hostGlobs.optional(),
  port: z.int().min(1).max(65_535).optional(),
})

/** A client wants to talk to a host: a TLS connection that cannot be looked into, or one plain HTTP request. */
export interface EgressAction extends Action {
  readonly kind: 'egress'
  readonly host: string
  readonly port: number
  readonly request: { readonly kind: 'tls' } | { readonly kind: 'http'; readonly method: string; readonly path: string }
  /** Where the name led when it was asked, in the order in which they are tried. */
  readonly addresses: readonly string[]
}

export function newAction(action: Omit<EgressAction, 'kind' | 'shape'>): EgressAction {
  return { kind: 'egress', shape: {}, ...action }
}

export function asEgressAction(action: Action): EgressAction {
  if (action.kind !== 'egress') throw new AgentgateError('INTERNAL', `an action of ${action.kind} came to egress`)
  return action as EgressAction
}

export function matches(when: z.output<typeof whenSchema>, action: EgressAction): boolean {
  if (when.port !== undefined && when.port !== action.port) return false
  return (
    when.host === undefined ||
    when.host.some(glob => (glob.startsWith('*.') ? action.host.endsWith(glob.slice(1)) : glob === action.host))
  )
}

export function placeOf({ host, port }: Pick<EgressAction, 'host' | 'port'>): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

export function view(action: EgressAction): ActionView {
  const { host, port, request, addresses } = action
  const place = placeOf(action)
  const verb = request.kind === 'tls' ? 'CONNECT' : request.method
  const reads = request.kind === 'http' && ['GET', 'HEAD', 'OPTIONS'].includes(request.method)
  return {
    kind: 'egress',
    summary: `${verb} ${place}`,
    text: request.kind === 'tls' ? `CONNECT ${place}` : `${request.method} http://${place}${request.path}`,
    // What goes through TLS is not seen, so it could be anything.
    effect: request.kind === 'tls' ? 'unknown' : reads ? 'read' : 'change',
    verbs: [verb],
    reads: reads ? [place] : [],
    writes: reads ? [] : [place],
    attributes: { host, port, addresses, ...(request.kind === 'http' ? { path: request.path } : {}) },
  }
}

export function ask(action: EgressAction): Ask {
  const place = placeOf(action)
  const { request } = action
  return {
    effects: [
      request.kind === 'tls'
        ? `a TLS connection to ${place}, whose content is not seen`
        : `${request.method} http://${place}${request.path}`,
      `it is at ${action.addresses.join(', ')}`,
    ],
    shapeKey: `${request.kind} ${place}`,
    askKey: `${request.kind === 'http' ? `${request.method} ${request.path} ` : ''}${place}`,
    editable: false,
  }
}

/** `CONNECT host:port` or `GET http://host/path`, as policy tests write it. @throws AgentgateError USAGE */
export function parse(text: string): EgressAction {
  const match = /^([A-Z]+) +(\S+)$/.exec(text.trim())
  const [, verb = '', target = ''] = match ?? []
  try {
    const url = new URL(verb === 'CONNECT' ? `https://${target}/` : target)
    const host = canonicalHost(url.hostname)
    if (host !== undefined && match !== null && (verb === 'CONNECT' || url.protocol === 'http:'))
      return newAction({
        host,
        port: Number(url.port === '' ? (verb === 'CONNECT' ? 443 : 80) : url.port),
        request: verb === 'CONNECT' ? { kind: 'tls' } : { kind: 'http', method: verb, path: url.pathname + url.search },
        addresses: [],
      })
  } catch {
    // said below
  }
  throw new AgentgateError('USAGE', 'egress is written as: CONNECT host:443, or GET http://host/path')
}
