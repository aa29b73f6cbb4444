import { z } from 'zod'

/**
 * The control API: what a session (and later the broker) answers on its sockets, JSON over HTTP/1.1. What machines send
 * may grow, so unknown keys are ignored.
 *
 * session.sock  GET /v1/session
 * control.sock  the same, and GET /v1/events (one JSON object a line), GET /v1/approvals, POST /v1/approvals/ID/preview,
 *               POST /v1/approvals/ID, POST /v1/session/stop
 */
const rule = z.object({ name: z.string(), place: z.string() })

const json: z.ZodType = z.unknown()

export const actionView = z.object({
  kind: z.string(),
  summary: z.string(),
  text: z.string(),
  effect: z.enum(['read', 'change', 'unknown']),
  verbs: z.array(z.string()),
  reads: z.array(z.string()),
  writes: z.array(z.string()),
  parameters: z.array(z.string().nullable()).optional(),
  attributes: z.record(z.string(), json),
})

export const tunnelStatus = z.object({
  resource: z.string(),
  kind: z.string(),
  scope: z.string(),
  /** What the target says it is, such as `shop at db.internal`. */
  label: z.string(),
  address: z.string(),
  /** Without the client's secret. */
  shown: z.string(),
  use: z.string(),
  rules: z.object({ deny: z.number(), approve: z.number(), masks: z.number() }),
})

export const sessionStatus = z.object({
  session: z.string(),
  pid: z.number(),
  command: z.enum(['connect', 'exec']),
  principal: z.string(),
  actor: z.string().nullable(),
  confined: z.boolean(),
  startedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  policy: z.object({ path: z.string(), digest: z.string() }),
  tunnels: z.array(tunnelStatus),
  connections: z.number(),
  statements: z.number(),
  denied: z.number(),
  waiting: z.number(),
  recording: z.string(),
})

/** `rows`: together they change no more, this one included; what would is rolled back and asked about again. */
export const shapeLimits = z.object({
  times: z.number().int().min(1).max(1000),
  seconds: z.number().int().min(1).max(86_400),
  rows: z.number().int().min(1).max(1_000_000_000).optional(),
})

/** A held action, as every terminal that may decide it sees it. */
export const approvalRequest = z.object({
  id: z.string(),
  session: z.string(),
  resource: z.string(),
  connection: z.string(),
  view: actionView,
  rule,
  /** What it would do, one line each: `payments, about 1 row of 48,211 (primary key)`. */
  effects: z.array(z.string()),
  holdsLocks: z.boolean(),
  principal: z.string(),
  actor: z.string().nullable(),
  purpose: z.string().nullable(),
  ticket: z.string().nullable(),
  client: z.string().nullable(),
  askedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  approvers: z.object({ groups: z.array(z.string()), count: z.number(), notSelf: z.boolean() }),
  editable: z.boolean(),
  /** Whether its shape may be approved: what statements of it do is known. Absent: not. */
  shapeable: z.boolean().optional(),
  /** Whether an approval of its shape may bound rows: they can be counted before they are final. Absent: not. */
  countsRows: z.boolean().optional(),
  /** Where several must say yes, what some have said yes to in place of what was asked: theirs counts only for the same. */
  proposed: z
    .object({ text: z.string().optional(), shape: shapeLimits.optional(), by: z.array(z.string()) })
    .optional(),
  /** Signed by an approver's key where the asker is not confined (DESIGN: presence); null where no proof is needed. */
  challenge: z.string().nullable(),
})

/** Why an approval cannot bound the rows of a shape. */
export const uncountableRows = {
  message:
    'its rows cannot be bounded: only a single INSERT, UPDATE, DELETE or MERGE outside of a transaction can be taken back',
  hint: 'approve the shape without rows, or this one',
} as const

