import type { PlacedEvent } from '../recording/stored-event.ts'

/** Client programs by connection, as the recording tells them. */
export class RecordedClients {
  readonly #programs = new Map<string, string | null>()

  take({ event }: PlacedEvent): void {
    if (event.kind === 'client') this.#programs.set(event.connection, event.process?.program ?? null)
    // Whoever was not found by now never will be.
    if (event.kind === 'connection-end' && !this.#programs.has(event.connection))
      this.#programs.set(event.connection, null)
  }

  of(connection: string): string | null {
    return this.#programs.get(connection) ?? null
  }

  /** It is looked for beside the work, so the first statements are done before it is found. */
  knows(connection: string): boolean {
    return this.#programs.has(connection)
  }
}
