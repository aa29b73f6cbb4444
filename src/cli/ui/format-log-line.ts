import { showTime } from '../duration.ts'
import type { Paint } from '../paint.ts'
import { escapeLine, flatten } from './escape.ts'
import { fit, padEnd, padStart, truncate, widthOf } from './line.ts'
import type { LogLine, Tone } from './statement-log.ts'

/** `99,999 rows` */
const stateWidth = 11

export interface LogColumns {
  readonly width: number
  /** Shown where a session has more than one. */
  readonly resources: boolean
}

/** `14:07:12  psql     select id, … from orders      20 rows   3 ms   email masked`, on exactly one line. */
export function formatLogLine(line: LogLine, columns: LogColumns, paint: Paint): string {
  const time = paint.dim(showTime(line.at))
  if (line.state === '') {
    const sign = line.tone === 'waiting' ? '⚠ ' : ''
    return `${time}  ${colour(paint, line.tone)(truncate(sign + flatten(line.text), columns.width - 10))}`
  }
  const tone = colour(paint, line.tone)
  const state = tone(padStart(line.state, stateWidth))
  if (columns.width < 70) {
    const textWidth = Math.max(4, columns.width - 10 - stateWidth - 2)
    return fit(`${time}  ${field(flatten(line.text), textWidth)}  ${state}`, columns.width)
  }
  const client = field(escapeLine(line.client() ?? ''), 8)
  const resource = columns.resources ? `${field(escapeLine(line.resource), 12)}  ` : ''
  // Every column has the same place in every line; the note gives way before the statement does.
  const room = columns.width - (10 + 8 + 2 + widthOf(resource)) - (2 + stateWidth + 2)
  const restWidth = Math.max(7, Math.min(44, Math.floor(room / 2.2)))
  const text = field(flatten(line.text), Math.max(8, room - restWidth))
  const note = (width: number) => {
    const shown = truncate(escapeLine(line.note), width)
    return line.tone === 'plain' ? paint.dim(shown) : tone(shown)
  }
  const rest =
    line.milliseconds === null
      ? note(restWidth)
      : `${paint.dim(padStart(showMilliseconds(line.milliseconds), 7))}   ${note(restWidth - 10)}`
  return fit(`${time}  ${client}  ${resource}${text}  ${state}  ${rest}`.trimEnd(), columns.width)
}

/** For pipes: tab-separated, whole, with full timestamps. */
export function tabbedLogLine(line: LogLine): string {
  return [
    line.at.toISOString(),
    line.resource,
    line.client() ?? '',
    line.state === '' ? 'notice' : line.state,
    line.milliseconds === null ? '' : String(line.milliseconds),
    line.note,
    line.text,
  ]
    .map(escapeLine)
    .join('\t')
}

function field(text: string, width: number): string {
  return padEnd(truncate(text, width), width)
}

/** Three digits are enough: `0.4 ms`, `3 ms`, `1.2 s`, `4 min`. */
function showMilliseconds(milliseconds: number): string {
  if (milliseconds < 1) return `${milliseconds.toFixed(1)} ms`
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`
  return `${Math.floor(milliseconds / 60_000)} min`
}

function colour(paint: Paint, tone: Tone): (text: string) => string {
  switch (tone) {
    case 'plain':
      return text => text
    case 'good':
      return paint.green
    case 'bad':
      return paint.red
    case 'waiting':
      return paint.yellow
    case 'note':
      return paint.dim
    default:
      return tone satisfies never
  }
}
