import type { Duplex } from 'node:stream'
import type { Action, Approval, Mask, ResultLimit, RuleRef } from '../policy/action.ts'
import type { PolicyKind } from '../policy/kind.ts'
import type { Subject } from '../policy/subject.ts'
import type { RecordedEvent } from '../recording/event.ts'
import type { ApprovalId, ConnectionId, SessionId } from '../ids.ts'
import type { Credential } from '../credentials/credential.ts'
import type { IssuerTarget } from '../credentials/issuer-kind.ts'
import type { Secret } from '../secret.ts'
import type { ErrorCode } from '../errors.ts'

/** A resource as the tunnel serves it: validated, with its secrets resolved. */
export interface ServedResource extends IssuerTarget {
  readonly credential: Credential
  /** What masks that hash are keyed with, the same for all of one installation; absent: a new one each time. */
  readonly maskKey?: Secret
}

/** Where a client connects, and with what. */
export interface Listening {
  readonly session: SessionId
  readonly subject: Subject
  readonly resource: ServedResource
  readonly host: string
  readonly port: number | null
  readonly unixSocket: string | null
  /** What the client proves itself with. Stable per user and resource; inside `exec` the session's own. */
  readonly clientSecret: Secret
}

/** What a client is given. `url` and `env` may hold the client's secret: never log or record them. */
export interface Endpoint {
  readonly address: string
  readonly url: string
  /** The same without the secret, to show. */
  readonly shown: string
  /** Set for the first resource of its kind: PGHOST and the like. */
  readonly env: Readonly<Record<string, string>>
  /** Variables of the person's own that would send a client elsewhere: not set for what `connect -- CMD` runs. */
  readonly clears?: readonly string[]
  /** Files written on request under AGENTGATE_HOME: name → content (pg_service.conf, pgpass). */
  readonly files: Readonly<Record<string, string>>
  /** One line that tells a person how to use it. */
  readonly use: string
}

/** An action that waits for a person. */
export interface Held {
  readonly id: ApprovalId
  readonly rule: RuleRef
  /** `dba`, or `you, in the terminal of agentgate connect`. */
  readonly approvers: string
  readonly withinSeconds: number
}

/** The end of a decision: it runs (perhaps as edited), or it does not. */
export type Decision<A extends Action = Action> =
  | {
      readonly kind: 'allow'
      /** What may run: the action asked about, or what an approver made of it. */
      readonly action: A
      readonly edited: boolean
      readonly approval: Approval | null
      readonly rule: RuleRef | null
      readonly masks: readonly Mask[]
      /** How much of its result may be given; absent: all. */
      readonly limit?: ResultLimit | undefined
      /**
       * Where an approval bounds the rows that it may change: says whether so many are within, and takes them off what is left.
       * Nothing that it changes may be final before.
       */
      readonly withinRows?: ((rows: number) => boolean) | undefined
      /** Sequence number of the action's event, to which results and outcome refer. */
      readonly event: number
    }
  | {
      readonly kind: 'deny'
      readonly code: ErrorCode
      readonly message: string
      readonly rule: RuleRef | null
      readonly hint: string | undefined
      readonly event: number
    }

/** A connection as `decide` sees it; one object a connection, so that deciding costs no closure per message. */
export interface Asker<A extends Action = Action> {
  readonly connection: ConnectionId
  /** Inside an open transaction a hold is short, as locks are kept. */
  holdsLocks(): boolean
  /** The action now waits. Says so to the client where the protocol can; the signal returned withdraws the request. */
  onHold(held: Held): AbortSignal
  /**
   * Resolves the action again as things are now, with `text` in place of its own where an approver edited it.
   * Returns the same object where nothing changed.
   * @throws AgentgateError where the edit cannot stand in for what the client has already been told.
   */
  revise(action: A, text: string | undefined): Promise<A>
  /** Whether the rows that this changes can be counted before that is final. Absent: they cannot. */
  countsRows?(action: A): boolean
  /** What came of it when it was tried under an approval that bounds its rows, and taken back: a person is asked again. */
  tried?(): string | undefined
}

