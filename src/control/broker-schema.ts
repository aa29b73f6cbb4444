import { z } from 'zod'
import { approvalRequest, shapeLimits } from './schema.ts'

/**
 * The broker's API, JSON over HTTP/1.1, on a unix socket (its owner administers) or TCP with TLS (a token says who asks).
 *
 * GET  /healthz, /readyz, /v1/issuers                     nobody is asked who they are
 * GET  /metrics                                           administrators, auditors; anyone on a listener for it
 * POST /v1/sessions                                       grants, credentials and the policy for one session
 * GET  /v1/sessions/ID/stream                             one JSON object a line; a beat each second   (session's token)
 * POST /v1/sessions/ID/renew, /v1/sessions/ID/end         (session's token)
 * POST /v1/sessions/ID/approvals, /v1/sessions/ID/approvals/ID/end      what waits, and that it no longer does (session's token)
 * GET  /v1/whoami                                         as whom the policy sees the caller
 * GET  /v1/approvals, POST /v1/approvals/ID               what one may answer, and the answer
 * POST /v1/sessions/ID/kill, /v1/grants/ID/revoke         one's own, or an administrator's
 * GET  /v1/grants
 * GET  /v1/access?principal=NAME, ?resource=NAME         one's own; everybody's for administrators and auditors
 * POST /v1/sessions/ID/extend                             one's own session for longer, as the policy now gives
 * POST /v1/requests, GET /v1/requests, /v1/requests/ID    access that one does not hold: asked for, and what became of it
 * POST /v1/requests/ID/end                                withdrawn or given back by whoever asked; taken back by an administrator
 * GET  /v1/approvals/ID, POST /v1/approvals/ID/preview    how it ended; what an edit would be decided as
 * POST /v1/sessions/ID/approvals/ID/checks/ID             the tunnel’s answer to that                      (session's token)
 * GET  /v1/policy?digest=…, /v1/policy/history            administrators and auditors; POST /v1/policy: administrators
 * GET  /v1/principals, POST /v1/principals/suspend, /v1/principals/resume   administrators
 */
const at = z.iso.datetime()
const reason = z.string().min(1).max(1000)

export const brokerError = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }),
})

export const health = z.object({ status: z.literal('alive') })
export const readiness = z.object({ status: z.literal('ready') })

export const brokerIssuers = z.object({
  issuers: z.array(
    z.object({
      issuer: z.string(),
      audience: z.string(),
      clientId: z.string(),
      scopes: z.array(z.string()).nullable(),
    }),
  ),
})

export const whoami = z.object({
  principal: z.object({ name: z.string(), groups: z.array(z.string()), source: z.enum(['os-user', 'oidc']) }),
  actor: z.object({ name: z.string(), proven: z.boolean() }).nullable(),
  administers: z.boolean(),
})

export const openRequest = z.object({
  command: z.enum(['connect', 'exec']),
  resources: z
    .array(z.object({ name: z.string().max(63), scope: z.string().max(63).nullable() }))
    .min(1)
    .max(50),
  ttlSeconds: z.number().int().min(1).nullable(),
  /** As the caller says: a program that acts for the principal has no more than what the policy gives to such. */
  actor: z.string().max(120).nullable(),
  confined: z.boolean(),
  purpose: z.string().max(1000).nullable(),
  ticket: z.string().max(200).nullable(),
  host: z.string().max(255),
  /** Raw Ed25519 public key in base64, with which the session signs what it records: the broker vouches for it. */
  recordingKey: z
    .string()
    .regex(/^[A-Za-z0-9+/]{43}=$/)
    .nullish(),
})

const policyContent = z.object({
  digest: z.string(),
  kind: z.enum(['file', 'folder']),
  files: z.array(z.object({ name: z.string().regex(/^[\w.-]{1,100}$/), text: z.string() })).min(1),
})

const credential = z.object({
  issuer: z.string(),
  user: z.string().nullable(),
  secret: z.string().nullable(),
  certificate: z.object({ certificate: z.string(), key: z.string() }).nullable(),
  expiresAt: at.nullable(),
})

export const givenOnRequest = z.object({
  request: z.string(),
  resource: z.string(),
  scope: z.string(),
  actor: z.string().nullable(),
})

const principal = z.object({
  name: z.string(),
  groups: z.array(z.string()),
  source: z.enum(['os-user', 'oidc']),
  claims: z.record(z.string(), z.array(z.string())).optional(),
})

const actor = z.object({ name: z.string(), proven: z.boolean() })

