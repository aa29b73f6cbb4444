import type { Queued } from '../outbox-reader.ts'

/** A receiver of events. */
export interface Sink {
  /** For people: a path, `tls://siem:6514`, an URL. */
  readonly place: string
  readonly limits: { readonly events: number; readonly bytes: number }
  /** Returns once the receiver has all of them. @throws SinkFailed */
  send(events: readonly Queued[], signal: AbortSignal): Promise<void>
  close(): void
}

/**
 * Events that did not arrive; they are sent again. `unreachable`: it may pass by itself. `refused`: somebody has to mend
 * something. `unacceptable`: the receiver does not want what these events say, whoever sends them.
 */
export class SinkFailed extends Error {
  readonly kind: 'unreachable' | 'refused' | 'unacceptable'
  /** What the receiver asks to be waited. */
  readonly retryAfterMilliseconds: number | undefined

  constructor(kind: SinkFailed['kind'], message: string, retryAfterMilliseconds?: number) {
    super(message)
    this.kind = kind
    this.retryAfterMilliseconds = retryAfterMilliseconds
  }
}
