import os from 'node:os'
import type { Environment } from '../config/paths.ts'
import type { AuditPlan } from '../policy/audit-settings.ts'
import { newEventUid, type AuditEvent } from './audit-event.ts'
import { Delivery } from './delivery.ts'
import { toOcsf } from './ocsf.ts'
import { Outbox, openOutboxFolder, type Lost } from './outbox.ts'
import { sweep, type Queued } from './outbox-reader.ts'
import { shorten } from './shorten.ts'
import { sinkReports, type SinkReport } from './sink-state.ts'
import { openSink } from './sinks/open-sink.ts'
import type { Sink } from './sinks/sink.ts'

/** Bytes of one event; many a receiver takes no more. */
const maxEventBytes = 128 << 10
const sweepMilliseconds = 1000

export interface AuditLogOptions {
  /** `Paths.auditDir`. */
  readonly root: string
  readonly plan: AuditPlan
  /** The policy's folder, for relative references. */
  readonly folder: string
  readonly env: Environment
  readonly version: string
  /** For a sink that is reached in a way of one's own; undefined: as it is always. */
  readonly open?: ((sink: AuditPlan['sinks'][number]) => Sink | undefined) | undefined
  readonly onWarning: (text: string) => void
}

/** Where a process puts its audit events. Nothing in it throws or waits, whatever becomes of the receivers. */
export class AuditLog {
  readonly #options: AuditLogOptions
  readonly #outboxFolder: string
  readonly #outbox: Outbox
  readonly #deliveries: Delivery[]
  readonly #host = os.hostname()
  #sweepAt = 0
  #sweepLater: NodeJS.Timeout | undefined

  /** @throws AgentgateError STATE_UNSAFE, or what the file system says */
  constructor(options: AuditLogOptions) {
    this.#options = options
    const { plan, folder, env, onWarning } = options
    this.#outboxFolder = openOutboxFolder(options.root, plan, folder)
    this.#outbox = new Outbox({
      folder: this.#outboxFolder,
      maxBytes: plan.outboxBytes,
      onFull: lost => this.#full(lost),
    })
    this.#deliveries = plan.sinks.map(
      sink =>
        new Delivery({
          outbox: this.#outboxFolder,
          name: sink.name,
          maxBytes: plan.outboxBytes,
          open: async () => options.open?.(sink) ?? (await openSink(sink, env, folder)),
          onDelivered: () => this.#sweep(),
          onUnreadable: count => {
            const now = Date.now()
            this.#tellLost({ count, bytes: 0, from: now, to: now }, 'their file in the outbox is damaged')
          },
          onWarning,
        }),
    )
  }

  /**
   * Adds an event; it is safe from a crash of this process once committed. `uid`: for an event that is known by another
   * name already, so that nobody takes a second telling for a second event.
   */
  emit(event: AuditEvent, at = Date.now(), uid = newEventUid()): void {
    const { plan, version } = this.#options
    if (event.kind === 'decision' && plan.decisions === 'refused' && event.decision.outcome === 'allowed') return
    const mapped = toOcsf(event, { uid, at, host: this.#host, version, text: plan.text })
    this.#outbox.append(JSON.stringify({ uid, kind: event.kind, at, event: shorten(mapped, maxEventBytes) }))
  }

  /** Events that somebody else has told; false where there is no room for them. */
  take(events: readonly Queued[]): boolean {
    this.#outbox.commit()
    const taken = this.#outbox.offer(events.map(each => JSON.stringify(each)))
    for (const delivery of this.#deliveries) delivery.nudge()
    return taken
  }

  commit(): void {
    this.#outbox.commit()
    for (const delivery of this.#deliveries) delivery.nudge()
  }

  /** Delivers what it can in this time; the rest waits for the next process, or `agentgate audit deliver`. */
  async close(milliseconds: number): Promise<void> {
    this.#outbox.close()
    await Promise.all(this.#deliveries.map(async delivery => await delivery.finish(milliseconds)))
    this.#sweepAt = 0
    this.#sweep()
  }

  /** Of its own sinks. */
  reports(): SinkReport[] {
    return sinkReports(this.#options.root).filter(({ outbox }) => outbox === this.#outboxFolder)
  }

  #full(lost: Lost | null): void {
    const { onWarning, plan } = this.#options
    if (lost !== null) {
      onWarning(
        `audit events are being lost: ${plan.outboxBytes / 1e6} MB wait in the outbox already, or its disk is full`,
      )
      return
    }
    const before = this.#outbox.lost
    if (before === null) return
    if (!this.#tellLost(before, 'the outbox was full')) return
    this.#outbox.forgetLost()
    onWarning(`audit events are kept again; ${before.count} were lost`)
  }

  #tellLost(lost: Lost, detail: string): boolean {
    this.emit({ kind: 'audit-lost', count: lost.count, from: lost.from, to: lost.to, detail })
    return this.#outbox.commit()
  }

  #sweep(): void {
    const now = Date.now()
    if (now < this.#sweepAt) {
      // The last batch of all must have its turn, too.
      this.#sweepLater ??= setTimeout(() => this.#sweep(), this.#sweepAt - now + 1).unref()
      return
    }
    clearTimeout(this.#sweepLater)
    this.#sweepLater = undefined
    this.#sweepAt = now + sweepMilliseconds
    try {
      sweep(
        this.#outboxFolder,
        this.#options.plan.sinks.map(({ name }) => name),
        lost => void this.#tellLost(lost, 'the outbox was full'),
      )
    } catch {
      // What is left is removed next time.
    }
  }
}
