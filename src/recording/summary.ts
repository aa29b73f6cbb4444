import type { RecordedEvent } from './event.ts'
import type { StoredEvent } from './stored-event.ts'

/** What a list of sessions shows of one, counted from its events. */
export interface Summary {
  readonly connections: number
  readonly statements: number
  readonly denied: number
  /** Held for a person, however that ended. */
  readonly asked: number
  /** Actions in whose results something was masked. */
  readonly masked: number
}

const refused: ReadonlySet<string> = new Set(['denied', 'rejected', 'withdrawn', 'timed-out'])

/** Counts as events go by; the recorder and whoever reads a recording count alike. */
export class Counter {
  #connections = 0
  #statements = 0
  #denied = 0
  #asked = 0
  #masked = 0

  count(event: RecordedEvent | StoredEvent): void {
    switch (event.kind) {
      case 'connection':
        this.#connections += 1
        return
      case 'action':
        // An action that is held has an event when it is held and another when that ends.
        if (event.decision.outcome === 'held') this.#asked += 1
        else this.#statements += 1
        if (refused.has(event.decision.outcome)) this.#denied += 1
        return
      case 'outcome':
        if (event.masked.length > 0) this.#masked += 1
        return
      default:
        return
    }
  }

  get summary(): Summary {
    return {
      connections: this.#connections,
      statements: this.#statements,
      denied: this.#denied,
      asked: this.#asked,
      masked: this.#masked,
    }
  }
}
