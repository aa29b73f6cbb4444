import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokerClient } from '../control/broker-client.ts'
import type {
  OpenedSession,
  OpenRequest,
  PolicyContent,
  StreamEvent,
  WireCredential,
} from '../control/broker-schema.ts'
import { brokerSink, type SendToBroker } from '../audit/sinks/broker.ts'
import type { Sink } from '../audit/sinks/sink.ts'
import type { BrokerSinkSettings } from '../policy/audit-settings.ts'
import type { Credential, CredentialIssuer } from '../credentials/credential.ts'
import type { OpenedResource } from '../credentials/open-resource.ts'
import { AgentgateError } from '../errors.ts'
import { asResourceName, asScopeName, asSessionId, type SessionId } from '../ids.ts'
import { Secret } from '../secret.ts'
import type { EditPreview } from '../control/schema.ts'
import type { Recorder } from '../recording/recorder.ts'
import { newSessionKey, type SessionKey } from '../recording/session-key.ts'
import type { BrokerAnswer, RemoteApprovals } from './approval-gate.ts'
import { indexLate } from './late-statements.ts'
import { certificateOf, seenByBroker, type RecordingCertificate } from './broker-witness.ts'

/** DESIGN §7: for so long a broker may be silent before no new action starts, and before the session ends. */
const leaseMs = 10_000
const graceMs = 5 * 60_000
const reconnectMs = 500

/** What a broker's word does to a session. */
export interface Followed {
  /** No new action until it is taken back. */
  hold(why: AgentgateError | undefined): void
  /** What is left by the broker's clock. */
  sync(seconds: number): void
  revoke(reason: string): Promise<void>
  answer(id: string, answer: BrokerAnswer, by: string, reason: string | undefined): Promise<void>
  /** What a held action would be decided as with another text. */
  check(id: string, text: string): Promise<EditPreview>
  replacePolicy(policy: PolicyContent): Promise<void>
  readonly finished: Promise<unknown>
}

/** A session that a broker granted: its targets and credentials, and the broker's word on it from then on. */
export class BrokerSession {
  readonly opened: OpenedSession
  /** Absent where the broker is of before there were witnesses. */
  readonly recording: RecordingCertificate | undefined
  readonly #client: BrokerClient
  readonly #asOwner: () => Promise<BrokerClient>
  /** By the broker's clock. */
  #expiresAtMs: number
  /** How far its clock is before this machine's. */
  #aheadMs: number
  #ended: Promise<void> | undefined

  private constructor(
    client: BrokerClient,
    opened: OpenedSession,
    key: SessionKey,
    asOwner: () => Promise<BrokerClient>,
  ) {
    this.#client = client
    this.#asOwner = asOwner
    this.opened = opened
    this.recording = certificateOf(opened, key)
    this.#expiresAtMs = Date.parse(opened.expiresAt)
    this.#aheadMs = opened.now === undefined ? 0 : Date.parse(opened.now) - Date.now()
  }

  /**
   * @param asOwner shows who asks, with a token that is good then: for what takes more than the session's own.
   * @throws AgentgateError what the broker refuses, BROKER_UNREACHABLE
   */
  static async open(
    client: BrokerClient,
    request: OpenRequest,
    asOwner: () => Promise<BrokerClient>,
  ): Promise<BrokerSession> {
    const key = newSessionKey()
    return new BrokerSession(client, await client.open({ ...request, recordingKey: key.publicKey }), key, asOwner)
  }

  get id(): SessionId {
    const id = asSessionId(this.opened.session)
    if (id === undefined)
      throw new AgentgateError('BROKER_UNREACHABLE', 'the broker gave a session a name that is none')
    return id
  }

  /** @throws AgentgateError INTERNAL where it is not one of this session's */
  resource(name: string): OpenedResource {
    const grant = this.opened.grants.find(each => each.resource === name)
    const resource = asResourceName(name)
    const scope = grant === undefined ? undefined : asScopeName(grant.scope)
    if (grant === undefined || resource === undefined || scope === undefined)
      throw new AgentgateError('INTERNAL', `the broker granted nothing that is called ${name}`)
    return {
      name: resource,
      kind: grant.kind,
      address: grant.address,
      tls: { mode: grant.tls.mode, name: grant.tls.name, ca: grant.tls.ca },
      settings: grant.settings,
      scope: { name: scope, settings: grant.scopeSettings },
      issuer: this.#issuer(grant.grant, fromWire(grant.credential, this.#aheadMs)),
    }
  }

