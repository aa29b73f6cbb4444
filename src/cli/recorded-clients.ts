import type { PlacedEvent } from '../recording/stored-event.ts'

/** Client programs by connection, as the recording tells them. */
export class RecordedClients {
  readonly #programs = new Map<string, string>()

  take({ event }: PlacedEvent): void {
    if (event.kind === 'client' && event.process !== null) this.#programs.set(event.connection, event.process.program)
    if (event.kind === 'connection-end') this.#programs.delete(event.connection)
  }

  of(connection: string): string | null {
    return this.#programs.get(connection) ?? null
  }
}
