import type { ConnectionId } from '../ids.ts'
import type { RecordedEvent, SessionStart } from './event.ts'
import type { Certificate } from './witness/receipt.ts'

/** The first event as it is stored: what the manifest says of the session, and what the chain is bound to. */
export interface StoredStart extends SessionStart {
  /** Random, so that nobody without the content can guess it from a chain value. */
  readonly salt: string
  /** Raw Ed25519 public key in base64; null where the recording is not signed. */
  readonly key: string | null
  /** By which a broker vouches for that key; absent where no broker granted the session. */
  readonly certificate?: Certificate | undefined
}

/** From here on an action's result is only counted and digested: it grew beyond what is kept. */
export interface ResultCut {
  readonly kind: 'result-cut'
  readonly connection: ConnectionId
  readonly action: number
  readonly kept: number
}

/** What was not kept of an action's result: the bytes after the first `kept`. */
export interface ResultDigest {
  readonly kind: 'result-digest'
  readonly connection: ConnectionId
  readonly action: number
  readonly kept: number
  readonly bytes: number
  /** SHA-256 in hexadecimal digits. */
  readonly sha256: string
}

/** A kind that this version does not know: a newer one wrote it. */
export interface UnknownEvent {
  readonly kind: 'unknown'
  readonly name: string
}

export type StoredEvent = Exclude<RecordedEvent, SessionStart> | StoredStart | ResultCut | ResultDigest | UnknownEvent

/** An event in its place. */
export interface PlacedEvent {
  readonly sequence: number
  /** Milliseconds since 1970, as the recorder's clock said. */
  readonly at: number
  readonly event: StoredEvent
}