export const openedSession = z.object({
  session: z.string(),
  /** The broker's key, and its certificate for the session's (src/recording/witness/receipt.ts). */
  witness: z.object({ key: z.string(), certificate: z.unknown() }).optional(),
  /** It takes audit events, and brings them where the policy says; absent in brokers from before that. */
  audit: z.boolean().optional(),
  /** For the stream, renewals and the end; shown once. */
  token: z.string(),
  principal,
  /** `proven` by the token that was shown, else as the caller says. */
  actor: actor.nullable().default(null),
  onRequest: z.array(givenOnRequest).default([]),
  /** By the broker's clock, as `expiresAt` is. */
  now: at.optional(),
  expiresAt: at,
  ttlSeconds: z.number(),
  policy: policyContent,
  grants: z.array(
    z.object({
      grant: z.string(),
      resource: z.string(),
      kind: z.string(),
      scope: z.string(),
      address: z.string(),
      tls: z.object({
        mode: z.enum(['verify-full', 'verify-ca', 'require', 'off']),
        name: z.string().optional(),
        ca: z.string().optional(),
      }),
      settings: z.unknown(),
      scopeSettings: z.unknown(),
      credential,
    }),
  ),
})

export const streamEvent = z.discriminatedUnion('event', [
  /** `now`: by the broker's clock, which decides. */
  z.object({ event: z.literal('beat'), now: at.optional() }),
  z.object({ event: z.literal('ended'), kind: z.enum(['revoked', 'expired', 'closed']), reason: z.string() }),
  z.object({ event: z.literal('policy'), policy: policyContent }),
  z.object({
    event: z.literal('approval'),
    id: z.string(),
    outcome: z.enum(['approved', 'edited', 'rejected']),
    by: z.string(),
    reason: z.string().nullable(),
    /** Edited: what runs instead. */
    text: z.string().optional(),
    shape: shapeLimits.optional(),
  }),
  /** What would this be decided as? Answered with POST …/approvals/ID/checks/ID. */
  z.object({ event: z.literal('check'), id: z.string(), approval: z.string(), text: z.string() }),
])

export const renewRequest = z.object({ grant: z.string(), seconds: z.number().int().min(1) })
export const renewed = z.object({ credential })
/** Null: for as long as the policy gives. */
export const extendRequest = z.object({ seconds: z.number().int().min(1).nullable() })
export const extended = z.object({ expiresAt: at, ttlSeconds: z.number() })
export const endRequest = z.object({ reason })

export const grantRow = z.object({
  grant: z.string(),
  session: z.string(),
  principal: z.string(),
  actor: z.string().nullable(),
  resource: z.string(),
  scope: z.string(),
  state: z.enum(['minting', 'active', 'closed', 'expired', 'revoked']),
  host: z.string(),
  purpose: z.string().nullable(),
  ticket: z.string().nullable(),
  createdAt: at,
  expiresAt: at,
  endedAt: at.nullable(),
  endedBy: z.string().nullable(),
  reason: z.string().nullable(),
})
export const grantList = z.object({ grants: z.array(grantRow) })

export const accessAnswer = z.object({
  /** False: the broker has never seen anybody of this name, and knows no groups of theirs. */
  known: z.boolean(),
  rows: z.array(
    z.object({
      resource: z.string(),
      scope: z.string(),
      who: z.string(),
      actor: z.string().nullable(),
      how: z.enum(['held', 'on-request', 'given']),
      ttlSeconds: z.number(),
      approvers: z.object({ groups: z.array(z.string()), count: z.number(), notSelf: z.boolean() }).nullable(),
      place: z.string().nullable(),
      people: z.array(z.string()),
    }),
  ),
})

const approverName = z.string().min(1).max(120)
export const accessRequest = z.object({
  resource: z.string().min(1).max(63),
  scope: z.string().min(1).max(63),
  /** Null: as long as the policy gives. */
  seconds: z
    .number()
    .int()
    .min(1)
    .max(365 * 86_400)
    .nullable(),
  actor: approverName.nullable(),
  purpose: z.string().min(1).max(1000),
  ticket: z.string().min(1).max(200).nullable(),
  /** How long it waits, where that is shorter than what the policy says. */
  withinSeconds: z.number().int().min(1).nullable(),
})

export const requestState = z.enum(['open', 'approved', 'rejected', 'withdrawn', 'timed-out', 'revoked', 'over'])

export const requestRow = z.object({
  request: z.string(),
  principal: z.string(),
  actor: z.string().nullable(),
  resource: z.string(),
  scope: z.string(),
  seconds: z.number(),
  purpose: z.string().nullable(),
  ticket: z.string().nullable(),
  state: requestState,
  askedAt: at,
  /** Until then it waits. */
  expiresAt: at,
  /** Null: the policy no longer says. */
  approvers: z.object({ groups: z.array(z.string()), count: z.number(), notSelf: z.boolean() }).nullable(),
  decidedAt: at.nullable(),
  decidedBy: z.string().nullable(),
  reason: z.string().nullable(),
  /** Until when it is theirs. */
  until: at.nullable(),
})
export const requestList = z.object({ requests: z.array(requestRow) })
export const previewRequest = z.object({ text: z.string().max(1 << 20) })