  /** Has the broker countersign what is recorded, and index its statements. */
  watch(recorder: Recorder, indexed: boolean, onWarning: (text: string) => void): Recorder {
    if (this.recording === undefined) return recorder
    const { token } = this.opened
    return seenByBroker(recorder, { ...this.recording, client: this.#client, token, indexed }, onWarning)
  }

  /** Where audit events go: to the broker, which knows the policy's places; undefined where it is of before that. */
  get auditSink(): { readonly settings: BrokerSinkSettings; readonly sink: Sink } | undefined {
    if (this.opened.audit !== true) return undefined
    const { session, token } = this.opened
    const { address, authority } = this.#client
    // With the session's own token, which is good as long as the session, and for its end.
    const send: SendToBroker = async (events, signal) =>
      await this.#client.sendSessionAudit(session, token, events, signal)
    return { settings: { name: 'broker', broker: address, ca: authority }, sink: brokerSink(address, send) }
  }

  /** Sends what earlier sessions here recorded while this broker was away to its index; what it does not take stays for the next. */
  async indexLate(recordings: string): Promise<void> {
    const owner = await this.#asOwner()
    await indexLate(
      recordings,
      owner.address,
      async (session, statements) => await owner.indexLate(session, statements),
    )
  }

  /** Whoever else may answer what waits here. */
  get approvals(): RemoteApprovals {
    const { session, token } = this.opened
    return {
      ask: async request => await this.#client.ask(session, token, request),
      end: async (id, outcome) => await this.#client.endApproval(session, token, id, outcome),
    }
  }

  /** For as long again as the policy gives; the seconds that are left then. @throws AgentgateError what the broker says */
  async extend(): Promise<number> {
    const { expiresAt, ttlSeconds } = await (await this.#asOwner()).extend(this.opened.session, null)
    this.#expiresAtMs = Date.parse(expiresAt)
    return ttlSeconds
  }

  /** Tells the broker that it is over; may be called again. */
  async end(reason: string): Promise<void> {
    this.#ended ??= this.#client.end(this.opened.session, this.opened.token, reason)
    await this.#ended
  }

  /** Has the broker's word count until the session ends. */
  async follow(session: Followed): Promise<void> {
    const over = new AbortController()
    void session.finished.then(() => over.abort())
    let heardAt = performance.now()
    const held = { now: false }
    const watch = setInterval(() => {
      const silent = performance.now() - heardAt
      if (silent > graceMs) void session.revoke('the broker has not been heard of for 5 minutes')
      else if (silent > leaseMs && !held.now) {
        held.now = true
        session.hold(silentBroker())
      }
    }, 250)
    try {
      while (!over.signal.aborted) {
        try {
          const events = this.#client.stream(this.opened.session, this.opened.token, leaseMs, over.signal)
          for await (const event of events) {
            heardAt = performance.now()
            if (event.event === 'beat' && event.now !== undefined) {
              this.#aheadMs = Date.parse(event.now) - Date.now()
              session.sync((this.#expiresAtMs - Date.parse(event.now)) / 1000)
            }
            if (held.now) {
              held.now = false
              session.hold(undefined)
            }
            if (event.event === 'policy') await session.replacePolicy(event.policy)
            if (event.event === 'approval')
              void session.answer(event.id, answerOf(event), event.by, event.reason ?? undefined)
            if (event.event === 'check') void this.#check(session, event)
            if (event.event !== 'ended') continue
            await session.revoke(event.reason)
            return
          }
        } catch (error) {
          if (!(error instanceof AgentgateError)) throw error
          // Whatever it is, the lease runs out; a broker that no longer knows the session says so each time.
          if (error.code === 'NOT_LOGGED_IN') {
            await session.revoke('the broker does not know this session')
            return
          }
        }
        await sleep(reconnectMs, undefined, { signal: over.signal }).catch(() => undefined)
      }
    } finally {
      clearInterval(watch)
    }
  }

  /** Beside the stream, whose beat must not wait for it. */
  async #check(followed: Followed, { id, approval, text }: Extract<StreamEvent, { event: 'check' }>): Promise<void> {
    const { session, token } = this.opened
    try {
      await this.#client.checked(session, token, approval, id, await followed.check(approval, text))
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error // nobody hears of it: whoever asked asks again
    }
  }

  /** The broker has the real one. */
  #issuer(grant: string, credential: Credential): CredentialIssuer {
    return {
      name: credential.issuer,
      mint: () => Promise.resolve(credential),
      renew: async (current, ttlSeconds) => {
        const { session, token } = this.opened
        const wire = await this.#client.renew(session, token, grant, Math.max(1, Math.floor(ttlSeconds)))
        const renewed = fromWire(wire, this.#aheadMs)
        return {
          ...current,
          expiresAt: renewed.expiresAt,
          user: renewed.user,
          secret: renewed.secret ?? current.secret,
        }
      },
      revoke: () => Promise.resolve(),
      terminate: async () => await this.end('closed by its tunnel'),
      sweep: () => Promise.resolve(0),
    }
  }
}

function answerOf(event: Extract<StreamEvent, { event: 'approval' }>): BrokerAnswer {
  switch (event.outcome) {
    case 'approved':
      return { outcome: 'approved', shape: event.shape }
    case 'edited':
      return { outcome: 'edited', text: event.text ?? '' }
    case 'rejected':
      return { outcome: 'rejected' }
    default:
      return event.outcome satisfies never
  }
}

/** Its end by this machine's clock, which may be hours off. */
function fromWire(wire: WireCredential, aheadMs: number): Credential {
  return {
    issuer: wire.issuer,
    user: wire.user,
    secret: wire.secret === null ? null : new Secret(wire.secret),
    certificate:
      wire.certificate === null
        ? null
        : { certificate: wire.certificate.certificate, key: new Secret(wire.certificate.key) },
    expiresAt: wire.expiresAt === null ? null : new Date(Date.parse(wire.expiresAt) - aheadMs),
  }
}

function silentBroker(): AgentgateError {
  return new AgentgateError(
    'BROKER_UNREACHABLE',
    'the broker is silent, so nobody can say whether access still holds',
    {
      hint: 'it goes on by itself once the broker answers; after 5 minutes the session ends',
    },
  )
}
