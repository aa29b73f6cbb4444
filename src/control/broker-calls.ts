import type { z } from 'zod'
import * as audit from './audit-schema.ts'
import * as schema from './broker-schema.ts'
import * as witness from './witness-schema.ts'
import { approvalAnswer, approvalRequest, approvalResult, editPreview } from './schema.ts'

/** One call of the broker's API. */
export interface BrokerCall {
  readonly id: string
  readonly method: 'GET' | 'POST'
  /** `{name}`: one part of the path. */
  readonly path: string
  /** `session`: whoever has the session's own token; `administrator`: others are refused. */
  readonly asks: 'anyone' | 'session' | 'principal' | 'administrator'
  readonly summary: string
  readonly body?: z.ZodType
  readonly answer:
    | { readonly kind: 'json'; readonly schema: z.ZodType }
    | { readonly kind: 'lines'; readonly schema: z.ZodType }
    | { readonly kind: 'text' }
}

const json = (of: z.ZodType): BrokerCall['answer'] => ({ kind: 'json', schema: of })
const done = json(schema.ended)

/** All there are: what is served, what is documented, and what metrics are counted by. */
export const brokerCalls = [
  {
    id: 'isAlive',
    method: 'GET',
    path: '/healthz',
    asks: 'anyone',
    summary: 'That the process runs',
    answer: json(schema.health),
  },
  {
    id: 'isReady',
    method: 'GET',
    path: '/readyz',
    asks: 'anyone',
    summary: 'That its store answers and its policy is loaded; 503 where not',
    answer: json(schema.readiness),
  },
  {
    id: 'metrics',
    method: 'GET',
    path: '/metrics',
    asks: 'anyone',
    summary: 'Counts for Prometheus',
    answer: { kind: 'text' },
  },
  {
    id: 'witnessKey',
    method: 'GET',
    path: '/v1/witness',
    asks: 'anyone',
    summary: 'The public key that recordings are countersigned with',
    answer: json(witness.witnessKey),
  },
  {
    id: 'countersign',
    method: 'POST',
    path: '/v1/sessions/{session}/witness',
    asks: 'session',
    summary: 'Countersigns a point of the recording’s chain; docs/recording-format.md has what is signed',
    body: witness.headRequest,
    answer: json(witness.receiptAnswer),
  },
  {
    id: 'indexStatements',
    method: 'POST',
    path: '/v1/sessions/{session}/statements',
    asks: 'session',
    summary: 'What was asked in a session, for the index',
    body: witness.statementBatch,
    answer: json(witness.indexed),
  },
  {
    id: 'indexLate',
    method: 'POST',
    path: '/v1/sessions/{session}/statements/late',
    asks: 'principal',
    summary: 'What did not reach the index while the session went on, from whose it was',
    body: witness.statementBatch,
    answer: json(witness.indexed),
  },
  {
    id: 'eraseStatements',
    method: 'POST',
    path: '/v1/sessions/{session}/statements/erase',
    asks: 'administrator',
    summary: 'Removes a session’s statements from the index, for good; asked before its recording’s key is erased',
    body: witness.erasure,
    answer: json(witness.erased),
  },
  {
    id: 'takeSessionAudit',
    method: 'POST',
    path: '/v1/sessions/{session}/audit',
    asks: 'session',
    summary: 'Audit events of a session’s machine, kept by the broker until they are where the policy says',
    body: audit.auditBatch,
    answer: json(audit.auditTaken),
  },
  {
    id: 'takeAudit',
    method: 'POST',
    path: '/v1/audit',
    asks: 'principal',
    summary: 'The same, of a command',
    body: audit.auditBatch,
    answer: json(audit.auditTaken),
  },
  {
    id: 'receipts',
    method: 'GET',
    path: '/v1/sessions/{session}/receipts',
    asks: 'principal',
    summary: 'What the broker has countersigned of one’s own session; of anybody’s for administrators and auditors',
    answer: json(witness.receiptList),
  },
  {
    id: 'searchStatements',
    method: 'POST',
    path: '/v1/statements',
    asks: 'principal',
    summary: 'Searches the index: one’s own statements, or everybody’s for administrators and auditors',
    body: witness.statementSearch,
    answer: json(witness.foundStatements),
  },
  {
    id: 'issuers',
    method: 'GET',
    path: '/v1/issuers',
    asks: 'anyone',
    summary: 'Where one logs in',
    answer: json(schema.brokerIssuers),
  },
  {
    id: 'openSession',
    method: 'POST',
    path: '/v1/sessions',
    asks: 'principal',
    summary: 'Grants, credentials and the policy for one session',
    body: schema.openRequest,
    answer: json(schema.openedSession),
  },
  {
    id: 'followSession',
    method: 'GET',
    path: '/v1/sessions/{session}/stream',
    asks: 'session',
    summary: 'One event a line; a beat each second, and none while the broker cannot vouch for what holds',
    answer: { kind: 'lines', schema: schema.streamEvent },
  },
  {
    id: 'renewCredential',
    method: 'POST',
    path: '/v1/sessions/{session}/renew',
    asks: 'session',
    summary: 'A credential for longer, within its grant',
    body: schema.renewRequest,
    answer: json(schema.renewed),
  },
  {
    id: 'extendSession',
    method: 'POST',
    path: '/v1/sessions/{session}/extend',
    asks: 'principal',
    summary: 'One’s own session for longer, as the policy now gives',
    body: schema.extendRequest,
    answer: json(schema.extended),
  },
  {
    id: 'endSession',
    method: 'POST',
    path: '/v1/sessions/{session}/end',
    asks: 'session',
    summary: 'The tunnel has ended',
    body: schema.endRequest,
    answer: done,
  },
  {
    id: 'askApproval',
    method: 'POST',
    path: '/v1/sessions/{session}/approvals',
    asks: 'session',
    summary: 'Shows what waits to whoever may answer it',
    body: approvalRequest,
    answer: done,
  },
  {
    id: 'endApproval',
    method: 'POST',
    path: '/v1/sessions/{session}/approvals/{approval}/end',
    asks: 'session',
    summary: 'It no longer waits in its tunnel',
    body: schema.approvalEnd,
    answer: json(schema.approvalEnded),
  },
  {
    id: 'answerCheck',
    method: 'POST',
    path: '/v1/sessions/{session}/approvals/{approval}/checks/{check}',
    asks: 'session',
    summary: 'The tunnel’s answer to what an edit would be decided as',
    body: editPreview,
    answer: done,
  },
  {
    id: 'listApprovals',
    method: 'GET',
    path: '/v1/approvals',
    asks: 'principal',
    summary: 'What waits for the caller',
    answer: json(schema.approvalList),
  },
  {
    id: 'approval',
    method: 'GET',
    path: '/v1/approvals/{approval}',
    asks: 'principal',
    summary: 'How one that the caller may answer, or might have, ended',
    answer: json(schema.approvalStatus),
  },
  {
    id: 'answerApproval',
    method: 'POST',
    path: '/v1/approvals/{approval}',
    asks: 'principal',
    summary: 'One answer counts, whoever is second is told',
    body: approvalAnswer,
    answer: json(approvalResult),
  },
  {
    id: 'previewEdit',
    method: 'POST',
    path: '/v1/approvals/{approval}/preview',
    asks: 'principal',
    summary: 'What an edit would be decided as',
    body: schema.previewRequest,
    answer: json(editPreview),
  },
  {
    id: 'whoami',
    method: 'GET',
    path: '/v1/whoami',
    asks: 'principal',
    summary: 'As whom the policy sees the caller',
    answer: json(schema.whoami),
  },
  {
    id: 'access',
    method: 'GET',
    path: '/v1/access',
    asks: 'principal',
    summary: 'What the caller may use, or ask for, and why; of others, and by resource, for who administers or audits',
    answer: json(schema.accessAnswer),
  },
  {
    id: 'listGrants',
    method: 'GET',
    path: '/v1/grants',
    asks: 'principal',
    summary: 'One’s own; everybody’s for who administers or audits',
    answer: json(schema.grantList),
  },
  {
    id: 'revokeGrant',
    method: 'POST',
    path: '/v1/grants/{grant}/revoke',
    asks: 'principal',
    summary: 'Ends it with its session, at the tunnel and at the target',
    body: schema.endRequest,
    answer: done,
  },
  {
    id: 'killSession',
    method: 'POST',
    path: '/v1/sessions/{session}/kill',
    asks: 'principal',
    summary: 'Ends it at the tunnel and at the target',
    body: schema.endRequest,
    answer: done,
  },
  {
    id: 'ask',
    method: 'POST',
    path: '/v1/requests',
    asks: 'principal',
    summary: 'Asks for access that one does not hold',
    body: schema.accessRequest,
    answer: json(schema.requestRow),
  },
  {
    id: 'listRequests',
    method: 'GET',
    path: '/v1/requests',
    asks: 'principal',
    summary: 'What one has asked for',
    answer: json(schema.requestList),
  },
  {
    id: 'request',
    method: 'GET',
    path: '/v1/requests/{request}',
    asks: 'principal',
    summary: 'What became of one',
    answer: json(schema.requestRow),
  },
  {
    id: 'endRequest',
    method: 'POST',
    path: '/v1/requests/{request}/end',
    asks: 'principal',
    summary: 'Withdrawn or given back by whoever asked; taken back by an administrator',
    body: schema.endRequest,
    answer: json(schema.requestRow),
  },
  {
    id: 'policy',
    method: 'GET',
    path: '/v1/policy',
    asks: 'principal',
    summary: 'The policy that counts, or one that did, by its digest; for who administers or audits',
    answer: json(schema.policyAnswer),
  },
  {
    id: 'pushPolicy',
    method: 'POST',
    path: '/v1/policy',
    asks: 'administrator',
    summary: 'Lets another policy count, where the one that it was compared with still does',
    body: schema.policyPush,
    answer: json(schema.policyPushed),
  },
  {
    id: 'policyHistory',
    method: 'GET',
    path: '/v1/policy/history',
    asks: 'principal',
    summary: 'Which policies were pushed, by whom; for who administers or audits',
    answer: json(schema.policyHistory),
  },
  {
    id: 'listSuspended',
    method: 'GET',
    path: '/v1/principals',
    asks: 'administrator',
    summary: 'Who is suspended',
    answer: json(schema.suspensions),
  },
  {
    id: 'suspend',
    method: 'POST',
    path: '/v1/principals/suspend',
    asks: 'administrator',
    summary: 'Ends all that somebody has; they get nothing more',
    body: schema.suspendRequest,
    answer: done,
  },
  {
    id: 'resume',
    method: 'POST',
    path: '/v1/principals/resume',
    asks: 'administrator',
    summary: 'They may ask again',
    body: schema.resumeRequest,
    answer: done,
  },
] as const satisfies readonly BrokerCall[]