/** What a protocol is given for one client connection: the only way to a target, a decision or the record. */
export interface Context {
  readonly session: SessionId
  readonly connection: ConnectionId
  readonly subject: Subject
  readonly resource: ServedResource
  readonly clientSecret: Secret
  /** Aborts with its error as the reason when grant, session or process ends. */
  readonly signal: AbortSignal
  /** Grows whenever policy or grant change: whatever was derived from a decision is stale then. */
  readonly generation: number
  /** The masks that hold for this subject and resource, the same array until `generation` changes. */
  masks(): readonly Mask[]
  /**
   * Decides, waits for approval where a rule asks for it, and puts the action's event into the journal's buffer.
   * Synchronous where nobody has to be asked. Never throws for a refusal.
   */
  decide<A extends Action>(action: A, asker: Asker<A>): Decision<A> | Promise<Decision<A>>
  /**
   * Whether `decide` would refuse this at once. Nothing is counted, recorded or asked: for what only prepares an action,
   * such as a Parse, and is decided on when it runs.
   */
  denies(action: Action): boolean
  /** Whether a rule for this resource has this key of those that only its kind knows: what is costly to find out waits for one. */
  asks(condition: string): boolean
  /** The shapes of actions that were let run on this resource before. */
  readonly shapes: { has(shape: string): boolean; add(shape: string): void }
  /** Counts and records that the protocol itself refuses an action, whatever the policy says; the event's number. */
  refuse(action: Action, message: string): number
  /**
   * Writes what `decide` and `record` have buffered to the journal. Call it before a decided action is forwarded, once
   * for all that one read brought.
   * @throws AgentgateError RECORDING_FAILED: nothing may be forwarded.
   */
  commit(): void
  /** Buffers an event. A promise means that the spool is behind: wait for it before taking in more. */
  record(event: RecordedEvent): void | Promise<void>
  /** A new connection to the target's address, without TLS, error listener attached. @throws TargetUnreachable. */
  upstream(): Promise<Duplex>
}

/** One line (or screen) of a replay. */
export interface DisplayEvent {
  readonly kind: 'text' | 'table'
  readonly text: string
  readonly columns?: readonly string[]
  readonly rows?: readonly (readonly (string | null)[])[]
}

/** Turns recorded frames of one action into something to look at, chunk by chunk. */
export interface FrameDecoder {
  push(bytes: Buffer): DisplayEvent[]
  end(): DisplayEvent[]
}

/** What an approver is told of a held action besides its view, and what an approval may stretch to. */
export interface Ask {
  /** What it would do, one line each: `payments, about 1 row of 48,211 (primary key)`. */
  readonly effects: readonly string[]
  /** The same for actions that differ only in constants; null where approving a shape would approve the unknown. */
  readonly shapeKey: string | null
  /** The same only for exactly this action with exactly these values. */
  readonly askKey: string
  readonly editable: boolean
}

/** What a target says it is. */
export interface Probed {
  readonly label: string
  readonly warnings: readonly string[]
  /** Of the target's certificate, where it shows one. */
  readonly certificateEnd?: Date | undefined
}

/** A protocol is a plug-in: one folder, and one line in src/cli/protocols.ts. */
export interface Protocol extends PolicyKind {
  readonly label: string
  readonly defaultPort: number
  /**
   * One client connection, from first byte to last. Owns `client` and whatever it opens; settles when both are closed.
   * `client` allows half-open: a client that leaves shows as 'end'.
   */
  accept(client: Duplex, context: Context): Promise<void>
  endpoint(listening: Listening): Endpoint
  ask(action: Action): Ask
  /** The file name clients of this protocol expect of a unix socket in a folder: `.s.PGSQL.5432`. */
  readonly socketName: string
  decoder(): FrameDecoder
  /** Loads parsers and the like before the first connection. */
  prepare(resource: ServedResource): Promise<void>
  /** Whether the target answers and would serve us; for `doctor` and for connect's first line. @throws AgentgateError */
  probe(resource: ServedResource, upstream: () => Promise<Duplex>): Promise<Probed>
  /** The target's own list of connections under roles that only tunnels should use, where it keeps one. @throws AgentgateError */
  backends?(resource: ServedResource, upstream: () => Promise<Duplex>): Promise<readonly SeenBackend[]>
}

/** A connection as its target shows it. */
export interface SeenBackend {
  /** The target's own number for it. */
  readonly id: number
  readonly role: string
  readonly database: string | null
  readonly program: string | null
  readonly from: string | null
  readonly state: string | null
  /** Milliseconds since 1970, by the target's clock; null where it does not say. */
  readonly since: number | null
}

/** How a tunnel says in its recording which connection at the target is its own; `report coverage` reads it. */
export function backendNote(id: number, role: string): string {
  return `backend ${id} as ${role}`
}

export function readBackendNote(text: string): { readonly id: number; readonly role: string } | undefined {
  const match = /^backend (\d{1,10}) as (.+)$/s.exec(text)
  return match?.[2] === undefined ? undefined : { id: Number(match[1]), role: match[2] }
}
