import type { AuditEvent, AuditedAction } from '../../src/audit/audit-event.ts'
import type { ApprovalId } from '../../src/ids.ts'
import type { RecordedDecision } from '../../src/recording/event.ts'
import { sampleAction, sampleStart } from '../recording/sample.ts'

const start = sampleStart()
const { subject } = start

function action(
  kind: string,
  outcome: RecordedDecision['outcome'],
  more: Partial<RecordedDecision> = {},
): AuditedAction {
  const sample = sampleAction('update payments set status = $1 where id = $2')
  return {
    by: { subject, session: start.session, since: 1_700_000_000_000 },
    resource: { name: 'db-prod', address: 'db.internal:5432' },
    connection: 'c1',
    view: { ...sample.view, kind, verbs: ['update'], effect: 'change', parameters: ['refunded', null] },
    decision: { outcome, rule: { name: 'payments need a second pair of eyes', place: 'agentgate.yaml:41' }, ...more },
    policyDigest: start.policyDigest,
  }
}

const approval = { id: 'a_ABC123' as ApprovalId, by: 'carol', reason: 'fine', edited: true, waitedMs: 1234.5 }
const alone = { ...subject, actor: null, purpose: null, ticket: null, principal: { ...subject.principal, groups: [] } }

/** One of each kind, with all and with as little as it can have. */
export const everyEvent: readonly (readonly [string, AuditEvent])[] = [
  [
    'login',
    {
      kind: 'login',
      user: { name: 'maria@example.com', groups: ['eng'] },
      issuer: 'https://idp.example.com',
      refused: null,
    },
  ],
  ['login refused', { kind: 'login', user: null, issuer: 'https://idp.example.com', refused: 'the token has expired' }],
  ['logout', { kind: 'logout', user: { name: 'maria', groups: [] }, issuer: 'https://idp.example.com', refused: null }],
  ['session start', { kind: 'session-start', start }],
  [
    'session start without resources',
    { kind: 'session-start', start: { ...start, subject: alone, resources: [], host: '' } },
  ],
  ['session end', { kind: 'session-end', start, since: 1_700_000_000_000, reason: 'closed', exitCode: 0 }],
  ['session end by revocation', { kind: 'session-end', start, since: 1, reason: 'revoked', exitCode: null }],
  ...(['postgres', 'http', 'tools'] as const).flatMap(kind =>
    (['allowed', 'denied', 'held', 'approved', 'rejected', 'withdrawn', 'timed-out'] as const).map(
      outcome =>
        [
          `${kind} ${outcome}`,
          {
            kind: outcome === 'held' ? ('request' as const) : ('decision' as const),
            ...action(kind, outcome, outcome === 'approved' ? { approval, asked: 'update payments' } : {}),
          },
        ] as const,
    ),
  ),
  [
    'decision without a rule or a summary',
    { kind: 'decision', ...action('http', 'allowed', { rule: null }), policyDigest: null },
  ],
  ['approval', { kind: 'approval', ...action('postgres', 'approved', { approval }) }],
  ...(['asked', 'approved', 'rejected', 'withdrawn', 'timed-out', 'revoked'] as const).map(
    outcome =>
      [
        `access request ${outcome}`,
        {
          kind: 'access-request' as const,
          id: 'r_1',
          subject,
          resource: 'db-prod',
          scope: 'write',
          outcome,
          by: outcome === 'approved' ? 'carol' : null,
          reason: outcome === 'asked' ? 'refunds fail' : null,
        },
      ] as const,
  ),
  [
    'grant',
    {
      kind: 'grant',
      id: 'g_1',
      subject,
      session: start.session,
      resource: 'db-prod',
      scope: 'read',
      expiresAt: 1_700_000_000_000,
      by: null,
      reason: null,
    },
  ],
  [
    'revocation',
    {
      kind: 'revocation',
      id: 'g_1',
      subject: alone,
      session: null,
      resource: 'db-prod',
      scope: 'read',
      expiresAt: null,
      by: 'carol',
      reason: 'laptop lost',
    },
  ],
  ['suspension', { kind: 'suspension', principal: 'mallory', by: 'carol', reason: null }],
  ['resumption', { kind: 'resumption', principal: 'mallory', by: 'carol', reason: 'mistaken' }],
  [
    'policy trusted',
    {
      kind: 'policy',
      change: 'trusted',
      name: '/srv/agentgate.yaml',
      digest: start.policyDigest,
      by: 'maria',
      session: null,
    },
  ],
  [
    'policy in effect',
    {
      kind: 'policy',
      change: 'in-effect',
      name: 'agentgate policy',
      digest: start.policyDigest,
      by: null,
      session: start.session,
    },
  ],
  [
    'trust removed',
    {
      kind: 'policy',
      change: 'trust-removed',
      name: '/srv/agentgate.yaml',
      digest: start.policyDigest,
      by: 'maria',
      session: null,
    },
  ],
  ...(['content', 'recording'] as const).map(
    what =>
      [
        `erasure: ${what}`,
        { kind: 'erasure' as const, session: start.session, what, by: 'maria', reason: 'request 17' },
      ] as const,
  ),
  ...(['not-written', 'unfinished', 'altered', 'missing', 'not-uploaded'] as const).map(
    what =>
      [
        `recording gap: ${what}`,
        { kind: 'recording-gap' as const, session: start.session, what, detail: 'event 118' },
      ] as const,
  ),
  ['lost', { kind: 'audit-lost', count: 12, from: 1, to: 1_700_000_000_000, detail: 'the outbox was full' }],
  ['test', { kind: 'test', text: 'a test' }],
]
