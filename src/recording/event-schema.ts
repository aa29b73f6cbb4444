import { z } from 'zod'
import { parseJson } from './bounded-json.ts'
import type { ChainedRecord } from './record-cutter.ts'
import type { PlacedEvent, StoredEvent } from './stored-event.ts'

// What is read may be damaged, hostile or newer: unknown members and kinds are let by, wrong ones are not.

const count = z.number().int().min(0)
const rule = z.object({ name: z.string(), place: z.string() })
const json = z.custom<object>(value => typeof value === 'object' && value !== null && !Array.isArray(value))

const view = z.object({
  kind: z.string(),
  summary: z.string(),
  text: z.string(),
  effect: z.enum(['read', 'change', 'unknown']),
  verbs: z.array(z.string()),
  reads: z.array(z.string()),
  writes: z.array(z.string()),
  parameters: z.array(z.string().nullable()).optional(),
  attributes: json,
})

// The start is compared with the manifest's, whole: what a newer version added stays in it.
const subject = z.looseObject({
  principal: z.looseObject({ name: z.string(), groups: z.array(z.string()), source: z.string() }),
  actor: z.looseObject({ name: z.string(), proven: z.boolean() }).nullable(),
  confined: z.boolean(),
  purpose: z.string().nullable(),
  ticket: z.string().nullable(),
})

/** What is said of a session, in its first event and in its manifest. */
export const startSchema = z.looseObject({
  session: z.string(),
  subject,
  resources: z.array(z.looseObject({ name: z.string(), kind: z.string(), scope: z.string(), address: z.string() })),
  policyDigest: z.string(),
  placement: z.string(),
  command: z.array(z.string()),
  host: z.string(),
  version: z.string(),
  salt: z.string(),
  key: z.string().nullable(),
  /** Looked at by whoever verifies, who tells a wrong one from none. */
  certificate: z.unknown().optional(),
  retainSeconds: z.number().int().min(1).nullable().optional(),
})

/** Milliseconds since 1970 that a Date can hold. */
export const atSchema = z.number().int().min(0).max(8.64e15)

/** The heads of each kind, without `bytes`: those are the record's body. */
const kinds = {
  'session-start': startSchema.extend({ kind: z.literal('session-start') }),
  policy: z.object({ kind: z.literal('policy'), digest: z.string() }),
  connection: z.object({
    kind: z.literal('connection'),
    connection: z.string(),
    resource: z.string(),
    peer: z.string(),
  }),
  client: z.object({
    kind: z.literal('client'),
    connection: z.string(),
    process: z.object({ pid: count, program: z.string(), ancestry: z.array(z.string()) }).nullable(),
  }),
  action: z.object({
    kind: z.literal('action'),
    connection: z.string(),
    resource: z.string(),
    view,
    decision: z.object({
      outcome: z.enum(['allowed', 'denied', 'held', 'approved', 'rejected', 'withdrawn', 'timed-out']),
      rule: rule.nullable(),
      message: z.string().optional(),
      approval: z
        .object({
          id: z.string(),
          by: z.string(),
          reason: z.string().optional(),
          edited: z.boolean(),
          waitedMs: z.number(),
        })
        .optional(),
      request: z.string().optional(),
      asked: z.string().optional(),
      results: z.object({ rule, keep: z.enum(['full', 'none']) }).optional(),
    }),
  }),
  result: z.object({ kind: z.literal('result'), connection: z.string(), action: count }),
  'result-cut': z.object({ kind: z.literal('result-cut'), connection: z.string(), action: count, kept: count }),
  'result-digest': z.object({
    kind: z.literal('result-digest'),
    connection: z.string(),
    action: count,
    kept: count,
    bytes: count,
    sha256: z.string(),
  }),
  outcome: z.object({
    kind: z.literal('outcome'),
    connection: z.string(),
    action: count,
    status: z.enum(['ok', 'error', 'cancelled', 'lost']),
    tag: z.string(),
    rows: z.number().nullable(),
    milliseconds: z.number(),
    masked: z.array(z.string()),
  }),
  terminal: z.object({ kind: z.literal('terminal'), direction: z.enum(['output', 'input', 'resize']) }),
  note: z.object({ kind: z.literal('note'), connection: z.string().nullable(), text: z.string() }),
  'connection-end': z.object({ kind: z.literal('connection-end'), connection: z.string(), reason: z.string() }),
  'session-end': z.object({ kind: z.literal('session-end'), reason: z.string(), exitCode: z.number().nullable() }),
} satisfies Record<Exclude<StoredEvent['kind'], 'unknown'>, z.ZodType>

const envelope = z.object({ at: atSchema, kind: z.string() })

/** An event as its record says, or undefined where its head is none. `bytes` is a view into the record. */
export function parseEvent(record: ChainedRecord): PlacedEvent | undefined {
  const head = parseJson(record.head)
  const outer = envelope.safeParse(head)
  if (!outer.success) return undefined
  const { at, kind } = outer.data
  const { sequence } = record
  if (!Object.hasOwn(kinds, kind)) return { sequence, at, event: { kind: 'unknown', name: kind } }
  const parsed = kinds[kind as keyof typeof kinds].safeParse(head)
  if (!parsed.success) return undefined
  // The start keeps what it does not know; when it was is said beside it.
  const { at: _, ...data } = { at, ...parsed.data }
  // The brands of ids are made here; what they hold is text of whoever wrote the file.
  const event = data.kind === 'result' || data.kind === 'terminal' ? { ...data, bytes: record.body } : data
  return { sequence, at, event: event as unknown as StoredEvent }
}

/** When an event was, as far as a damaged record tells. */
export function timeOf(head: Buffer | null): number | null {
  const match = head === null ? null : /^\{"at":([0-9]{1,15}),/.exec(head.toString('latin1', 0, 32))
  return match ? Number(match[1]) : null
}
