import type { ControlEvent } from '../control/schema.ts'

const maxQueuedEvents = 4096
/** What is made only when it is read is read this much later at most: by the batch, off the way of statements. */
const gatherMs = 10

/** An event, or what makes it once somebody reads it: never on the way of what it tells of. */
export type Emitted = ControlEvent | (() => ControlEvent)

/** Hands a session's events to whoever watches. A slow watcher loses the oldest and is told so; the session never waits. */
export class EventHub {
  readonly #watchers = new Set<Watcher>()
  #ended = false

  /** Whether anyone watches: what nobody sees need not be built. */
  get watched(): boolean {
    return this.#watchers.size > 0
  }

  emit(event: Emitted): void {
    for (const watcher of this.#watchers) watcher.push(event)
  }

  /** Every watcher gets what is queued, then its end. */
  end(): void {
    this.#ended = true
    for (const watcher of this.#watchers) watcher.end()
  }

  async *watch(signal: AbortSignal, first: readonly ControlEvent[] = []): AsyncGenerator<ControlEvent> {
    const watcher = new Watcher(first)
    if (this.#ended) watcher.end()
    this.#watchers.add(watcher)
    const stop = () => watcher.end()
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) watcher.end()
    try {
      for (;;) {
        const events = await watcher.next()
        if (events === undefined) return
        for (const event of events) yield typeof event === 'function' ? event() : event
      }
    } finally {
      signal.removeEventListener('abort', stop)
      this.#watchers.delete(watcher)
    }
  }
}

class Watcher {
  #queue: Emitted[]
  #lost = 0
  #ended = false
  /** Something is to be read now. */
  #due: boolean
  #timer: NodeJS.Timeout | undefined
  #wake: (() => void) | undefined

  constructor(first: readonly ControlEvent[]) {
    this.#queue = [...first]
    this.#due = first.length > 0
  }

  push(event: Emitted): void {
    if (this.#ended) return
    if (this.#queue.length >= maxQueuedEvents) {
      this.#queue.splice(0, maxQueuedEvents / 2)
      this.#lost += maxQueuedEvents / 2
    }
    this.#queue.push(event)
    if (typeof event !== 'function') this.#tell()
    else this.#timer ??= setTimeout(() => this.#tell(), gatherMs)
  }

  end(): void {
    this.#ended = true
    this.#tell()
  }

  #tell(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#due = true
    this.#wake?.()
  }

  /** What has come since, undefined at the end. */
  async next(): Promise<readonly Emitted[] | undefined> {
    while (!this.#due) {
      await new Promise<void>(resolve => (this.#wake = resolve))
      this.#wake = undefined
    }
    if (this.#queue.length === 0 && this.#ended) return undefined
    this.#due = this.#ended
    const events = this.#queue
    this.#queue = []
    if (this.#lost > 0) {
      const text = `${this.#lost} events were not shown: this viewer is too slow; the recording has them`
      this.#lost = 0
      events.unshift({ event: 'notice', at: new Date().toISOString(), level: 'warning', text })
    }
    return events
  }
}
