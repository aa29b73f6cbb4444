import type { Manifest } from './manifest.ts'
import type { PlacedEvent } from './stored-event.ts'
import { Counter, type Summary } from './summary.ts'

/** What a session's events say of it, gathered as they go by: the same that its manifest says. */
export class Account {
  readonly #counter = new Counter()
  start: Manifest['start'] = null
  end: Manifest['end'] = null
  events = 0
  lastAt: number | null = null
  /** There was an event after the one that ended the session. */
  trailing = false

  take(placed: PlacedEvent): void {
    const { event, at } = placed
    this.#counter.count(event)
    this.events += 1
    this.lastAt = at
    this.trailing ||= this.end !== null
    if (event.kind === 'session-start' && this.start === null) {
      const { kind: _, ...start } = event
      this.start = { at, ...start }
    }
    if (event.kind === 'session-end') this.end = { at, reason: event.reason, exitCode: event.exitCode }
  }

  get summary(): Summary {
    return this.#counter.summary
  }
}
