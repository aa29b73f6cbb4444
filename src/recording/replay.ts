import type { ContentKey } from './encryption/content-key.ts'
import type { CaughtUp, Problem, ReadItem } from './read-item.ts'
import { readRecording } from './reader.ts'
import type { PlacedEvent } from './stored-event.ts'

/** What a protocol's decoder makes of recorded bytes (src/protocols/protocol.ts has the same). */
export interface Shown {
  readonly kind: 'text' | 'table'
  readonly text: string
  readonly columns?: readonly string[]
  readonly rows?: readonly (readonly (string | null)[])[]
}

export interface ResultDecoder {
  push(bytes: Buffer): readonly Shown[]
  end(): readonly Shown[]
}

export type ReplayItem =
  /** Everything but results. */
  | { readonly kind: 'event'; readonly placed: PlacedEvent }
  | {
      readonly kind: 'result'
      readonly at: number
      readonly connection: string
      readonly action: number
      readonly shown: Shown
    }
  /** Result bytes that no decoder understands. */
  | {
      readonly kind: 'opaque'
      readonly at: number
      readonly connection: string
      readonly action: number
      readonly bytes: number
    }
  | { readonly kind: 'problem'; readonly problem: Problem }

export type DecoderOf = (kind: string) => ResultDecoder | undefined

// Actions whose results come interleaved: more than any pool has connections, and a bound should outcomes be missing.
const maxDecoding = 1024

/** A session's events in order, with results decoded by `decoderOf` the kind of their action. */
export function replay(
  folder: string,
  decoderOf: DecoderOf,
  key: ContentKey | null = null,
): AsyncGenerator<ReplayItem, void, void> {
  return decoded(readRecording(folder, key), decoderOf)
}

/** What was read, with results decoded; what `followRecording` says besides comes through. */
export async function* decoded<Item extends ReadItem | CaughtUp>(
  items: AsyncIterable<Item>,
  decoderOf: DecoderOf,
): AsyncGenerator<ReplayItem | Extract<Item, CaughtUp>, void, void> {
  const decoding = new Map<number, Decoding>()
  for await (const read of items) {
    const item: ReadItem | CaughtUp = read
    if (item.kind === 'caught-up') yield read as Extract<Item, CaughtUp>
    if (item.kind === 'problem') yield item
    if (item.kind !== 'event') continue
    const { placed } = item
    const { event, at, sequence } = placed
    if (event.kind === 'unknown' && event.name === 'salt') continue // random bytes, see docs/recording-format.md
    if (event.kind === 'result') {
      const { action, connection, bytes } = event
      for (const shown of decoding.get(action)?.push(bytes) ?? [bytes.length])
        yield typeof shown === 'number'
          ? { kind: 'opaque', at, connection, action, bytes: shown }
          : { kind: 'result', at, connection, action, shown }
      continue
    }
    if (event.kind === 'action') {
      const decoder = decoderFor(event.view.kind, decoderOf)
      if (decoder !== undefined) decoding.set(sequence, new Decoding(decoder))
      const oldest = decoding.size > maxDecoding ? decoding.keys().next().value : undefined
      if (oldest !== undefined) decoding.delete(oldest)
    }
    if (event.kind === 'outcome' || event.kind === 'result-cut') {
      const { action, connection } = event
      for (const shown of decoding.get(action)?.end() ?? [])
        if (typeof shown !== 'number') yield { kind: 'result', at, connection, action, shown }
      if (event.kind === 'outcome') decoding.delete(action)
    }
    yield { kind: 'event', placed }
  }
}

function decoderFor(kind: string, decoderOf: DecoderOf): ResultDecoder | undefined {
  try {
    return decoderOf(kind)
  } catch {
    return undefined // its results are shown as bytes
  }
}

/** One action's decoder; one that fails once is not asked again. */
class Decoding {
  readonly #decoder: ResultDecoder
  #failed = false
  #ended = false

  constructor(decoder: ResultDecoder) {
    this.#decoder = decoder
  }

  push(bytes: Buffer): readonly (Shown | number)[] {
    return this.#failed ? [bytes.length] : this.#try(() => this.#decoder.push(bytes), bytes.length)
  }

  end(): readonly (Shown | number)[] {
    if (this.#failed || this.#ended) return []
    this.#ended = true
    return this.#try(() => this.#decoder.end(), 0)
  }

  #try(decode: () => readonly Shown[], bytes: number): readonly (Shown | number)[] {
    try {
      return decode()
    } catch {
      // What was recorded may be altered or of a newer version; the rest of the session can still be shown.
      this.#failed = true
      return bytes === 0 ? [] : [bytes]
    }
  }
}
