import { z } from 'zod'

/**
 * Audit events on their way to the places that the broker's policy names (docs/siem.md), so that the machines that have them
 * to tell need none of the secrets that go with those.
 *
 * POST /v1/sessions/ID/audit      a session's own, and what others on its machine left       (session's token)
 * POST /v1/audit                  what a command has to tell, and what was left              (whoever it is)
 */
export const auditBatchEvents = 200
/** As JSON, so that a batch with its last event stays below what a broker reads. */
export const auditBatchBytes = 500_000

const queued = z.object({
  uid: z.string().max(200),
  kind: z.string().max(40),
  /** Milliseconds since 1970. */
  at: z.number().int(),
  event: z.record(z.string(), z.unknown()),
})
export const auditBatch = z.object({ events: z.array(queued).min(1).max(auditBatchEvents) })
/** They are on the broker's disk. */
export const auditTaken = z.object({ taken: z.number() })

export type SentEvent = z.output<typeof queued>
