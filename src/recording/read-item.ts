import type { FileKind } from './format.ts'
import type { SegmentEntry } from './seal.ts'
import type { PlacedEvent } from './stored-event.ts'

/** Something that is not as it was written, or cannot be read. */
export interface Problem {
  readonly kind: 'altered' | 'missing' | 'unreadable' | 'newer' | 'foreign'
  readonly place: FileKind | 'manifest' | 'folder' | 'witness'
  /** Number of the journal or segment. */
  readonly number: number | null
  /** The last number, where it is about several. */
  readonly through?: number
  /** The event it is about, and when that was, where known. */
  readonly sequence: number | null
  readonly at: number | null
  /** Such as `does not follow from event 117`, after place and event. */
  readonly text: string
}

export interface ReadEnd {
  readonly session: string | null
  readonly events: number
  /** Chain value after the last event that could be followed. */
  readonly head: string | null
  /** Bytes of an incomplete event at the very end: it was being written when the process died. */
  readonly torn: number
  /** Number of the last journal or segment. */
  readonly lastFile: number
}

export type ReadItem =
  | { readonly kind: 'event'; readonly placed: PlacedEvent; /** Chain value after it. */ readonly chain: Buffer }
  | { readonly kind: 'problem'; readonly problem: Problem }
  /** Its events are encrypted, and the key is not here; of a segment it is known how many there are. */
  | {
      readonly kind: 'locked'
      readonly place: FileKind
      readonly number: number
      readonly count: number | null
      /** The last event in it, and the chain value after that. */
      readonly last: { readonly sequence: number; readonly chain: Buffer } | null
    }
  /** A file came to its end without a problem; `segment` is what a manifest says of it, null for a journal. */
  | { readonly kind: 'file'; readonly number: number; readonly segment: SegmentEntry | null }
  | { readonly kind: 'end'; readonly end: ReadEnd }

/** Everything that there is has been read; what comes now has just been recorded. Said once. */
export interface CaughtUp {
  readonly kind: 'caught-up'
}
