import { setMaxListeners } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { setTimeout as setTimeoutPromise } from 'node:timers/promises'
import path from 'node:path'
import type { Socket } from 'node:net'
import type {
  ApprovalAnswer,
  ApprovalRequest,
  ApprovalResult,
  ControlEvent,
  EditPreview,
  SessionStatus,
} from '../control/schema.ts'
import type { SessionControl } from '../control/session-control.ts'
import type { HeldCredential } from '../credentials/held-credential.ts'
import { AgentgateError } from '../errors.ts'
import { connectionId, type PolicyDigest, type SessionId } from '../ids.ts'
import type { Subject } from '../policy/subject.ts'
import type { Endpoint, ServedResource } from '../protocols/protocol.ts'
import { ApprovalGate, type BrokerAnswer, type Presence, type RemoteApprovals } from './approval-gate.ts'
import { findClientProcess } from './client-process.ts'
import { systemClock, timestamp, type Clock } from './clock.ts'
import { serveControl } from './control-server.ts'
import { ConnectionContext } from './enforcement.ts'
import type { Enforcer } from './enforcer.ts'
import { EventHub } from './event-hub.ts'
import { Lease } from './lease.ts'
import { openListener, type Listener, type ListenerPlace } from './listener.ts'
import type { Recorder } from './recorder.ts'
import { Tunnel, type ServedPlan, type SessionParts } from './tunnel.ts'

/** Time that running work has after its grant has ended (DESIGN: time, life and death). */
const drainSeconds = 30
const maxConnectionsPerResource = 500
/** Time for protocols to say goodbye before their sockets are cut. */
const goodbyeMs = 1000
const warningsBeforeExpirySeconds = [600, 60]

export interface TunnelPlan extends ServedPlan {
  /** What `resource.credential` shows; the session renews and ends it. */
  readonly credential: HeldCredential
  /** null: no TCP listener. */
  readonly port: { readonly wanted: number; readonly fixed: boolean } | null
  readonly unixSocket: boolean
}

export interface SessionPlan {
  readonly id: SessionId
  readonly command: 'connect' | 'exec'
  readonly subject: Subject
  readonly policy: { readonly path: string; readonly digest: PolicyDigest }
  readonly tunnels: readonly TunnelPlan[]
  readonly leaseSeconds: number
  /** Asks whoever decides for longer; the seconds from now on. Absent: this session itself, for as long again. */
  readonly renewLease?: (() => Promise<number>) | undefined
  /** Where others may answer what waits. */
  readonly remoteApprovals?: RemoteApprovals | undefined
  /** Holds this session's sockets; only this user can enter it. Removed at the end. */
  readonly runtimeFolder: string
  readonly recordingFolder: string
  readonly recorder: Recorder
  /** Asked at each answer: checks what the approver signed; null where no passphrase has been set. */
  readonly verifyProof: () => ((text: Buffer, proof: string) => boolean) | null
  /** Whether listeners stay after expiry and answer with the reason (`connect -d`). */
  readonly staysAfterExpiry: boolean
  /** null: on this machine's loopback. */
  readonly place: ListenerPlace | null
  /** Told which port a tunnel got, to remember it. */
  readonly onPort: (resource: string, port: number) => void
  readonly clock?: Clock
}

export interface Finished {
  readonly reason: 'closed' | 'expired' | 'revoked' | 'failed'
  readonly error: AgentgateError | undefined
}

interface Served {
  readonly tunnel: Tunnel
  readonly listener: Listener
  readonly endpoint: Endpoint
  readonly label: string
}

/** One run of `connect` or `exec`: its tunnels, its approvals, its recording, and how it ends. */
export class Session implements SessionControl {
  readonly id: SessionId
  readonly finished: Promise<Finished>
  readonly #plan: SessionPlan
  readonly #clock: Clock
  readonly #parts: SessionParts
  readonly #abort = new AbortController()
  readonly #startedAt: Date
  readonly #served: Served[] = []
  readonly #running = new Set<Promise<void>>()
  readonly #sockets = new Set<Socket>()
  #control: { close(): Promise<void> } | undefined
  #timer: NodeJS.Timeout | undefined
  #warned = new Set<number>()
  #connections = 0
  #digest: PolicyDigest
  /** Of the last renewal. */
  #leaseSeconds: number
  #ending: Promise<void> | undefined
  #exitCode: number | null = null
  #finish: (finished: Finished) => void = () => undefined

