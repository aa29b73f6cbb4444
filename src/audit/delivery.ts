import { appendFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { AgentgateError } from '../errors.ts'
import { systemWord } from '../recording/failure.ts'
import { advanceCursor, readCursor, type Cursor, type CursorContent } from './cursor.ts'
import { measure } from './outbox.ts'
import { readBatch, type Batch } from './outbox-reader.ts'
import { readSinkState, writeSinkState, type SinkState } from './sink-state.ts'
import { SinkLock } from './sink-lock.ts'
import { SinkFailed, type Sink } from './sinks/sink.ts'

const lookMilliseconds = 1000
const firstRetryMilliseconds = 1000
const lastRetryMilliseconds = 5 * 60_000

export interface DeliveryOptions {
  readonly outbox: string
  readonly name: string
  readonly maxBytes: number
  /** @throws AgentgateError SECRET_UNRESOLVED */
  readonly open: () => Promise<Sink>
  /** Called after a batch, to remove what nobody waits for. */
  readonly onDelivered: () => void
  /** Lines that could not be read are gone: a loss like any other. */
  readonly onUnreadable: (count: number) => void
  readonly onWarning: (text: string) => void
}

/** Brings an outbox to one sink, in order, again and again until it has arrived. */
export class Delivery {
  readonly #options: DeliveryOptions
  readonly #stop = new AbortController()
  readonly #lock: SinkLock
  readonly #done: Promise<void>
  readonly #hurry = new AbortController()
  #wake = new AbortController()
  #draining = false
  #state: SinkState
  #warned = ''
  #known: boolean

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#lock = new SinkLock(options.outbox, options.name)
    const before = readSinkState(options.outbox, options.name)
    this.#state = before ?? { state: 'ok', text: '', since: Date.now(), setAside: 0 }
    this.#known = before !== null
    this.#done = this.#run()
  }

  /** There is something new. */
  nudge(): void {
    this.#wake.abort()
  }

  /** Delivers what is there, tries what fails only once, and waits no longer than this. */
  async finish(milliseconds: number): Promise<void> {
    this.#draining = true
    this.#hurry.abort()
    const timer = setTimeout(() => this.#stop.abort(), milliseconds)
    await this.#done
    clearTimeout(timer)
  }

  async #run(): Promise<void> {
    let sink: Sink | undefined
    let wait = firstRetryMilliseconds
    try {
      while (!this.#stop.signal.aborted) {
        try {
          sink ??= await this.#options.open()
          const went = this.#lock.acquire() ? await this.#step(sink) : 'elsewhere'
          if (went === 'more') wait = firstRetryMilliseconds
          else if (this.#draining) return
          else await this.#pause(lookMilliseconds)
        } catch (error) {
          const failed = asFailure(error)
          this.#tell(failed.kind, failed.text)
          if (this.#draining && failed.kind !== 'unreachable') return
          if (this.#draining && wait > firstRetryMilliseconds) return
          // At random, so that many that were refused at once do not all come back at once.
          const until = Math.max(failed.retryAfterMilliseconds ?? 0, wait * (0.5 + Math.random() / 2))
          await this.#backOff(until)
          wait = Math.min(wait * 2, lastRetryMilliseconds)
        }
      }
    } finally {
      sink?.close()
      this.#lock.release()
    }
  }

  async #step(sink: Sink): Promise<'more' | 'nothing'> {
    const { outbox, name } = this.#options
    const cursor = readCursor(outbox, name)
    const batch = readBatch(outbox, cursor.content, sink.limits)
    if (batch.events.length > 0) await this.#send(sink, cursor, batch)
    else if (batch.moved) this.#advance(cursor, batch.next)
    if (batch.unreadable > 0) this.#options.onUnreadable(batch.unreadable)
    return batch.events.length > 0 ? 'more' : 'nothing'
  }

  async #send(sink: Sink, cursor: Cursor, batch: Batch): Promise<void> {
    const { outbox, maxBytes } = this.#options
    try {
      await sink.send(batch.events, this.#stop.signal)
    } catch (error) {
      if (!(error instanceof SinkFailed) || error.kind !== 'unacceptable') throw error
      // Which one it is shows when they go alone; a receiver that wants none of them is a matter of settings.
      const [first] = batch.events
      const one = readBatch(outbox, cursor.content, { events: 1, bytes: 1 })
      if (batch.events.length > 1) {
        await this.#send(sink, cursor, one)
        return
      }
      if (first === undefined || measure(outbox) > maxBytes / 2) throw error
      appendFileSync(path.join(outbox, `set-aside-${this.#options.name}.jsonl`), `${JSON.stringify(first)}\n`, {
        mode: 0o600,
      })
      this.#advance(cursor, batch.next)
      this.#state = { ...this.#state, setAside: this.#state.setAside + 1 }
      this.#tell('refused', `${error.message} to one event, which is set aside in ${outbox}`)
      return
    }
    this.#advance(cursor, batch.next)
    if (this.#state.state !== 'ok' || !this.#known) {
      if (this.#warned !== '') this.#options.onWarning(`audit events reach ${this.#options.name} again`)
      this.#warned = ''
      this.#change({ ...this.#state, state: 'ok', text: '', since: Date.now() })
    }
    this.#options.onDelivered()
  }

  #advance(cursor: Cursor, next: CursorContent): void {
    // Another process has gone on from here: what it has sent, we leave; the next look starts from its cursor.
    advanceCursor(this.#options.outbox, this.#options.name, cursor, next)
  }

  #tell(kind: SinkState['state'], text: string): void {
    this.#change({
      ...this.#state,
      state: kind,
      text,
      since: this.#state.state === kind ? this.#state.since : Date.now(),
    })
    if (text === this.#warned || this.#stop.signal.aborted) return
    this.#warned = text
    this.#options.onWarning(`audit events do not reach ${this.#options.name}: ${text}; they are kept and tried again`)
  }

  #change(state: SinkState): void {
    this.#state = state
    this.#known = true
    try {
      writeSinkState(this.#options.outbox, this.#options.name, state)
    } catch {
      // Only for showing.
    }
  }

  /** Until something new comes. */
  async #pause(milliseconds: number): Promise<void> {
    if (!this.#wake.signal.aborted) {
      const signal = AbortSignal.any([this.#stop.signal, this.#hurry.signal, this.#wake.signal])
      await delay(milliseconds, undefined, { signal, ref: false }).catch(() => undefined)
    }
    this.#wake = new AbortController()
  }

  /** New events do not shorten it: a receiver in trouble is not asked more often because there is more to tell. */
  async #backOff(milliseconds: number): Promise<void> {
    const signal = this.#draining ? this.#stop.signal : AbortSignal.any([this.#stop.signal, this.#hurry.signal])
    await delay(milliseconds, undefined, { signal, ref: this.#draining }).catch(() => undefined)
  }
}

interface Failure {
  readonly kind: Exclude<SinkState['state'], 'ok'>
  readonly text: string
  readonly retryAfterMilliseconds?: number | undefined
}

function asFailure(error: unknown): Failure {
  if (error instanceof SinkFailed) {
    const { kind, message, retryAfterMilliseconds } = error
    return { kind: kind === 'unreachable' ? 'unreachable' : 'refused', text: message, retryAfterMilliseconds }
  }
  if (error instanceof AgentgateError) return { kind: 'unresolved', text: error.message }
  return { kind: 'refused', text: systemWord(error) }
}
