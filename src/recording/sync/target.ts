/** A place that keeps copies of recordings: a bucket, a folder. Keys are `SESSION/000001.segment`. */
export interface SyncTarget {
  /** For people: `s3://bucket/prefix`. */
  readonly name: string
  /**
   * Stores `bytes` where nothing is yet; `there` where something is, which is never written over.
   * @throws SyncFailed
   */
  put(key: string, bytes: Buffer, sha256: string, signal: AbortSignal): Promise<'stored' | 'there'>
  /** SHA-256, in hexadecimal digits, of what the place has by now; null: nothing. @throws SyncFailed */
  sha256Of(key: string, signal: AbortSignal): Promise<string | null>
  /** Deletes it, with every earlier version that the place keeps; nothing is there to do where it has none. @throws SyncFailed */
  remove(key: string, signal: AbortSignal): Promise<void>
  /** Names directly below `prefix` (empty, or ending in a slash); those of folders end in a slash. @throws SyncFailed */
  names(prefix: string, signal: AbortSignal): AsyncGenerator<string, void, void>
  /** What is there, as it comes; null: nothing. Whoever asks reads it to its end. @throws SyncFailed, also while reading */
  read(key: string, signal: AbortSignal): Promise<AsyncIterable<Buffer> | null>
}

/** An upload that did not succeed; it is tried again either way. `refused`: trying again alone will not mend it. */
export class SyncFailed extends Error {
  readonly kind: 'refused' | 'unreachable' | 'conflict'

  constructor(kind: SyncFailed['kind'], message: string) {
    super(message)
    this.kind = kind
  }
}
