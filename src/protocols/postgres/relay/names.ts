/** A change of a name that has been sent and not yet been answered. */
export interface PendingName<T> {
  readonly name: string
  readonly batch: number
  /** null: the name is given up. */
  readonly value: T | null
}

/**
 * What the server calls by a name (prepared statements, portals). A change takes effect when the server confirms it;
 * within a batch, that is up to the same Sync, it may be counted on before: if it fails, nothing behind it runs.
 */
export class Names<T> {
  readonly #known = new Map<string, T>()
  readonly #pending = new Map<string, PendingName<T>[]>()

  announce(name: string, value: T | null, batch: number): PendingName<T> {
    const pending = { name, batch, value }
    const list = this.#pending.get(name)
    if (list === undefined) this.#pending.set(name, [pending])
    else list.push(pending)
    return pending
  }

  /** The server confirmed it, or it will never happen. */
  settle(pending: PendingName<T>, happened: boolean): void {
    const list = this.#pending.get(pending.name)
    if (list?.length === 1) this.#pending.delete(pending.name)
    else list?.splice(list.indexOf(pending), 1)
    if (!happened) return
    if (pending.value === null) this.#known.delete(pending.name)
    else this.#known.set(pending.name, pending.value)
  }

  /** `unsettled`: it depends on an answer that is still to come. */
  find(name: string, batch: number): T | undefined | 'unsettled' {
    if (this.#pending.size === 0) return this.#known.get(name)
    const last = this.#pending.get(name)?.at(-1)
    if (last === undefined) return this.#known.get(name)
    return last.batch === batch ? (last.value ?? undefined) : 'unsettled'
  }

  /** What the server has confirmed so far. */
  known(name: string): T | undefined {
    return this.#known.get(name)
  }

  /** Only where nothing is pending. */
  set(name: string, value: T): void {
    this.#known.set(name, value)
  }

  delete(name: string): void {
    this.#known.delete(name)
  }

  /** Forgets all but the unnamed one, which DEALLOCATE ALL and DISCARD do not reach (src/backend/commands/prepare.c). */
  clearNamed(): void {
    for (const name of this.#known.keys()) if (name !== '') this.#known.delete(name)
  }

  clear(): void {
    this.#known.clear()
  }

  /** Forgets those for which `gone` holds. */
  sweep(gone: (value: T) => boolean): void {
    if (this.#known.size === 0) return
    for (const [name, value] of this.#known) if (gone(value)) this.#known.delete(name)
  }
}
