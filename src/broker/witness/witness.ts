import { AgentgateError } from '../../errors.ts'
import { keyFromPem, newKeyPem, type SessionKey } from '../../recording/session-key.ts'
import { headHolds, signCertificate, signReceipt } from '../../recording/witness/receipt.ts'
import type { Certificate, Head, Receipt } from '../../recording/witness/receipt.ts'
import type { ReceiptStore, WitnessedTable } from './receipt-store.ts'

/** What comes within this time is written in one transaction. */
const batchMilliseconds = 250
/** Sessions that wait for one; more are told to come again. */
const maxPending = 20_000

export interface SignedHead extends Head {
  /** By the session's recording key. */
  readonly signature: string
}

interface Pending {
  readonly head: Head
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: unknown) => void
}

/** Vouches for sessions' recording keys, and countersigns their chains with its own key and clock. */
export class Witness {
  readonly #store: ReceiptStore
  readonly #key: SessionKey
  readonly #now: () => number
  #pending = new Map<string, Pending>()
  #timer: NodeJS.Timeout | null = null
  /** One transaction at a time: the next takes what has come meanwhile. */
  #writing: Promise<void> = Promise.resolve()

  private constructor(store: ReceiptStore, key: SessionKey, now: () => number) {
    this.#store = store
    this.#key = key
    this.#now = now
  }

  /** @param pem the broker's own key; null: the store's, made where it has none. Throws where it is no key. */
  static async open(store: ReceiptStore, pem: string | null, now: () => number = Date.now): Promise<Witness> {
    return new Witness(store, keyFromPem(pem ?? (await store.keyPem(newKeyPem()))), now)
  }

  /** Raw, in base64. */
  get publicKey(): string {
    return this.#key.publicKey
  }

  async certify(content: Omit<Certificate, 'key' | 'signature' | 'at'>): Promise<Certificate> {
    const at = this.#now()
    await this.#store.certified(content.session, content.principal, content.recordingKey, new Date(at).toISOString())
    return signCertificate({ ...content, at }, this.#key)
  }

  /**
   * Countersigns a point of a chain. The same again gives the same receipt.
   * @throws AgentgateError DENIED: it is not signed by the session, lies before what has been seen, or contradicts it
   */
  async countersign(head: SignedHead): Promise<Receipt> {
    const known = await this.#store.witnessed(head.session)
    if (known === undefined) throw new AgentgateError('DENIED', 'the broker has certified no recording of this session')
    if (!headHolds(head, known.recording_key, head.signature))
      throw new AgentgateError('DENIED', 'the chain is not signed with the session’s recording key')
    return await new Promise((resolve, reject) => {
      const waiting = this.#pending.get(head.session)
      if (waiting !== undefined || this.#pending.size >= maxPending) {
        reject(new AgentgateError('REVOKED', 'the broker is countersigning this session already'))
        return
      }
      this.#pending.set(head.session, { head, resolve, reject })
      this.#timer ??= setTimeout(() => {
        this.#timer = null
        this.#writing = this.#writing.then(async () => await this.#write())
      }, batchMilliseconds)
    })
  }

  /** Answers what waits, and takes no more. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    await this.#writing
    await this.#write()
  }

  async #write(): Promise<void> {
    const batch = this.#pending
    this.#pending = new Map()
    if (batch.size === 0) return
    try {
      const states = await this.#store.manyWitnessed([...batch.keys()])
      const now = this.#now()
      const steps: { before: WitnessedTable; receipt: Receipt }[] = []
      for (const [session, { head, resolve, reject }] of batch) {
        const before = states.get(session)
        if (before !== undefined && before.final === 0 && head.sequence > before.sequence) {
          // A clock that was set back must not make a receipt older than the one before it.
          const at = Math.max(now, Date.parse(before.at))
          const { sequence, head: value, final } = head
          steps.push({ before, receipt: signReceipt({ session, sequence, head: value, final, at }, this.#key) })
          continue
        }
        const again = await this.#store.receiptFor(head)
        if (again === undefined) reject(contradicts())
        else resolve(again)
      }
      for (const receipt of await this.#store.advance(steps)) {
        batch.get(receipt.session)?.resolve(receipt)
        batch.delete(receipt.session)
      }
      for (const { reject } of batch.values()) reject(contradicts())
    } catch (error) {
      for (const { reject } of batch.values()) reject(error)
    }
  }
}

function contradicts(): AgentgateError {
  return new AgentgateError('DENIED', 'the broker has seen another chain of this session, or more of it')
}
