import type { ControlEvent } from '../../control/schema.ts'

export type Tone = 'plain' | 'good' | 'bad' | 'waiting' | 'note'

/** One statement as a list shows it: what was asked, and what came of it. Nothing here is escaped yet. */
export interface LogLine {
  readonly at: Date
  readonly resource: string
  readonly client: string | null
  readonly text: string
  readonly state: string
  readonly milliseconds: number | null
  readonly note: string
  readonly tone: Tone
}

/** A statement that nobody needs to act on, and that may be left out when there are too many to read. */
export function isRoutine(line: LogLine): boolean {
  return line.tone === 'plain'
}

type Decision = Extract<ControlEvent, { event: 'decision' }>
type Outcome = Extract<ControlEvent, { event: 'outcome' }>

// Statements that run at one time: more than any pool holds, and a bound should an outcome ever be missing.
const maxRunning = 4096

/** Joins decisions and their outcomes into lines. */
export class StatementLog {
  readonly #running = new Map<string, Decision>()

  /** What there is to show for this event, if anything. */
  line(event: ControlEvent): LogLine | undefined {
    switch (event.event) {
      case 'decision':
        return this.#decided(event)
      case 'outcome':
        return this.#ended(event)
      case 'notice':
        return {
          at: new Date(event.at),
          resource: '',
          client: null,
          text: event.text,
          state: '',
          milliseconds: null,
          note: '',
          tone: event.level === 'warning' ? 'waiting' : 'note',
        }
      default:
        return undefined
    }
  }

  #decided(decision: Decision): LogLine | undefined {
    const said = decision.message ?? decision.rule?.name ?? ''
    switch (decision.decision) {
      case 'allowed':
      case 'approved':
        this.#running.set(keyOf(decision), decision)
        if (this.#running.size > maxRunning) {
          const oldest = this.#running.keys().next()
          if (oldest.done !== true) this.#running.delete(oldest.value)
        }
        return undefined
      case 'denied':
        return lineOf(decision, decision.at, 'denied', decision.rule?.name ?? said, 'bad')
      case 'held':
        return lineOf(decision, decision.at, 'waiting', decision.rule?.name ?? '', 'waiting')
      case 'rejected':
        return lineOf(decision, decision.at, 'rejected', decision.message ?? '', 'bad')
      case 'withdrawn':
        return lineOf(decision, decision.at, 'withdrawn', '', 'waiting')
      case 'timed-out':
        return lineOf(decision, decision.at, 'timed out', 'nobody answered', 'bad')
      default:
        return decision.decision satisfies never
    }
  }

  #ended(outcome: Outcome): LogLine | undefined {
    const decision = this.#running.get(keyOf(outcome))
    if (decision === undefined) return undefined
    this.#running.delete(keyOf(outcome))
    const approved = decision.decision === 'approved' ? ['approved'] : []
    const masked = outcome.masked.length === 0 ? [] : [`${outcome.masked.join(', ')} masked`]
    const note = [...approved, ...masked].join(', ')
    const { milliseconds } = outcome
    switch (outcome.status) {
      case 'ok': {
        const rows = outcome.rows === 1 ? '1 row' : `${outcome.rows?.toLocaleString('en-GB') ?? ''} rows`
        const state = outcome.rows === null ? 'ok' : rows
        return {
          ...lineOf(decision, decision.at, state, note, approved.length > 0 ? 'good' : 'plain'),
          milliseconds,
        }
      }
      case 'error':
        return {
          ...lineOf(decision, decision.at, 'failed', [outcome.tag, note].filter(Boolean).join(', '), 'waiting'),
          milliseconds,
        }
      case 'cancelled':
      case 'lost':
        return { ...lineOf(decision, decision.at, outcome.status, note, 'waiting'), milliseconds }
      default:
        return outcome.status satisfies never
    }
  }
}

function keyOf(event: Decision | Outcome): string {
  return `${event.connection}:${event.action}`
}

function lineOf(decision: Decision, at: string, state: string, note: string, tone: Tone): LogLine {
  return {
    at: new Date(at),
    resource: decision.resource,
    client: decision.client,
    text: decision.text,
    state,
    milliseconds: null,
    note,
    tone,
  }
}
