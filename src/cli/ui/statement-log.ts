import type { ControlEvent } from '../../control/schema.ts'
import { counted } from '../counted.ts'

export type Tone = 'plain' | 'good' | 'bad' | 'waiting' | 'note'

/** One statement as a list shows it: what was asked, and what came of it. Nothing here is escaped yet. */
export interface LogLine {
  readonly at: Date
  readonly resource: string
  /** The program at the other end; found out beside the work, so it may be known only later. */
  readonly client: () => string | null
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
const maxClients = 4096

/** Joins decisions and their outcomes into lines. */
export class StatementLog {
  readonly #running = new Map<string, Decision>()
  readonly #clients = new Map<string, string>()

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
          client: () => null,
          text: event.text,
          state: '',
          milliseconds: null,
          note: '',
          tone: event.level === 'warning' ? 'waiting' : 'note',
        }
      case 'connection':
        if (event.client !== null) keep(this.#clients, event.connection, event.client, maxClients)
        return undefined
      default:
        return undefined
    }
  }

  #decided(decision: Decision): LogLine | undefined {
    const said = decision.message ?? decision.rule?.name ?? ''
    switch (decision.decision) {
      case 'allowed':
      case 'approved':
        keep(this.#running, keyOf(decision), decision, maxRunning)
        return undefined
      case 'denied':
        return this.#lineOf(decision, 'denied', decision.rule?.name ?? said, 'bad')
      case 'held':
        return this.#lineOf(decision, 'waiting', decision.rule?.name ?? '', 'waiting')
      case 'rejected':
        return this.#lineOf(decision, 'rejected', decision.message ?? '', 'bad')
      case 'withdrawn':
        return this.#lineOf(decision, 'withdrawn', '', 'waiting')
      case 'timed-out':
        return this.#lineOf(decision, 'timed out', 'nobody answered', 'bad')
      default:
        return decision.decision satisfies never
    }
  }

  #lineOf(decision: Decision, state: string, note: string, tone: Tone): LogLine {
    return {
      at: new Date(decision.at),
      resource: decision.resource,
      client: () => decision.client ?? this.#clients.get(decision.connection) ?? null,
      text: decision.text,
      state,
      milliseconds: null,
      note,
      tone,
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
        const state = outcome.rows === null ? 'ok' : showRows(outcome.rows)
        return {
          ...this.#lineOf(decision, state, note, approved.length > 0 ? 'good' : 'plain'),
          milliseconds,
        }
      }
      case 'error':
        return {
          ...this.#lineOf(decision, 'failed', [outcome.tag, note].filter(Boolean).join(', '), 'waiting'),
          milliseconds,
        }
      case 'cancelled':
      case 'lost':
        return { ...this.#lineOf(decision, outcome.status, note, 'waiting'), milliseconds }
      default:
        return outcome.status satisfies never
    }
  }
}

function keyOf(event: Decision | Outcome): string {
  return `${event.connection}:${event.action}`
}

/** `1 row`, `48,211 rows`, `1.2 M rows`. */
function showRows(rows: number): string {
  if (rows >= 99_950) {
    const [divisor, unit] = rows >= 999_500 ? [1e6, 'M'] : [1e3, 'k']
    const short = rows / divisor
    return `${short < 10 ? short.toFixed(1) : Math.round(short)} ${unit} rows`
  }
  return counted(rows, 'row')
}

/** Adds to a map that forgets its oldest entries. */
function keep<Value>(map: Map<string, Value>, key: string, value: Value, most: number): void {
  map.set(key, value)
  if (map.size <= most) return
  const oldest = map.keys().next()
  if (oldest.done !== true) map.delete(oldest.value)
}