  private constructor(plan: SessionPlan) {
    this.#plan = plan
    setMaxListeners(0, this.#abort.signal) // one listener or two for each connection
    this.id = plan.id
    this.#digest = plan.policy.digest
    this.#leaseSeconds = plan.leaseSeconds
    this.#clock = plan.clock ?? systemClock
    this.#startedAt = new Date(this.#clock.wall())
    this.finished = new Promise(resolve => (this.#finish = resolve))
    const hub = new EventHub()
    this.#parts = {
      id: plan.id,
      subject: plan.subject,
      clock: this.#clock,
      lease: new Lease(this.#clock, plan.leaseSeconds),
      gate: new ApprovalGate({
        session: plan.id,
        subject: plan.subject,
        clock: this.#clock,
        hub,
        verifyProof: plan.verifyProof,
        remote: plan.remoteApprovals,
      }),
      hub,
      recorder: plan.recorder,
      note: event => {
        try {
          plan.recorder.append(event)
        } catch (error) {
          if (!(error instanceof AgentgateError)) throw error
        }
      },
      counts: { statements: 0, denied: 0, connections: 0, running: 0 },
      signal: this.#abort.signal,
    }
  }

  /**
   * Opens every tunnel: when this settles, all listeners accept. The session owns the recorder from here on.
   * @throws AgentgateError, with nothing left open.
   */
  static async start(plan: SessionPlan): Promise<Session> {
    const session = new Session(plan)
    try {
      await session.#open()
      return session
    } catch (error) {
      await session.#end({ reason: 'failed', error: error instanceof AgentgateError ? error : undefined }, 0)
      throw error
    }
  }

  async #open(): Promise<void> {
    const { plan, parts } = { plan: this.#plan, parts: this.#parts }
    mkdirSync(plan.runtimeFolder, { recursive: true, mode: 0o700 })
    parts.recorder.commit()
    const tunnels = plan.tunnels.map(each => [each, new Tunnel(parts, each)] as const)
    const labels = await Promise.all(
      tunnels.map(async ([each, tunnel]) => {
        await each.protocol.prepare(each.resource)
        return await each.protocol.probe(each.resource, async () => await tunnel.upstream())
      }),
    )
    for (const [index, [each, tunnel]] of tunnels.entries()) {
      const folder = path.join(plan.place?.socketFolder ?? plan.runtimeFolder, each.resource.name)
      const listener = await (plan.place?.open ?? openListener)({
        port: each.port,
        unixSocket: each.unixSocket ? path.join(folder, each.protocol.socketName) : null,
        maxConnections: maxConnectionsPerResource,
        onConnection: socket => this.#accept(tunnel, socket),
      })
      const endpoint = each.protocol.endpoint({
        session: plan.id,
        subject: plan.subject,
        resource: each.resource,
        host: '127.0.0.1',
        port: listener.port,
        unixSocket: listener.unixSocket,
        clientSecret: each.clientSecret,
      })
      this.#served.push({ tunnel, listener, endpoint, label: labels[index]?.label ?? each.resource.address })
      for (const warning of labels[index]?.warnings ?? []) this.#notice('warning', `${each.resource.name}: ${warning}`)
      if (listener.port !== null) plan.onPort(each.resource.name, listener.port)
    }
    this.#control = await serveControl(
      {
        ...this.#controls(),
        answerAs: async (id, answer, presence) => await this.#parts.gate.answer(id, answer, presence),
      },
      {
        session: path.join(plan.runtimeFolder, 'session.sock'),
        control: path.join(plan.runtimeFolder, 'control.sock'),
      },
    )
    this.#timer = setInterval(() => this.#tick(), 1000)
  }

  /** What `--json` prints once every listener accepts; holds the clients' secrets. */
  get ready(): Extract<ControlEvent, { event: 'ready' }> {
    return {
      event: 'ready',
      at: this.#now(),
      session: this.id,
      expiresAt: this.#parts.lease.expiresAt.toISOString(),
      tunnels: this.#served.map(({ tunnel, endpoint }) => ({
        resource: tunnel.resource.name,
        kind: tunnel.resource.kind,
        address: endpoint.address,
        url: endpoint.url,
        env: { ...endpoint.env },
      })),
    }
  }

  get endpoints(): readonly {
    readonly resource: ServedResource
    readonly endpoint: Endpoint
    readonly label: string
  }[] {
    return this.#served.map(({ tunnel, endpoint, label }) => ({ resource: tunnel.resource, endpoint, label }))
  }

  get folder(): string {
    return this.#plan.runtimeFolder
  }

  /** PGHOST and the like for the first resource of each kind, AGENTGATE_<NAME>_URL for all. Holds the clients' secrets. */
  environment(): Record<string, string> {
    const environment: Record<string, string> = { AGENTGATE_SESSION: this.id }
    const kinds = new Set<string>()
    for (const { tunnel, endpoint } of this.#served) {
      const { name, kind } = tunnel.resource
      environment[`AGENTGATE_${name.toUpperCase().replace(/[^A-Z0-9]/g, '_')}_URL`] = endpoint.url
      if (!kinds.has(kind)) Object.assign(environment, endpoint.env)
      kinds.add(kind)
    }
    return environment
  }

  /** Variables that must not be inherited by what uses `environment`. */
  cleared(): readonly string[] {
    return this.#served.flatMap(({ endpoint }) => endpoint.clears ?? [])
  }

  status(): Promise<SessionStatus> {
    const { lease, gate, counts, subject } = this.#parts
    return Promise.resolve({
      session: this.id,
      pid: process.pid,
      command: this.#plan.command,
      principal: subject.principal.name,
      actor: subject.actor?.name ?? null,
      confined: subject.confined,
      startedAt: this.#startedAt.toISOString(),
      expiresAt: lease.expiresAt.toISOString(),
      policy: { path: this.#plan.policy.path, digest: this.#digest },
      tunnels: this.#served.map(({ tunnel, endpoint, label }) => ({
        resource: tunnel.resource.name,
        kind: tunnel.resource.kind,
        scope: tunnel.resource.scope.name,
        label,
        address: endpoint.address,
        shown: endpoint.shown,
        use: endpoint.use,
        rules: { ...tunnel.enforcer.rules },
      })),
      connections: counts.connections,
      statements: counts.statements,
      denied: counts.denied,
      waiting: gate.waiting,
      recording: this.#plan.recordingFolder,
    })
  }

  approvals(): Promise<readonly ApprovalRequest[]> {
    return Promise.resolve(this.#parts.gate.list())
  }

  async preview(id: string, text: string): Promise<EditPreview> {
    return await this.#parts.gate.preview(id, text)
  }

  /** An answer by a key pressed in this process's own terminal; whoever calls it has seen to that. */
  async answer(id: string, answer: ApprovalAnswer, presence: Presence = 'terminal'): Promise<ApprovalResult> {
    return await this.#parts.gate.answer(id, answer, presence)
  }

  events(signal: AbortSignal): AsyncGenerator<ControlEvent> {
    const waiting = this.#parts.gate
      .list()
      .map(request => ({ event: 'approval' as const, at: request.askedAt, request }))
    return this.#parts.hub.watch(signal, [this.ready, ...waiting])
  }

  async stop(reason: string): Promise<void> {
    await this.close(reason)
  }

  /** For as long again as the policy allows, from now. @throws AgentgateError where whoever decides says no */
  async renew(): Promise<Date> {
    const { lease } = this.#parts
    const refusal = lease.refusal()
    if (refusal?.code === 'EXPIRED' || refusal?.code === 'REVOKED') throw refusal
    this.#leaseSeconds = (await this.#plan.renewLease?.()) ?? this.#plan.leaseSeconds
    lease.renew(this.#leaseSeconds)
    this.#warned = new Set()
    return lease.expiresAt
  }

  /** What a broker says is left. */
  syncLease(seconds: number): void {
    this.#parts.lease.sync(seconds)
  }

  /** A changed policy, for every connection at its next action. A resource that is missing from it is no longer allowed. */
  replacePolicy(digest: PolicyDigest, enforcers: ReadonlyMap<string, Enforcer>): void {
    this.#digest = digest
    this.#parts.note({ kind: 'policy', digest })
    this.#parts.gate.forgetShapes()
    for (const { tunnel } of this.#served) {
      const enforcer = enforcers.get(tunnel.resource.name)
      if (enforcer === undefined) {
        void this.revoke(`the policy no longer gives you ${tunnel.resource.name}`)
        return
      }
      tunnel.replaceEnforcer(enforcer)
    }
  }

  /** Says something to whoever watches, and to the record. */
  notice(level: 'info' | 'warning', text: string): void {
    this.#notice(level, text)
  }

  /** The child's terminal, for the record. What cannot be recorded ends the session. */
  terminal(direction: 'output' | 'input' | 'resize', bytes: Buffer): void {
    try {
      this.#parts.recorder.append({ kind: 'terminal', direction, bytes })
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      void this.#end({ reason: 'failed', error }, 0)
    }
  }

  /** Somebody's answer through the broker. */
  async answerFromBroker(id: string, answer: BrokerAnswer, by: string, reason: string | undefined): Promise<void> {
    await this.#parts.gate.answerFromBroker(id, answer, by, reason)
  }

  /** No new action starts until this is taken back, by undefined; whoever tries is told why. */
  hold(why: AgentgateError | undefined): void {
    this.#parts.lease.hold(why)
    this.#notice(why === undefined ? 'info' : 'warning', why?.message ?? 'the broker answers again')
  }

  /** Ends access at once: running work is cut off, waiting asks end. */
  async revoke(reason: string): Promise<void> {
    this.#parts.hub.emit({ event: 'revoked', at: this.#now(), session: this.id, reason })
    const error = new AgentgateError('REVOKED', `access was ended: ${reason}`)
    await this.#end({ reason: 'revoked', error }, 0)
  }

  /** Ends the session; connections get their protocol's goodbye. */
  async close(reason: string, exitCode: number | null = null): Promise<void> {
    this.#exitCode = exitCode
    await this.#end({ reason: 'closed', error: undefined }, 0, reason)
  }

  #controls(): SessionControl {
    return {
      status: async () => await this.status(),
      approvals: async () => await this.approvals(),
      preview: async (id, text) => await this.preview(id, text),
      answer: async (id, answer) => await this.answer(id, answer, 'socket'),
      stop: async reason => await this.stop(reason),
      events: signal => this.events(signal),
    }
  }

  #accept(tunnel: Tunnel, socket: Socket): void {
    socket.on('error', () => undefined) // the protocol reads its end; an error here is a client that went away
    const running = this.#serve(tunnel, socket)
    this.#running.add(running)
    this.#sockets.add(socket)
    void running.finally(() => {
      this.#running.delete(running)
      this.#sockets.delete(socket)
    })
  }

  async #serve(tunnel: Tunnel, socket: Socket): Promise<void> {
    const { recorder, counts, hub } = this.#parts
    const connection = connectionId(++this.#connections)
    const resource = tunnel.resource.name
    const peer = socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress}:${socket.remotePort ?? 0}`
    const context = new ConnectionContext(tunnel, connection)
    let reason = 'closed'
    counts.connections += 1
    try {
      try {
        recorder.append({ kind: 'connection', connection, resource, peer })
      } catch (error) {
        if (!(error instanceof AgentgateError)) throw error
        context.block(error)
      }
      const identified = findClientProcess(socket, this.#plan.place?.process()).then(client => {
        context.setClient(client)
        if (hub.watched)
          hub.emit({
            event: 'connection',
            at: this.#now(),
            session: this.id,
            resource,
            connection,
            state: 'open',
            client: client?.program ?? null,
          })
      })
      // Where a rule asks who the client is, nothing is decided before that is known; else it goes on beside the work.
      if (tunnel.enforcer.needsClient) await identified
      await tunnel.protocol.accept(socket, context)
      await identified
    } catch (error) {
      reason = error instanceof AgentgateError ? error.message : 'failed'
      if (!(error instanceof AgentgateError))
        this.#notice('warning', `${resource}: a connection ended by a bug of agentgate: ${bugLabel(error)}`)
    } finally {
      counts.connections -= 1
      socket.destroy()
      context.close(reason)
      if (hub.watched)
        hub.emit({
          event: 'connection',
          at: this.#now(),
          session: this.id,
          resource,
          connection,
          state: 'closed',
          client: context.client?.program ?? null,
        })
    }
  }

  #tick(): void {
    const { lease } = this.#parts
    try {
      this.#parts.recorder.commit()
    } catch {
      // The next action's own commit refuses it and tells its client why.
    }
    const leftSeconds = lease.leftMs / 1000
    for (const { credential, resource } of this.#plan.tunnels)
      credential.tick(leftSeconds, text => this.#notice('warning', `${resource.name}: ${text}`))
    for (const before of warningsBeforeExpirySeconds)
      if (leftSeconds <= before && leftSeconds > 0 && this.#leaseSeconds > before && !this.#warned.has(before)) {
        this.#warned.add(before)
        this.#notice('warning', `access ends in ${before >= 120 ? `${before / 60} min` : `${before} s`}`)
      }
    const refusal = lease.refusal()
    if (refusal?.code === 'EXPIRED' && this.#ending === undefined) {
      this.#parts.hub.emit({ event: 'expired', at: this.#now(), session: this.id })
      this.#parts.gate.end(refusal)
      void this.#end({ reason: 'expired', error: refusal }, drainSeconds)
    }
  }

  #end(finished: Finished, drain: number, reason = finished.error?.message ?? finished.reason): Promise<void> {
    this.#ending ??= this.#endOnce(finished, drain, reason)
    return this.#ending
  }

  async #endOnce(finished: Finished, drain: number, reason: string): Promise<void> {
    const { lease, gate, hub, recorder } = this.#parts
    const error = finished.error ?? new AgentgateError('REVOKED', `the session was closed: ${reason}`)
    lease.end(error)
    gate.end(error)
    if (drain > 0) await this.#drained(drain)
    this.#abort.abort(error)
    const credentials = this.#endCredentials()
    if (this.#plan.staysAfterExpiry && finished.reason === 'expired') {
      // Whoever connects is told why, until someone ends it.
      this.#ending = undefined
      await credentials
      this.#finish(finished)
      return
    }
    clearInterval(this.#timer)
    const cut = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, goodbyeMs)
    await Promise.all([...this.#served.map(async each => await each.listener.close()), this.#settled(), credentials])
    clearTimeout(cut)
    hub.emit({ event: 'closed', at: this.#now(), session: this.id, reason, exitCode: this.#exitCode })
    hub.end()
    let outcome = finished
    try {
      await recorder.close(reason, this.#exitCode)
    } catch (error) {
      // The next start finds the journal and seals what it holds; whoever reads the exit code hears of it now.
      if (!(error instanceof AgentgateError)) throw error
      if (finished.error === undefined) outcome = { reason: 'failed', error }
    }
    await this.#control?.close()
    rmSync(this.#plan.runtimeFolder, { recursive: true, force: true })
    this.#finish(outcome)
  }

  /** At the target, which ends what runs there whatever becomes of our own connections. */
  async #endCredentials(): Promise<void> {
    await Promise.all(
      this.#plan.tunnels.map(async ({ credential, resource }) => {
        const failure = await credential.end()
        if (failure !== undefined)
          this.#notice(
            'warning',
            `${resource.name}: its credential is still valid at the target, until it expires or is swept: ${failure.message}`,
          )
      }),
    )
  }

  /** Waits until no action is running, or the drain's time is over. */
  async #drained(seconds: number): Promise<void> {
    const end = this.#clock.monotonic() + seconds * 1000
    while (this.#parts.counts.running > 0 && this.#clock.monotonic() < end) await setTimeoutPromise(50)
  }

  async #settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled([...this.#running])
  }

  #notice(level: 'info' | 'warning', text: string): void {
    this.#parts.hub.emit({ event: 'notice', at: this.#now(), level, text })
    this.#parts.note({ kind: 'note', connection: null, text })
  }

  #now(): string {
    return timestamp(this.#clock.wall())
  }
}

/** A label for our own bugs: where, never what the error says, as it may quote a statement. */
function bugLabel(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  const at = /at .*?([\w.-]+\.(?:ts|js):\d+)/.exec(error.stack ?? '')
  return `${error.name} at ${at?.[1] ?? 'unknown'}`
}