export const approvalAnswer = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('approve'),
    reason: z.string().max(1000).optional(),
    /** Approves the statement's shape from now on; never without limits. */
    shape: shapeLimits.optional(),
    proof: z.string().optional(),
  }),
  z.object({
    outcome: z.literal('edit'),
    text: z.string(),
    reason: z.string().max(1000).optional(),
    proof: z.string().optional(),
  }),
  z.object({ outcome: z.literal('reject'), reason: z.string().min(1).max(1000), proof: z.string().optional() }),
])

/** What became of an answer: it counted, or why it did not. */
export const approvalResult = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('decided'),
    outcome: z.enum(['approved', 'rejected', 'edited']),
    /** So many more must say yes before it runs; absent: none. */
    missing: z.number().optional(),
  }),
  z.object({ kind: z.literal('refused'), code: z.string(), message: z.string(), hint: z.string().optional() }),
])

/** What an edit would be decided as, before anyone says yes to it. */
export const editPreview = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('ok'),
    view: actionView,
    verdict: z.enum(['allow', 'approve', 'deny']),
    message: z.string().optional(),
  }),
  z.object({ kind: z.literal('refused'), message: z.string() }),
])

const at = z.iso.datetime()

/** One line of `--json` on stdout, and of GET /v1/events. Only grows. */
export const controlEvent = z.discriminatedUnion('event', [
  z.object({
    event: z.literal('ready'),
    at,
    session: z.string(),
    expiresAt: z.iso.datetime(),
    tunnels: z.array(
      z.object({
        resource: z.string(),
        kind: z.string(),
        address: z.string(),
        url: z.string(),
        env: z.record(z.string(), z.string()),
      }),
    ),
  }),
  z.object({
    event: z.literal('decision'),
    at,
    session: z.string(),
    resource: z.string(),
    connection: z.string(),
    action: z.number(),
    decision: z.enum(['allowed', 'denied', 'held', 'approved', 'rejected', 'withdrawn', 'timed-out']),
    rule: rule.nullable(),
    message: z.string().optional(),
    summary: z.string(),
    text: z.string(),
    client: z.string().nullable(),
  }),
  z.object({
    event: z.literal('outcome'),
    at,
    session: z.string(),
    connection: z.string(),
    action: z.number(),
    status: z.enum(['ok', 'error', 'cancelled', 'lost']),
    tag: z.string(),
    rows: z.number().nullable(),
    milliseconds: z.number(),
    masked: z.array(z.string()),
  }),
  z.object({ event: z.literal('approval'), at, request: approvalRequest }),
  z.object({
    event: z.literal('approval-ended'),
    at,
    id: z.string(),
    outcome: z.enum(['approved', 'edited', 'rejected', 'withdrawn', 'timed-out']),
    by: z.string().nullable(),
    reason: z.string().optional(),
  }),
  z.object({
    event: z.literal('connection'),
    at,
    session: z.string(),
    resource: z.string(),
    connection: z.string(),
    state: z.enum(['open', 'closed']),
    client: z.string().nullable(),
  }),
  z.object({ event: z.literal('notice'), at, level: z.enum(['info', 'warning']), text: z.string() }),
  z.object({ event: z.literal('expired'), at, session: z.string() }),
  z.object({ event: z.literal('revoked'), at, session: z.string(), reason: z.string() }),
  z.object({
    event: z.literal('closed'),
    at,
    session: z.string(),
    reason: z.string(),
    exitCode: z.number().nullable(),
  }),
])

export type TunnelStatus = z.infer<typeof tunnelStatus>
export type SessionStatus = z.infer<typeof sessionStatus>
export type ApprovalRequest = z.infer<typeof approvalRequest>
export type ShapeLimits = z.infer<typeof shapeLimits>
export type ApprovalAnswer = z.infer<typeof approvalAnswer>
export type ApprovalResult = z.infer<typeof approvalResult>
export type EditPreview = z.infer<typeof editPreview>
export type ControlEvent = z.infer<typeof controlEvent>