type Call = (typeof brokerCalls)[number]
export type CallId = Call['id']
export type CallAsking<Who extends BrokerCall['asks']> = Extract<Call, { asks: Who }>['id']
/** What the call takes, once it is read. */
export type CallBody<Id extends CallId> =
  Extract<Call, { id: Id }> extends { body: infer Body extends z.ZodType } ? z.output<Body> : undefined

/** How the parts of a path look. */
const ids = { session: 's', approval: '[ar]', check: 'k', grant: 'g', request: 'r' } as const
export type CallIds = Readonly<Record<keyof typeof ids, string>>

const patterns = brokerCalls.map(call => {
  const pattern = call.path.replaceAll(
    /\{(\w+)\}/g,
    (_, name: keyof typeof ids) => `(?<${name}>${ids[name]}_[0-9A-Z]{4,32})`,
  )
  return { call, pattern: new RegExp(`^${pattern}$`) }
})

/** The call that a request asks for, with the parts of its path that it has; undefined: there is no such call. */
export function brokerCall(
  method: string,
  pathname: string,
): { readonly call: Call; readonly ids: CallIds } | undefined {
  for (const { call, pattern } of patterns) {
    const found = call.method === method ? pattern.exec(pathname) : null
    if (found !== null) return { call, ids: { ...noIds, ...found.groups } }
  }
  return undefined
}

const noIds: CallIds = { session: '', approval: '', check: '', grant: '', request: '' }
