import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import { readState, updateState } from '../config/private-file.ts'

export interface KnownBroker {
  readonly address: string
  /** What vouched for it when somebody logged in, PEM; null: the system's authorities. */
  readonly ca: string | null
}

const stored = z.object({
  /** The one that commands go to where nothing else is named. */
  used: z.string().nullable(),
  brokers: z.record(z.string(), z.object({ ca: z.string().nullable(), at: z.string() })),
})
type Stored = z.infer<typeof stored>
const none: Stored = { used: null, brokers: {} }

/** The brokers that this user has logged in to. */
export class KnownBrokers {
  readonly #file: string

  constructor(paths: Paths) {
    this.#file = paths.brokersFile
  }

  get used(): KnownBroker | undefined {
    const { used } = this.#read()
    return used === null ? undefined : this.find(used)
  }

  find(address: string): KnownBroker | undefined {
    const { brokers } = this.#read()
    const found = Object.hasOwn(brokers, address) ? brokers[address] : undefined
    return found === undefined ? undefined : { address, ca: found.ca }
  }

  /** In order of their last login, newest first. */
  list(): readonly KnownBroker[] {
    return Object.entries(this.#read().brokers)
      .sort(([, a], [, b]) => b.at.localeCompare(a.at))
      .map(([address, { ca }]) => ({ address, ca }))
  }

  /** @param use from now on, where nothing else is named */
  remember({ address, ca }: KnownBroker, use: boolean): void {
    this.#change(({ used, brokers }) => ({
      used: use ? address : used,
      brokers: { ...brokers, [address]: { ca, at: new Date().toISOString() } },
    }))
  }

  forget(address: string): void {
    this.#change(({ used, brokers }) => ({
      used: used === address ? null : used,
      brokers: Object.fromEntries(Object.entries(brokers).filter(([each]) => each !== address)),
    }))
  }

  #read(): Stored {
    return readState(this.#file, stored, none)
  }

  #change(change: (before: Stored) => Stored): void {
    updateState(this.#file, stored, none, before => ({ content: change(before), result: undefined }))
  }
}
