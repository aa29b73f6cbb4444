import { isDeepStrictEqual } from 'node:util'
import type { LoadedPolicy } from '../policy/load.ts'
import type { AuditEvent } from './audit-event.ts'
import type { Queued } from './outbox-reader.ts'
import { AuditLog, type AuditLogOptions } from './audit-log.ts'

const finishMilliseconds = 3_000

/** The audit log of a process whose policy changes while it runs. */
export class AuditSwitch {
  readonly #options: Omit<AuditLogOptions, 'plan' | 'folder'>
  #policy: Pick<LoadedPolicy, 'policy' | 'folder'> | null = null
  #log: AuditLog | null = null

  constructor(options: Omit<AuditLogOptions, 'plan' | 'folder'>) {
    this.#options = options
  }

  use(loaded: LoadedPolicy): void {
    const before = this.#policy
    this.#policy = loaded
    const plan = loaded.policy.audit
    if (before !== null && isDeepStrictEqual(before.policy.audit, plan) && before.folder === loaded.folder) return
    // What it could not deliver in time waits for `agentgate audit deliver`.
    void this.#log?.close(finishMilliseconds)
    this.#log = plan === null ? null : new AuditLog({ ...this.#options, plan, folder: loaded.folder })
  }

  readonly tell = (event: AuditEvent): void => {
    this.#log?.emit(event)
    this.#log?.commit()
  }

  /** What others have told; false where there is no room for it. */
  take(events: readonly Queued[]): boolean {
    // Where the policy names no place any more there is nobody who wants to know.
    return this.#log?.take(events) ?? true
  }

  async close(): Promise<void> {
    await this.#log?.close(finishMilliseconds)
    this.#log = null
  }
}
