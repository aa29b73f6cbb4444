import type { SegmentEntry } from './seal.ts'
import { LocalSealer, openSealer, type Sealer } from './sealer.ts'

const retryMilliseconds = 5000

export interface SealingOptions {
  readonly folder: string
  readonly fsync: boolean
  readonly key: Uint8Array | undefined
  /** Pending bytes from which a writer is asked for patience. */
  readonly behindBytes: number
  /** The caller's, who closes it; null: one of its own, made when it is needed. */
  readonly sealer: Sealer | null
  /** A segment is there that was not. */
  readonly onSealed: () => void
  readonly onWarning: (text: string) => void
}

/** The journals of one session on their way to segments, in order; what fails stays a journal and is tried again. */
export class Sealing {
  readonly #options: SealingOptions
  readonly #pending: { readonly number: number; readonly bytes: number }[] = []
  readonly #segments: SegmentEntry[] = []
  #pendingBytes = 0
  #sealedBytes = 0
  #own: Sealer | null = null
  #active = false
  #running: Promise<void> = Promise.resolve()
  #retry: NodeJS.Timeout | null = null
  #failure: unknown = null
  #patient: { readonly promise: Promise<void>; readonly resolve: () => void } | null = null

  constructor(options: SealingOptions) {
    this.#options = options
  }

  /** What has been sealed, in order. */
  get segments(): readonly SegmentEntry[] {
    return this.#segments
  }

  /** Bytes on disk: segments, and journals that are to become some. */
  get bytes(): number {
    return this.#sealedBytes + this.#pendingBytes
  }

  add(number: number, bytes: number): void {
    this.#pending.push({ number, bytes })
    this.#pendingBytes += bytes
    if (this.#retry === null) this.#start()
  }

  /** Nothing, or a promise for when the spool is no longer behind. */
  patience(): Promise<void> | undefined {
    // Sealing that fails is no reason to wait: the journals hold everything, and the disk's size is the limit.
    if (this.#pendingBytes <= this.#options.behindBytes || this.#failure !== null) return undefined
    if (this.#patient === null) {
      let resolve = () => {}
      const promise = new Promise<void>(done => (resolve = done))
      this.#patient = { promise, resolve }
    }
    return this.#patient.promise
  }

  /** Settles once what has been added by now is sealed. @throws what sealing failed with */
  async drained(): Promise<void> {
    const last = this.#pending.at(-1)?.number ?? 0
    while ((this.#pending[0]?.number ?? Infinity) <= last) {
      await this.#running
      if (this.#failure !== null) throw wrapped(this.#failure)
    }
  }

  /** Seals what is left. @throws what sealing failed with; the journals stay. */
  async finish(): Promise<void> {
    await this.#running
    this.#stopRetrying()
    this.#failure = null
    // The last journal of a short session is sealed sooner than a worker has started.
    this.#own ??= new LocalSealer()
    this.#start()
    await this.#running
    this.#stopRetrying()
    if (this.#pending.length > 0) throw this.#failure
  }

  /** Stops; what is pending stays a journal. */
  async close(): Promise<void> {
    this.#stopRetrying()
    await this.#own?.close()
    this.#own = null
  }

  #start(): void {
    if (this.#active || this.#pending.length === 0) return
    this.#active = true
    this.#running = this.#run()
  }

  #stopRetrying(): void {
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#retry = null
  }

  async #run(): Promise<void> {
    for (;;) {
      const next = this.#pending[0]
      if (next === undefined) break
      try {
        const { folder, fsync, key } = this.#options
        const sealer = this.#options.sealer ?? (this.#own ??= openSealer())
        const { segment } = await sealer.seal({ folder, fsync, key, number: next.number, torn: 'refused' })
        if (segment !== null) {
          this.#segments.push(segment)
          this.#sealedBytes += segment.bytes
          this.#options.onSealed()
        }
        this.#pending.shift()
        this.#pendingBytes -= next.bytes
        this.#failure = null
        if (this.#pendingBytes <= this.#options.behindBytes / 2) this.#release()
      } catch (error) {
        if (this.#failure === null)
          this.#options.onWarning(
            `recorded events cannot be sealed yet (${wordFor(error)}); they are safe in the journal`,
          )
        this.#failure = error
        this.#release()
        this.#retry = setTimeout(() => {
          this.#retry = null
          this.#start()
        }, retryMilliseconds)
        this.#retry.unref()
        break
      }
    }
    this.#active = false
  }

  #release(): void {
    this.#patient?.resolve()
    this.#patient = null
  }
}

function wrapped(error: unknown): Error {
  return error instanceof Error ? error : new Error('unknown', { cause: error })
}

function wordFor(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return error instanceof Error ? error.message : 'unknown'
}
