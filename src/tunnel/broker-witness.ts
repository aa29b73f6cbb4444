import type { BrokerClient } from '../control/broker-client.ts'
import type { OpenedSession } from '../control/broker-schema.ts'
import type { IndexedStatement } from '../control/witness-schema.ts'
import { AgentgateError } from '../errors.ts'
import type { RecordedEvent } from '../recording/event.ts'
import type { Recorder } from '../recording/recorder.ts'
import type { SessionKey } from '../recording/session-key.ts'
import { certificateHolds, certificateSchema, receiptSchema, type Certificate } from '../recording/witness/receipt.ts'
import { witnessed } from '../recording/witness/witnessed-recorder.ts'
import { batchStatements, indexedStatement, markUnindexed, unmark } from './late-statements.ts'

const everyMilliseconds = 2_000
/** What waits for a broker that is away, in memory; what comes then is taken from the recording. */
const maxWaiting = 5_000

/** What a broker vouched for when it granted a session. */
export interface RecordingCertificate {
  readonly key: SessionKey
  readonly certificate: Certificate
}

/** @throws AgentgateError BROKER_UNREACHABLE: it certified something else */
export function certificateOf(opened: OpenedSession, key: SessionKey): RecordingCertificate | undefined {
  if (opened.witness === undefined) return undefined // a broker from before there were witnesses
  const parsed = certificateSchema.safeParse(opened.witness.certificate)
  const certificate = parsed.success && certificateHolds(parsed.data) ? parsed.data : undefined
  if (
    certificate === undefined ||
    certificate.session !== opened.session ||
    certificate.recordingKey !== key.publicKey ||
    certificate.key !== opened.witness.key
  )
    throw new AgentgateError('BROKER_UNREACHABLE', 'the broker certified another recording than was asked for', {
      hint: 'both ends should be the same version: agentgate --version',
    })
  return { key, certificate }
}

export interface BrokerWitness extends RecordingCertificate {
  readonly client: BrokerClient
  readonly token: string
  /** Statements go to the broker's index; not where they are encrypted to others. */
  readonly indexed: boolean
}

/** A recorder whose chain the broker countersigns, and whose statements it indexes. */
export function seenByBroker(recorder: Recorder, by: BrokerWitness, onWarning: (text: string) => void): Recorder {
  const { client, token, key, certificate } = by
  const { session } = certificate
  const seen = witnessed(recorder, {
    session,
    key,
    brokerKey: certificate.key,
    countersign: async (head, signal) => {
      const { session: _, ...rest } = head
      return receiptSchema.parse(await client.countersign(session, token, rest, signal))
    },
    onWarning,
  })
  if (!by.indexed) return seen
  const feed = new StatementFeed(
    recorder.path,
    client.address,
    async statements => await client.indexStatements(session, token, statements),
  )
  return {
    ...seen,
    append: event => {
      const sequence = seen.append(event)
      if (event.kind === 'action') feed.take(sequence, event)
      return sequence
    },
    close: async (reason, exitCode) => {
      await seen.close(reason, exitCode)
      await feed.close()
    },
  }
}

/** Sends statements to an index in batches, in the background; what it cannot take soon is sent from the recording later. */
class StatementFeed {
  readonly #folder: string
  readonly #broker: string
  readonly #send: (statements: readonly IndexedStatement[]) => Promise<void>
  readonly #waiting: IndexedStatement[] = []
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | null = null
  /** The last event before which the index has all. */
  #after = 0
  /** More waited than is kept: the rest is in the recording. */
  #behind = false
  #marking: Promise<void> = Promise.resolve()

  constructor(folder: string, broker: string, send: (statements: readonly IndexedStatement[]) => Promise<void>) {
    this.#folder = folder
    this.#broker = broker
    this.#send = send
    this.#timer = setInterval(() => this.#start(), everyMilliseconds)
    this.#timer.unref()
    this.#mark()
  }

  take(sequence: number, action: Extract<RecordedEvent, { kind: 'action' }>): void {
    if (this.#behind || this.#waiting.length >= maxWaiting) this.#behind = true
    else this.#waiting.push(indexedStatement(sequence, Date.now(), action))
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running
    await this.#run()
    await this.#marking
    if (this.#waiting.length === 0 && !this.#behind) await unmark(this.#folder).catch(() => undefined)
  }

  #start(): void {
    if (this.#waiting.length > 0) this.#running ??= this.#run().finally(() => (this.#running = null))
  }

  async #run(): Promise<void> {
    const before = this.#after
    try {
      while (this.#waiting.length > 0) {
        const batch = this.#waiting.slice(0, batchStatements)
        await this.#send(batch)
        this.#waiting.splice(0, batch.length)
        this.#after = batch.at(-1)?.sequence ?? this.#after
      }
    } catch {
      // Tried again with the next ones: the index is for finding, the recording for proving.
    }
    if (this.#after > before) this.#mark()
  }

  /** So that whoever comes after a crash knows where to go on. */
  #mark(): void {
    const mark = { broker: this.#broker, after: this.#after }
    this.#marking = this.#marking.then(async () => await markUnindexed(this.#folder, mark)).catch(() => undefined)
  }
}
