import { AgentgateError } from '../../errors.ts'
import type { Recorder } from '../recorder.ts'
import { recorderOver } from '../recorder-over.ts'
import type { SessionKey } from '../session-key.ts'
import { receiptHolds, signHead, type Head, type Receipt } from './receipt.ts'
import { appendReceipt } from './receipts-file.ts'

/** So many of the last seconds are not witnessed where a session just ends. */
const everyMilliseconds = 5_000
/** How long the end of a session waits for the witness. */
const finishMilliseconds = 5_000

/** The broker as a witness. */
export type Countersign = (head: Head & { readonly signature: string }, signal: AbortSignal) => Promise<Receipt>

export interface Witnessing {
  readonly session: string
  /** What the broker has certified. */
  readonly key: SessionKey
  /** The broker's, by which receipts have to be signed. */
  readonly brokerKey: string
  readonly countersign: Countersign
  readonly onWarning: (text: string) => void
}

/** Has a recording's chain countersigned while it grows, and at its end. A broker that is away never holds it up. */
export function witnessed(recorder: Recorder, witnessing: Witnessing): Recorder {
  const witness = new ChainWitness(recorder, witnessing)
  return recorderOver(recorder, {
    close: async (reason, exitCode) => {
      await witness.stop()
      await recorder.close(reason, exitCode)
      await witness.finish()
    },
  })
}

class ChainWitness {
  readonly #recorder: Recorder
  readonly #witnessing: Witnessing
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | null = null
  #seen = 0
  #warned = false

  constructor(recorder: Recorder, witnessing: Witnessing) {
    this.#recorder = recorder
    this.#witnessing = witnessing
    this.#timer = setInterval(() => {
      this.#running ??= this.#ask(false).finally(() => (this.#running = null))
    }, everyMilliseconds)
    this.#timer.unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running
  }

  async finish(): Promise<void> {
    await this.#ask(true)
  }

  async #ask(final: boolean): Promise<void> {
    const { session, key, brokerKey, countersign, onWarning } = this.#witnessing
    if (this.#recorder.head().sequence === this.#seen) return
    let at
    try {
      // What the witness has seen must not be lost by a crash, or it would look cut off.
      at = final ? this.#recorder.head() : this.#recorder.boundary()
    } catch {
      return // the recording cannot be written, and says so itself
    }
    const { sequence, head } = at
    const point: Head = { session, sequence, head, final }
    try {
      const signal = AbortSignal.timeout(finishMilliseconds)
      const receipt = await countersign({ ...point, signature: signHead(point, key) }, signal)
      const same = receipt.session === session && receipt.sequence === sequence && receipt.head === head
      if (!same || receipt.final !== final || receipt.key !== brokerKey || !receiptHolds(receipt))
        throw new AgentgateError('BROKER_UNREACHABLE', 'the broker gave a receipt for something else')
      await appendReceipt(this.#recorder.path, receipt)
      this.#seen = sequence
      if (this.#warned) onWarning('the broker countersigns the recording again')
      this.#warned = false
    } catch (error) {
      if (this.#warned) return
      this.#warned = true
      const why = error instanceof AgentgateError ? error.message : 'it does not answer in time'
      onWarning(`the broker does not countersign the recording (${why}); what is recorded meanwhile is not witnessed`)
    }
  }
}