/** `version` changes with what waits: asked with `?after=VERSION`, the answer comes once it is another, or after 20 s. */
export const approvalList = z.object({ approvals: z.array(approvalRequest), version: z.string() })
export const approvalStatus = z.object({
  id: z.string(),
  state: z.enum(['open', 'approved', 'edited', 'rejected', 'withdrawn', 'timed-out']),
  by: z.string().nullable(),
  reason: z.string().nullable(),
})
/** `claimed` false: it had been decided before. */
export const approvalEnd = z.object({ outcome: z.enum(['approved', 'edited', 'rejected', 'withdrawn']) })
export const approvalEnded = z.object({ claimed: z.boolean() })

export const suspendRequest = z.object({ principal: z.string().min(1).max(320), reason })
export const resumeRequest = z.object({ principal: z.string().min(1).max(320) })
export const ended = z.object({ sessions: z.number() })
export const suspensions = z.object({
  suspended: z.array(z.object({ principal: z.string(), at, by: z.string(), reason: z.string() })),
})

export type Whoami = z.infer<typeof whoami>
/**
 * Between a user's own processes, on control.sock of the broker that starts by itself: a session that a tunnel opened alone,
 * with what it takes to end its credentials without it.
 */
export const adoption = z.object({
  session: z.string().regex(/^s_[0-9A-Z]{4,32}$/),
  token: z.string().min(32),
  principal: z.string(),
  actor: z.string().nullable(),
  host: z.string(),
  purpose: z.string().nullable(),
  ticket: z.string().nullable(),
  expiresAt: at,
  policy: policyContent,
  /** Where relative paths in it start. */
  folder: z.string(),
  /** What its `${env:…}` refer to. */
  env: z.record(z.string(), z.string()),
  grants: z.array(
    z.object({
      grant: z.string().regex(/^g_[0-9A-Z]{4,32}$/),
      resource: z.string(),
      scope: z.string(),
      issuer: z.string(),
      user: z.string().nullable(),
    }),
  ),
})
export const ownBroker = z.object({ version: z.string(), idle: z.boolean() })
export const retired = z.object({ retired: z.boolean() })

export type Adoption = z.infer<typeof adoption>
export type OwnBroker = z.infer<typeof ownBroker>
export type OpenRequest = z.infer<typeof openRequest>
export type OpenedSession = z.infer<typeof openedSession>
export type StreamEvent = z.infer<typeof streamEvent>
export type PolicyContent = z.infer<typeof policyContent>

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)

export const policyAnswer = z.object({
  policy: policyContent,
  /** Of the one that counts. */
  current: digest,
  /** Whether another may be pushed; else the broker's file alone counts. */
  takesPushes: z.boolean(),
  /** Of that file, where it counts now. */
  path: z.string().nullable(),
})
export type PolicyAnswer = z.infer<typeof policyAnswer>

export const policyPush = z.object({
  policy: policyContent,
  /** Its cases (`*.test.yaml`): all must pass. */
  tests: z.array(z.object({ name: z.string().max(200), text: z.string() })).max(200),
  /** Of the policy that it was compared with: where another counts by now, it is refused. */
  base: digest,
  /** Though it locks somebody out. */
  force: z.boolean(),
  /** Only say what would become of it. */
  check: z.boolean(),
})
export type PolicyPush = z.infer<typeof policyPush>

export const policyPushed = z.object({
  digest,
  before: digest,
  changed: z.boolean(),
  /** How many passed. */
  cases: z.number(),
  warnings: z.array(z.string()),
})
export type PolicyPushed = z.infer<typeof policyPushed>

export const policyHistory = z.object({
  policies: z.array(z.object({ number: z.number(), digest, by: z.string().nullable(), at })),
  current: digest,
})
export type PolicyHistory = z.infer<typeof policyHistory>
export type WireCredential = z.infer<typeof credential>
export type GrantRow = z.infer<typeof grantRow>
export type GivenRow = z.infer<typeof givenOnRequest>
export type AccessRequest = z.infer<typeof accessRequest>
export type ApprovalStatus = z.infer<typeof approvalStatus>
export type AccessAnswer = z.infer<typeof accessAnswer>
export type RequestRow = z.infer<typeof requestRow>
export type BrokerIssuer = z.infer<typeof brokerIssuers>['issuers'][number]
