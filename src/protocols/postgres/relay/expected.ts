import type { PendingName } from './names.ts'
import type { OwnExchange } from './own-exchange.ts'
import type { Portal, Prepared, Run } from './run.ts'

/** Ours: its ReadyForQuery is not for the client. */
type Settle = (status: 'I' | 'T' | 'E') => void

/** What a message that was sent to the server will be answered with. */
export type Expected =
  /** Ends with ReadyForQuery. `replacement` stands in for the server's error where the query was made to fail. */
  | { readonly kind: 'query'; readonly run: Run | null; readonly replacement: Buffer | null; readonly settle?: Settle }
  /** `change` null: ours, so the client must not see the answer. */
  | { readonly kind: 'parse'; readonly change: PendingName<Prepared> | null }
  /** `change` null: made to fail. */
  | { readonly kind: 'bind'; readonly change: PendingName<Portal> | null; readonly replacement: Buffer | null }
  | { readonly kind: 'describe'; readonly prepared: Prepared; readonly own: boolean }
  | { readonly kind: 'execute'; readonly portal: Portal; readonly run: Run }
  /** `own`: ours, and yet a name of the client's is given up by it. */
  | { readonly kind: 'close'; readonly of: 'statement'; readonly change: PendingName<Prepared>; readonly own?: true }
  | { readonly kind: 'close'; readonly of: 'portal'; readonly change: PendingName<Portal> }
  | { readonly kind: 'close'; readonly change: null }
  | { readonly kind: 'sync'; readonly settle?: Settle }
  | { readonly kind: 'own'; readonly exchange: OwnExchange }

/** Messages sent and not yet answered, oldest first. */
export class ExpectedQueue {
  #items: (Expected | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get first(): Expected | undefined {
    return this.#items[this.#head]
  }

  /** Nothing that runs, or ends a batch, is among them. */
  get onlyPrepares(): boolean {
    for (let at = this.#head; at < this.#items.length; at++) {
      const kind = this.#items[at]?.kind
      if (kind !== 'parse' && kind !== 'describe' && kind !== 'close') return false
    }
    return true
  }

  push(expected: Expected): void {
    this.#items.push(expected)
  }

  shift(): Expected | undefined {
    const first = this.#items[this.#head]
    if (first === undefined) return undefined
    this.#items[this.#head] = undefined
    this.#head += 1
    if (this.#head === this.#items.length) {
      this.#items.length = 0
      this.#head = 0
    } else if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return first
  }
}
