import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { connectTo } from '../../src/tunnel/tunnel.ts'
import { AgentgateError } from '../../src/errors.ts'
import { asResourceName, asScopeName, connectionId, newSessionId } from '../../src/ids.ts'
import type { Mask, RuleRef } from '../../src/policy/action.ts'
import type { HttpAction } from '../../src/protocols/http/action.ts'
import { http as protocol } from '../../src/protocols/http/http.ts'
import type { Asker, Context, Decision, ServedResource } from '../../src/protocols/protocol.ts'
import type { RecordedEvent } from '../../src/recording/event.ts'
import { Secret } from '../../src/secret.ts'

export const clientSecret = 'ag_client-secret-0123456789'
export const targetSecret = 'target-secret-abcdefghijkl'
export const rule: RuleRef = { name: 'no deletes', place: 'agentgate.yaml:7' }

export interface TunnelOptions {
  readonly target: string
  readonly settings?: unknown
  readonly tls?: Partial<ServedResource['tls']>
  readonly user?: string | null
  readonly masks?: readonly Mask[]
  readonly decide?: (
    action: HttpAction,
    asker: Asker<HttpAction>,
  ) => 'allow' | 'deny' | HttpAction | Promise<'allow' | 'deny' | HttpAction>
  /** Makes what the record takes wait. */
  readonly record?: (event: RecordedEvent) => void | Promise<void>
  readonly commit?: () => void
}

/** A listener that serves one http resource as a session would, with a decision of the test's own. */
export class HttpTunnel {
  readonly events: RecordedEvent[] = []
  readonly actions: HttpAction[] = []
  readonly ended = new AbortController()
  readonly context: Context
  upstreams = 0
  accepted = 0
  settled = 0
  #server: net.Server | undefined
  #port = 0

  constructor(options: TunnelOptions) {
    const resource: ServedResource = {
      name: asResourceName('api')!,
      kind: 'http',
      address: options.target,
      tls: { mode: 'off', name: undefined, ca: undefined, ...options.tls },
      settings: protocol.resourceSchema.parse(options.settings ?? {}),
      scope: { name: asScopeName('all')!, settings: {} },
      credential: {
        issuer: 'static',
        user: options.user ?? null,
        secret: new Secret(targetSecret),
        certificate: null,
        expiresAt: null,
      },
    }
    const { ended, events, actions } = this
    const masks = options.masks ?? []
    const connection = connectionId(1)
    const upstream = async () => {
      this.upstreams++
      return await connectTo(resource.name, resource.address)
    }
    this.context = {
      session: newSessionId(),
      connection,
      subject: {
        principal: { name: 'maria', groups: [], source: 'os-user' },
        actor: null,
        confined: false,
        purpose: null,
        ticket: null,
      },
      resource,
      clientSecret: new Secret(clientSecret),
      signal: ended.signal,
      generation: 1,
      masks: () => masks,
      commit: () => options.commit?.(),
      record: event => {
        events.push(event)
        return options.record?.(event)
      },
      upstream,
      asks: () => false,
      shapes: new Set<string>(),
      denies: () => false,
      refuse: () => 0,
      decide: async (action, asker) => {
        const asked = action as unknown as HttpAction
        actions.push(asked)
        const event = actions.length
        const verdict = (await options.decide?.(asked, asker as unknown as Asker<HttpAction>)) ?? 'allow'
        if (verdict === 'deny')
          return { kind: 'deny', code: 'DENIED', message: 'nothing is deleted here', rule, hint: 'ask', event }
        const edited = verdict !== 'allow'
        const runs = edited ? verdict : asked
        const decision: Decision<HttpAction> = {
          kind: 'allow',
          action: runs,
          edited,
          approval: null,
          rule: null,
          masks,
          event,
        }
        return decision as unknown as Decision<typeof action>
      },
    }
  }

  static async open(options: TunnelOptions): Promise<HttpTunnel> {
    const tunnel = new HttpTunnel(options)
    await protocol.prepare(tunnel.context.resource)
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, socket => {
      tunnel.accepted++
      socket.on('error', () => undefined)
      void protocol.accept(socket, tunnel.context).finally(() => {
        tunnel.settled++
        socket.destroy()
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    tunnel.#server = server
    tunnel.#port = (server.address() as net.AddressInfo).port
    return tunnel
  }

  get port(): number {
    return this.#port
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** A request with the client's secret; headers of the test's own win. */
  async fetch(path: string, init: RequestInit & { duplex?: 'half' } = {}): Promise<Response> {
    const headers = new Headers(init.headers)
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${clientSecret}`)
    return await fetch(this.url + path, { ...init, headers })
  }

  /** Bytes of the test's own, and all that comes back until the connection ends. */
  async raw(text: string): Promise<string> {
    const socket = net.connect(this.#port, '127.0.0.1')
    let answer = ''
    socket.on('data', chunk => (answer += chunk.toString('latin1')))
    socket.on('error', () => undefined)
    socket.write(text)
    await once(socket, 'close')
    return answer
  }

  of<Kind extends RecordedEvent['kind']>(kind: Kind): Extract<RecordedEvent, { kind: Kind }>[] {
    return this.events.filter((event): event is Extract<RecordedEvent, { kind: Kind }> => event.kind === kind)
  }

  end(message = 'access was ended: test'): void {
    this.ended.abort(new AgentgateError('REVOKED', message))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.ended.abort(new AgentgateError('REVOKED', 'test is over'))
    this.#server?.close()
    await Promise.resolve()
  }
}

export interface Target {
  readonly address: string
  readonly requests: http.IncomingMessage[]
  readonly connections: () => number
  [Symbol.asyncDispose](): Promise<void>
}

/** A real server; `answer` is its handler. */
export async function startTarget(answer: http.RequestListener): Promise<Target> {
  const requests: http.IncomingMessage[] = []
  let connections = 0
  const server = http.createServer((request, response) => {
    requests.push(request)
    answer(request, response)
  })
  server.on('connection', () => connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    requests,
    connections: () => connections,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

export async function bodyOf(message: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}
