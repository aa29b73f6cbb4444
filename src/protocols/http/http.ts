import { request as newRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import { z } from 'zod'
import { AgentgateError } from '../../errors.ts'
import type { Action, ActionView, Mask } from '../../policy/action.ts'
import { certificateEnd } from '../../config/tls.ts'
import type { Context, Endpoint, Listening, Probed, Protocol, ServedResource } from '../protocol.ts'
import {
  asHttpAction,
  askOf,
  matchesRequest,
  parseRequest,
  viewRequest,
  whenSchema,
  type HttpAction,
} from './action.ts'
import { BodyMask } from './body-mask.ts'
import { HttpConnection } from './connection.ts'
import { BodyDecoder } from './decoder.ts'
import { credentialHeaders } from './headers.ts'
import { resourceSchema, settingsOf } from './settings.ts'
import { authorityOf, connectUpstream, UpstreamAgent } from './upstream.ts'

const probeTimeoutMs = 10_000
/** Who a client says it is in a URL; only the secret behind it counts. */
const urlUser = 'agentgate'

/** HTTP/1.1 APIs: a reverse proxy that decides on method and path, and puts the target's credential in. */
export const http: Protocol = {
  kind: 'http',
  label: 'HTTP',
  defaultPort: 8080,
  targetPort: tls => (tls === 'off' ? 80 : 443),
  socketName: 'http.sock',
  resourceSchema,
  scopeSchema: z.object({}),
  whenSchema,
  matches: (when, action, doubt) => matchesRequest(when as z.output<typeof whenSchema>, asHttpAction(action), doubt),
  varies: () => false,
  view,
  parse: text => new Promise(resolve => resolve(parseRequest(text))),
  ask: action => askOf(asHttpAction(action)),
  decoder: () => new BodyDecoder(),
  prepare: resource => new Promise(resolve => resolve(void settingsOf(resource.settings))),
  probe,
  endpoint,
  accept,
}

/** Only what is made of immutable masks, and gone with them. */
const prepared = new WeakMap<readonly Mask[], BodyMask>()

function view(action: Action, masks: readonly Mask[]): ActionView {
  let mask = prepared.get(masks)
  if (mask === undefined) prepared.set(masks, (mask = new BodyMask(masks, null)))
  const known = mask
  return viewRequest(asHttpAction(action), (text, mediaType) => known.text(text, mediaType))
}

async function accept(client: Duplex, context: Context): Promise<void> {
  const edit = (action: HttpAction, text: string) => {
    const masks = context.masks()
    // What an approver has not seen would be sent as the marker that stood for it.
    if (view(action, masks).text !== view(action, []).text)
      throw new AgentgateError('DENIED', 'the request holds masked values and cannot be edited')
    return parseRequest(text, action.mediaType === '' ? undefined : action.mediaType)
  }
  await new HttpConnection(client, context, edit).serve()
}

function endpoint({ host, port, unixSocket, clientSecret, resource }: Listening): Endpoint {
  const { secret, shown } = { secret: clientSecret.reveal(), shown: `http://${host}:${port ?? 0}` }
  if (port === null) {
    const socket = unixSocket ?? ''
    const use = `curl --unix-socket ${socket} -H "Authorization: Bearer …" http://localhost/`
    return {
      address: socket,
      url: `unix:${socket}`,
      shown: `unix:${socket}`,
      env: { HTTP_TOKEN: secret },
      files: {},
      use,
    }
  }
  const name = `AGENTGATE_${resource.name.toUpperCase().replace(/[^A-Z0-9]/g, '_')}_URL`
  return {
    address: `${host}:${port}`,
    url: `http://${urlUser}:${secret}@${host}:${port}`,
    shown,
    env: { HTTP_BASE_URL: shown, HTTP_TOKEN: secret },
    files: {},
    use: `curl "$${name}/"`,
  }
}

async function probe(resource: ServedResource, upstream: () => Promise<Duplex>): Promise<Probed> {
  const settings = settingsOf(resource.settings)
  const label = `${authorityOf(resource)}${settings['base-path'] ?? ''}`
  const warnings = resource.tls.mode === 'require' ? ['its certificate is not verified (tls: require)'] : []
  const connection = await connectUpstream(resource, upstream)
  const end = certificateEnd(connection)
  connection.destroy()
  if (settings.probe === undefined) return { label, warnings, certificateEnd: end }
  const status = await askFor(settings.probe, resource, upstream)
  if (status === 401 || status === 403)
    throw new AgentgateError('TARGET_REFUSED', `${resource.name} answers ${status}: it does not take the credential`, {
      hint: `check the credential of ${resource.name} in the policy`,
    })
  if (status >= 400) warnings.push(`${settings.probe} answers ${status}`)
  return { label, warnings, certificateEnd: end }
}

async function askFor(path: string, resource: ServedResource, upstream: () => Promise<Duplex>): Promise<number> {
  const agent = new UpstreamAgent(async () => await connectUpstream(resource, upstream))
  const settings = settingsOf(resource.settings)
  try {
    return await new Promise<number>((resolve, reject) => {
      const request = newRequest({
        agent,
        path: `${settings['base-path'] ?? ''}${path}`,
        signal: AbortSignal.timeout(probeTimeoutMs),
        headers: Object.fromEntries([
          ['host', authorityOf(resource)],
          ...credentialHeaders(settings, resource.credential),
        ]),
      })
      request.on('response', answer => {
        answer.resume()
        resolve(answer.statusCode ?? 0)
      })
      request.on('error', error =>
        reject(
          error instanceof AgentgateError
            ? error
            : new AgentgateError('TARGET_UNREACHABLE', `${resource.name} does not answer ${path} over HTTP`),
        ),
      )
      request.end()
    })
  } finally {
    agent.destroy()
  }
}
