import { timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'

/** A value that must not be seen: prints `[secret]` in strings, JSON and inspect. `reveal()` is the only way out. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  /** Compares in a time that does not depend on where the two differ. */
  equals(candidate: string): boolean {
    const own = Buffer.from(this.#value)
    const other = Buffer.from(candidate)
    return own.length === other.length && timingSafeEqual(own, other)
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}
