import { Agent, type ClientRequestArgs } from 'node:http'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { isLoopbackHost } from '../../config/loopback.ts'
import { AgentgateError } from '../../errors.ts'
import type { ServedResource } from '../protocol.ts'

const tlsTimeoutMs = 10_000
/** Shorter than servers keep idle connections (Node 5 s, most others longer), so a reused one is rarely a closed one. */
const idleMs = 4000

/** Requests to one target, over at most one connection at a time, which is kept between them. */
export class UpstreamAgent extends Agent {
  readonly #connect: () => Promise<Duplex>

  constructor(connect: () => Promise<Duplex>) {
    super({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1, timeout: idleMs })
    this.#connect = connect
  }

  /** As Agent calls it: the connection comes by the callback. */
  override createConnection(
    _options: ClientRequestArgs,
    done: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    this.#connect().then(
      socket => done(null, socket),
      // Node reads no socket where there is an error.
      (error: unknown) => (done as (error: unknown) => void)(error),
    )
  }
}

/** The host of an address, without port and brackets; `localhost` for a unix socket. */
export function hostOf(address: string): string {
  if (address.startsWith('/')) return 'localhost'
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

/** What the Host header says to the target. */
export function authorityOf(resource: ServedResource): string {
  if (resource.address.startsWith('/')) return 'localhost'
  const defaultPort = resource.tls.mode === 'off' ? ':80' : ':443'
  return resource.address.endsWith(defaultPort) ? resource.address.slice(0, -defaultPort.length) : resource.address
}

/** A connection fit to carry the credential: over TLS as the resource says, or plain on this computer. */
export async function connectUpstream(resource: ServedResource, dial: () => Promise<Duplex>): Promise<Duplex> {
  if (resource.tls.mode === 'off') {
    if (!isLoopbackHost(hostOf(resource.address)))
      throw new AgentgateError('TLS_FAILED', `${resource.name}: the credential would cross the network unencrypted`, {
        hint: 'set `tls: verify-full`; `off` is for targets on this computer',
      })
    return await dial()
  }
  const socket = await dial()
  return await secure(resource, socket)
}

async function secure(resource: ServedResource, socket: Duplex): Promise<tls.TLSSocket> {
  const { mode, name, ca } = resource.tls
  const { certificate } = resource.credential
  const expected = name ?? hostOf(resource.address)
  const secured = tls.connect({
    socket,
    host: expected,
    ...(net.isIP(expected) === 0 ? { servername: expected } : {}),
    ALPNProtocols: ['http/1.1'],
    // Said outright, as NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would switch it off.
    rejectUnauthorized: mode !== 'require',
    ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === null ? {} : { cert: certificate.certificate, key: certificate.key.reveal() }),
  })
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no answer')), tlsTimeoutMs)
      secured.once('secureConnect', () => {
        clearTimeout(timer)
        resolve()
      })
      secured.on('error', (error: Error) => {
        clearTimeout(timer)
        reject(error)
      })
      secured.once('close', () => {
        clearTimeout(timer)
        reject(new Error('closed'))
      })
    })
    return secured
  } catch (cause) {
    secured.destroy()
    throw new AgentgateError(
      'TLS_FAILED',
      `${resource.name}: no trusted connection to ${resource.address} (${explain(cause, expected)})`,
      {
        hint: `look at its certificate: agentgate doctor ${resource.name}`,
        cause,
      },
    )
  }
}

function explain(cause: unknown, expected: string): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  switch (code) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `its certificate is not for ${expected}`
    case 'CERT_HAS_EXPIRED':
      return 'its certificate has expired'
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return 'its certificate is by an authority that is not trusted'
    default:
      return 'it does not speak TLS as expected'
  }
}
