import { z } from 'zod'
import type { SentEvent } from '../control/audit-schema.ts'
import { AgentgateError } from '../errors.ts'
import type { Store } from './store.ts'

/** What a broker tells itself, of what it did, is nobody else's to tell. */
const theirs: ReadonlySet<string> = new Set([
  ...['login', 'logout', 'session-start', 'session-end', 'decision', 'request', 'approval', 'policy'],
  ...['recording-gap', 'erasure', 'audit-lost', 'test'],
])
const maxEventBytes = 160 << 10
const about = z.object({
  metadata: z.object({ uid: z.string(), event_code: z.string() }),
  unmapped: z.record(z.string(), z.unknown()).optional(),
})

/** Audit events of tunnels and commands elsewhere, kept here until they have arrived where the policy says. */
export class AuditDesk {
  readonly #store: Store
  readonly #keep: (events: readonly SentEvent[]) => boolean

  /** @param keep puts them on the disk, all or none; false where there is no room. */
  constructor(store: Store, keep: (events: readonly SentEvent[]) => boolean) {
    this.#store = store
    this.#keep = keep
  }

  /** @throws AgentgateError NO_SUCH_SESSION; as `take` */
  async takeOfSession(session: string, events: readonly SentEvent[]): Promise<object> {
    const [grant] = await this.#store.grantsOf(session)
    if (grant === undefined) throw new AgentgateError('NO_SUCH_SESSION', 'the broker granted no such session')
    return await this.take(grant.principal, events)
  }

  /**
   * @param principal who sends them, which each then says
   * @throws AgentgateError USAGE: somebody else's, or none that are told from elsewhere; STORE_FAILED: no room now
   */
  async take(principal: string, events: readonly SentEvent[]): Promise<object> {
    const sessions = new Set(events.flatMap(({ uid }) => /^(s_[0-9A-Z]{4,32}):/.exec(uid)?.[1] ?? []))
    for (const session of sessions) {
      const [grant] = await this.#store.grantsOf(session)
      // A receiver knows by the uid what it has already: who may choose it could hide what others did.
      if (grant !== undefined && grant.principal !== principal) throw notTheirs()
    }
    const kept = events.map(sent => {
      const parsed = about.safeParse(sent.event)
      if (!parsed.success || !theirs.has(sent.kind)) throw notTheirs()
      const { metadata, unmapped } = parsed.data
      if (metadata.uid !== sent.uid || metadata.event_code !== sent.kind) throw notTheirs()
      if (!/^(?:e_[0-9a-f]{24}|s_[0-9A-Z]{4,32}:[\w:-]{1,120})$/.test(sent.uid)) throw notTheirs()
      if (Buffer.byteLength(JSON.stringify(sent.event)) > maxEventBytes) throw notTheirs()
      return { ...sent, event: { ...sent.event, unmapped: { ...unmapped, reported_by: principal } } }
    })
    if (!this.#keep(kept))
      throw new AgentgateError('STORE_FAILED', 'the broker has no room for more audit events', {
        hint: 'agentgate audit',
      })
    return { taken: kept.length }
  }
}

function notTheirs(): AgentgateError {
  return new AgentgateError('USAGE', 'an audit event that is not the sender’s to tell')
}
