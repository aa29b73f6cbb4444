import { anything, nothing, union } from './flow.ts'
import type { Flow } from './flow.ts'

export interface NotedConstant {
  /** Where it begins, in bytes of the whole text; of a parameter its number. */
  readonly kind: 'constant' | 'parameter'
  readonly at: number
  /** The columns that it is held against, or put into. */
  near: Flow
  /** What it meets is known: nothing further out counts. */
  settled: boolean
  /** Which item of a row of VALUES it stands in. */
  item: number | undefined
}

/** Beyond this they are not told apart any more. */
const most = 20_000

/**
 * The constants and parameters of one text, each with what it is held against. Until it is settled whatever is read around
 * it counts; what is never settled may mean anything.
 */
export class ConstantNotes {
  readonly #noted: NotedConstant[] = []

  /** Where the next one goes: given to the other methods, it stands for all that were noted since. */
  get mark(): number {
    return this.#noted.length
  }

  note(kind: NotedConstant['kind'], at: number): void {
    if (this.#noted.length < most) this.#noted.push({ kind, at, near: nothing, settled: false, item: undefined })
  }

  near(mark: number, flow: Flow): void {
    const noted = this.#noted
    for (let index = mark; index < noted.length; index++) {
      const one = noted[index]
      if (one !== undefined && !one.settled) one.near = union(one.near, flow)
    }
  }

  settle(mark: number, flow: Flow = nothing): void {
    this.near(mark, flow)
    for (const one of this.#since(mark)) one.settled = true
  }

  /** They stand in the item of this number of a row of VALUES. */
  itemOf(mark: number, item: number): void {
    for (const one of this.#since(mark)) one.item = item
  }

  /** Settles those of a row of VALUES by the columns that its items go into; where that is undefined, nothing is known. */
  settleItems(mark: number, into: (item: number) => Flow | undefined): void {
    for (const one of this.#since(mark)) {
      const flow = one.item === undefined ? undefined : into(one.item)
      if (one.settled || flow === undefined) continue
      one.near = union(one.near, flow)
      one.settled = true
    }
  }

  /** Undefined where there are too many. */
  finish(): readonly NotedConstant[] | undefined {
    if (this.#noted.length >= most) return undefined
    for (const one of this.#noted) if (!one.settled) one.near = union(one.near, anything)
    return this.#noted
  }

  #since(mark: number): readonly NotedConstant[] {
    return mark === 0 ? this.#noted : this.#noted.slice(mark)
  }
}
