import type { Duplex } from 'node:stream'
import net from 'node:net'
import { AgentgateError, hasErrno } from '../errors.ts'
import type { SessionId } from '../ids.ts'
import type { Verdict } from '../policy/action.ts'
import type { Subject } from '../policy/subject.ts'
import type { Protocol, ServedResource } from '../protocols/protocol.ts'
import type { RecordedEvent } from '../recording/event.ts'
import type { Secret } from '../secret.ts'
import type { ApprovalGate } from './approval-gate.ts'
import type { Clock } from './clock.ts'
import type { Enforcer } from './enforcer.ts'
import type { EventHub } from './event-hub.ts'
import type { Lease } from './lease.ts'
import type { Recorder } from './recorder.ts'
import { SeenShapes } from './seen-shapes.ts'

const connectTimeoutMs = 10_000

/** What all tunnels of one session share. */
export interface SessionParts {
  readonly id: SessionId
  readonly subject: Subject
  readonly clock: Clock
  readonly lease: Lease
  readonly gate: ApprovalGate
  readonly hub: EventHub
  readonly recorder: Recorder
  /** Records what has happened anyway; where that fails, the next action's own event fails too and is refused. */
  readonly note: (event: RecordedEvent) => void
  /** `running`: actions allowed whose outcome is still to come. */
  readonly counts: { statements: number; denied: number; connections: number; running: number }
  /** Aborts when running work must end too. */
  readonly signal: AbortSignal
}

/** What a tunnel serves, and how. */
export interface ServedPlan {
  readonly protocol: Protocol
  readonly resource: ServedResource
  readonly enforcer: Enforcer
  readonly clientSecret: Secret
  /** Open at once; null: as many as a session takes. */
  readonly maxConnections: number | null
  /** Absent: nothing outlives the session. */
  readonly shapes?: SeenShapes
}

/** One resource as one session serves it. */
export class Tunnel {
  readonly parts: SessionParts
  readonly protocol: Protocol
  readonly resource: ServedResource
  readonly clientSecret: Secret
  readonly shapes: SeenShapes
  readonly #maxConnections: number
  #connections = 0
  #enforcer: Enforcer
  #generation = 1
  #verdicts = new WeakMap<object, Verdict>()

  constructor(parts: SessionParts, plan: ServedPlan) {
    this.parts = parts
    this.protocol = plan.protocol
    this.resource = plan.resource
    this.clientSecret = plan.clientSecret
    this.#maxConnections = plan.maxConnections ?? Infinity
    this.#enforcer = plan.enforcer
    this.shapes = plan.shapes ?? new SeenShapes(null)
  }

  /** Takes one of the places of the policy's `limits.connections`, if there is one. */
  enter(): boolean {
    if (this.#connections >= this.#maxConnections) return false
    this.#connections += 1
    return true
  }

  leave(): void {
    this.#connections -= 1
  }

  /** Why a connection beyond the limit is not served. */
  get full(): AgentgateError {
    const { name } = this.resource
    return new AgentgateError(
      'DENIED',
      `${name} takes ${this.#maxConnections} ${this.#maxConnections === 1 ? 'connection' : 'connections'} at once (limits.connections)`,
      {
        hint: 'close one that is not needed, or have the policy allow more',
      },
    )
  }

  get enforcer(): Enforcer {
    return this.#enforcer
  }

  get generation(): number {
    return this.#generation
  }

  /** Verdicts reached under this generation that hold for every action of the same shape. */
  get verdicts(): WeakMap<object, Verdict> {
    return this.#verdicts
  }

  /** A changed policy takes effect at the next action of every connection. */
  replaceEnforcer(enforcer: Enforcer): void {
    this.#enforcer = enforcer
    this.#verdicts = new WeakMap()
    this.#generation += 1
  }

  /** @throws AgentgateError TARGET_UNREACHABLE */
  async upstream(): Promise<Duplex> {
    return await connectTo(this.resource.name, this.resource.address)
  }
}

/** A TCP or unix socket connection to `host:port`, `[v6]:port` or an absolute path, an error listener attached. */
export async function connectTo(resource: string, address: string): Promise<net.Socket> {
  const socket = net.connect({ ...targetOf(address), noDelay: true, keepAlive: true })
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })),
        connectTimeoutMs,
      )
      const settle = (error?: Error) => {
        clearTimeout(timer)
        if (error === undefined) resolve()
        else reject(error)
      }
      socket.once('connect', () => settle())
      socket.once('error', settle)
    })
  } catch (cause) {
    socket.on('error', () => undefined)
    socket.destroy()
    const why =
      cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? explain(cause.code) : 'no answer'
    throw new AgentgateError('TARGET_UNREACHABLE', `cannot reach ${resource} at ${address} (${why})`, {
      hint: `check its address in the policy, then run: agentgate doctor ${resource}`,
      cause: hasErrno(cause) ? cause : undefined,
    })
  }
  socket.on('error', () => undefined) // whoever reads or writes it is told by 'close' or by its own listener
  return socket
}

function targetOf(address: string): net.NetConnectOpts {
  if (address.startsWith('/')) return { path: address }
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) }
}

function explain(code: string): string {
  switch (code) {
    case 'ECONNREFUSED':
      return 'connection refused'
    case 'ETIMEDOUT':
      return `no answer in ${connectTimeoutMs / 1000} s`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name is not known'
    case 'ENOENT':
      return 'no such socket'
    default:
      return code
  }
}
