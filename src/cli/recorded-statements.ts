import type { PlacedEvent, StoredEvent } from '../recording/stored-event.ts'

export type RecordedAction = Extract<StoredEvent, { kind: 'action' }>
export type RecordedOutcome = Extract<StoredEvent, { kind: 'outcome' }>

/** A statement with all that came of it. */
export interface RecordedStatement {
  readonly sequence: number
  readonly at: number
  readonly action: RecordedAction
  /** null: it did not run, or nobody lived to see how it ended. */
  readonly outcome: { readonly at: number; readonly event: RecordedOutcome } | null
  /** Of its result, as recorded. */
  readonly resultBytes: number
  /** Beyond what was kept of the result. */
  readonly cutBytes: number
}

interface Running {
  readonly placed: PlacedEvent
  readonly action: RecordedAction
  resultBytes: number
  cutBytes: number
}

// Statements that run at one time, as in ui/statement-log.ts.
const maxRunning = 4096

/** Joins actions, results and outcomes as they go by. */
export class RecordedStatements {
  readonly #running = new Map<number, Running>()
  /** What waits for a person, by connection: it asks for one thing at a time. */
  readonly #held = new Map<string, Running>()

  /** The statements that are complete with this event. */
  take(placed: PlacedEvent): RecordedStatement[] {
    const { event, sequence } = placed
    switch (event.kind) {
      case 'action': {
        const running = { placed, action: event, resultBytes: 0, cutBytes: 0 }
        // What was held has been decided on by the next event of its connection, which stands for it.
        this.#held.delete(event.connection)
        switch (event.decision.outcome) {
          case 'held':
            this.#held.set(event.connection, running)
            return []
          case 'allowed':
          case 'approved':
            this.#running.set(sequence, running)
            return this.#running.size > maxRunning ? this.#oldest() : []
          default:
            return [statementOf(running, null)]
        }
      }
      case 'result': {
        const running = this.#running.get(event.action)
        if (running !== undefined) running.resultBytes += event.bytes.length
        return []
      }
      case 'result-digest': {
        const running = this.#running.get(event.action)
        if (running !== undefined) running.cutBytes += event.bytes
        return []
      }
      case 'outcome': {
        const running = this.#running.get(event.action)
        if (running === undefined) return []
        this.#running.delete(event.action)
        return [statementOf(running, { at: placed.at, event })]
      }
      default:
        return []
    }
  }

  /** What has no end in the recording. */
  end(): RecordedStatement[] {
    return [...this.#running.values(), ...this.#held.values()].map(running => statementOf(running, null))
  }

  #oldest(): RecordedStatement[] {
    for (const [sequence, running] of this.#running) {
      this.#running.delete(sequence)
      return [statementOf(running, null)]
    }
    return []
  }
}

function statementOf(running: Running, outcome: RecordedStatement['outcome']): RecordedStatement {
  const { placed, action, resultBytes, cutBytes } = running
  return { sequence: placed.sequence, at: placed.at, action, outcome, resultBytes, cutBytes }
}
