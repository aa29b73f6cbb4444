import type { CaughtUp, Problem, ReadItem } from './read-item.ts'
import { decoded, type DecoderOf, type ReplayItem, type Shown } from './replay.ts'
import type { PlacedEvent } from './stored-event.ts'

export interface Match {
  readonly sequence: number
  readonly at: number
}

/**
 * The first event that holds `text`, whatever the case: in statements, their values, decisions, notes, results as they are
 * shown, and in what a terminal was sent. A damaged
 * recording is searched as far as it can be read.
 */
export async function searchRecording(
  items: AsyncIterable<ReadItem | CaughtUp>,
  decoderOf: DecoderOf,
  plainOf: () => (bytes: Buffer) => string,
  text: string,
  onProblem: (problem: Problem) => void,
): Promise<Match | undefined> {
  const needle = text.toLowerCase()
  const streams = new Streams(needle)
  let plain: ((bytes: Buffer) => string) | undefined
  for await (const item of decoded(items, decoderOf)) {
    if (item.kind === 'caught-up') continue
    if (item.kind === 'problem') onProblem(item.problem)
    if (item.kind === 'event' && item.placed.event.kind === 'terminal') {
      const { event, sequence, at } = item.placed
      plain ??= plainOf()
      if (event.direction === 'output' && streams.holds(terminalStream, plain(event.bytes))) return { sequence, at }
      continue
    }
    const found = inItem(item, needle, streams)
    if (found !== undefined) return found
  }
  return undefined
}

/** No action has it: sequence numbers begin at 1. */
const terminalStream = 0

function inItem(item: ReplayItem, needle: string, streams: Streams): Match | undefined {
  switch (item.kind) {
    case 'event': {
      const { sequence, at, event } = item.placed
      if (event.kind === 'outcome') streams.end(event.action)
      return wordsOf(item.placed).some(word => word.toLowerCase().includes(needle)) ? { sequence, at } : undefined
    }
    case 'result':
      return streams.holds(item.action, shownText(item.shown)) ? { sequence: item.action, at: item.at } : undefined
    case 'opaque':
    case 'problem':
      return undefined
    default:
      return item satisfies never
  }
}

function shownText({ text, columns, rows }: Shown): string {
  return [text, ...(columns ?? []), ...(rows ?? []).flatMap(row => row.filter(value => value !== null))].join('\n')
}

/** All that was said in an event: its strings, however deep. */
function wordsOf({ event }: PlacedEvent): string[] {
  const words: string[] = []
  const take = (value: unknown) => {
    if (typeof value === 'string') words.push(value)
    else if (typeof value === 'object' && value !== null && !Buffer.isBuffer(value))
      for (const each of Object.values(value)) take(each)
  }
  const { kind: _, ...rest } = event
  take(rest)
  return words
}

/** Text that comes in pieces: what is looked for may lie across two of them. */
class Streams {
  readonly #needle: string
  readonly #tails = new Map<number, string>()

  constructor(needle: string) {
    this.#needle = needle
  }

  holds(stream: number, piece: string): boolean {
    const text = (this.#tails.get(stream) ?? '') + piece.toLowerCase()
    if (text.includes(this.#needle)) return true
    const kept = this.#needle.length - 1
    this.#tails.set(stream, kept === 0 ? '' : text.slice(-kept))
    return false
  }

  end(stream: number): void {
    this.#tails.delete(stream)
  }
}
