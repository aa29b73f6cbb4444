import type { ReplayItem } from '../../recording/replay.ts'
import type { PlacedEvent, StoredEvent } from '../../recording/stored-event.ts'
import { problemText } from '../../recording/verification-text.ts'
import { counted } from '../counted.ts'
import { showTime } from '../duration.ts'
import type { Paint } from '../paint.ts'
import { decisionDetails } from '../recorded-line.ts'
import { escapeLine, escapeLines } from './escape.ts'
import { ResultTable } from './result-table.ts'
import { TerminalFilter } from './terminal-filter.ts'

const indent = 10
/** Nobody reads a longer one; a terminal that is sent no line break at all must not fill memory. */
const maxLine = 64 * 1024

export interface ReplayTextOptions {
  /** Columns of the terminal; null: nothing is cut. */
  readonly width: number | null
  /** Rows of each result; null for all. */
  readonly rows: number | null
}

/** A replay as lines, each safe to show: what was recorded is text of whoever sent it. */
export class ReplayText {
  readonly #options: ReplayTextOptions
  readonly #paint: Paint
  readonly #tables = new Map<number, ResultTable>()
  readonly #terminal = new TerminalFilter('plain')
  /** What a recorded terminal was sent since its last line break. */
  #line = ''

  constructor(options: ReplayTextOptions, paint: Paint) {
    this.#options = options
    this.#paint = paint
  }

  lines(item: ReplayItem): string[] {
    if (item.kind === 'event' && item.placed.event.kind === 'terminal') return this.#terminalLines(item.placed.event)
    return [...this.rest(), ...this.#item(item)]
  }

  /** What a recorded terminal was sent since its last line break. */
  rest(): string[] {
    const started = this.#line === '' ? [] : escapeLines(this.#line)
    this.#line = ''
    return started
  }

  #item(item: ReplayItem): string[] {
    switch (item.kind) {
      case 'event':
        return this.#event(item.placed)
      case 'problem':
        return [this.#paint.red(`warning: ${escapeLine(problemText(item.problem, at => showTime(new Date(at))))}`)]
      case 'opaque':
        return [this.#under(this.#paint.dim(`${counted(item.bytes, 'byte')} that cannot be decoded`))]
      case 'result': {
        const { shown, action } = item
        if (shown.kind === 'text') return escapeLines(shown.text.replace(/\r?\n$/, '')).map(line => this.#under(line))
        const table = this.#tables.get(action) ?? new ResultTable({ ...this.#options, indent }, this.#paint)
        this.#tables.set(action, table)
        return table.lines(shown.columns ?? [], shown.rows ?? [])
      }
      default:
        return item satisfies never
    }
  }

  #event({ event, at, sequence }: PlacedEvent): string[] {
    const { bold, dim, red, green, yellow } = this.#paint
    const time = dim(showTime(new Date(at)))
    const line = (text: string) => [`${time}  ${escapeLine(text)}`]
    switch (event.kind) {
      case 'session-start': {
        const { principal, actor } = event.subject
        const who = actor === null ? principal.name : `${principal.name} + ${actor.name}`
        return line(`session ${event.session} · ${who} · ${event.resources.map(({ name }) => name).join(', ')}`)
      }
      case 'policy':
        return line(`the policy is now ${event.digest}`)
      case 'connection':
        return line(`${event.connection} opened to ${event.resource} from ${event.peer}`)
      case 'client': {
        if (event.process === null) return []
        const { program, pid, ancestry } = event.process
        const under = ancestry.length === 0 ? '' : `, under ${ancestry.join(', ')}`
        return line(`${event.connection} is ${program} (pid ${pid})${under}`)
      }
      case 'action': {
        const { outcome } = event.decision
        const [first = '', ...rest] = escapeLines(event.view.text.trimEnd())
        const word = outcome === 'allowed' ? [] : [outcome === 'timed-out' ? 'timed out' : outcome]
        const tone = outcome === 'approved' ? green : outcome === 'held' || outcome === 'withdrawn' ? yellow : red
        return [
          `${time}  ${dim(`${escapeLine(event.connection)} #${sequence}`)}  ${bold(first)}`,
          ...rest.map(text => this.#under(bold(text))),
          ...word.map(text => this.#under(tone(text))),
          ...decisionDetails(event).map(text => this.#under(dim(escapeLine(text)))),
        ]
      }
      case 'result':
        return []
      case 'result-cut':
        return [this.#under(dim(`the recording keeps ${counted(event.kept, 'byte')} of this result`))]
      case 'result-digest':
        return [this.#under(dim(`${counted(event.bytes, 'byte')} more were sent, sha256 ${escapeLine(event.sha256)}`))]
      case 'outcome': {
        const left = this.#tables.get(event.action)?.end() ?? []
        this.#tables.delete(event.action)
        const parts = [
          event.status === 'ok' ? '' : event.status,
          event.rows === null ? event.tag : counted(event.rows, 'row'),
          `${event.milliseconds < 10 ? event.milliseconds.toFixed(1) : Math.round(event.milliseconds)} ms`,
          event.masked.length === 0 ? '' : `${event.masked.join(', ')} masked`,
        ]
        const text = escapeLine(parts.filter(Boolean).join(' · '))
        return [...left, this.#under(event.status === 'ok' ? dim(text) : yellow(text))]
      }
      case 'terminal':
        return []
      case 'note':
        return line(event.text)
      case 'connection-end':
        return line(`${event.connection} closed: ${event.reason}`)
      case 'session-end':
        return line(`session ended: ${event.reason}${event.exitCode === null ? '' : `, exit code ${event.exitCode}`}`)
      case 'unknown':
        return line(`an event that only a newer agentgate knows: ${event.name}`)
      default:
        return event satisfies never
    }
  }

  /** A terminal is sent pieces of lines. */
  #terminalLines(event: Extract<StoredEvent, { kind: 'terminal' }>): string[] {
    if (event.direction !== 'output') return []
    const lines = `${this.#line}${this.#terminal.push(event.bytes)}`.split('\n')
    this.#line = lines.pop() ?? ''
    if (this.#line.length > maxLine) {
      lines.push(this.#line)
      this.#line = ''
    }
    return lines.flatMap(escapeLines)
  }

  #under(text: string): string {
    return ' '.repeat(indent) + text
  }
}
