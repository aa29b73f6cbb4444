import type { CallAsking, CallBody } from '../control/broker-calls.ts'
import type * as schema from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import type { CompiledPolicy } from '../policy/compile.ts'
import { answerAccess } from './access-calls.ts'
import { versionOf } from './approvals.ts'
import type { Asked, Desks } from './session-calls.ts'
import type { Caller } from './caller.ts'
import { principalToWire } from './wire.ts'
import type { StoredGrant } from './store-tables.ts'

const longPollMs = 20_000
const lookEveryMs = 1000

export interface AskedBy<Body> extends Asked<Body> {
  readonly caller: Caller
  readonly query: URLSearchParams
  /** Whether whoever asks would administer under another policy. */
  readonly administersUnder: (policy: CompiledPolicy) => Promise<boolean>
  /** The broker ends. */
  readonly end: AbortSignal
}

type CallerCalls = {
  readonly [Id in CallAsking<'principal' | 'administrator'>]: (
    desks: Desks,
    asked: AskedBy<CallBody<Id>>,
  ) => Promise<object | undefined>
}

/** What people, agents and jobs ask. */
export const callerCalls: CallerCalls = {
  whoami: async (_, { caller }) => await Promise.resolve({ ...caller, principal: principalToWire(caller.principal) }),
  access: async ({ sessions, store }, { caller, query }) => await answerAccess(caller, query, sessions, store),
  openSession: async ({ sessions, witness }, { caller, body, response }) => {
    const asked = await body()
    const opened = await sessions.open(caller, asked)
    try {
      const certified = await witness.certify(opened, { ...asked, actor: opened.actor?.name ?? null })
      if (!response.destroyed) return { ...opened, witness: certified, audit: true }
      // Whoever asked went away meanwhile: nobody will ever know its token.
      await sessions.close(opened.session, 'its tunnel went away')
      return undefined
    } catch (error) {
      await sessions.close(opened.session, 'its recording could not be certified')
      throw error
    }
  },
  extendSession: async ({ sessions }, { caller, ids, body }) => {
    const { seconds } = await body()
    return await sessions.extend(caller.principal, ids.session, seconds)
  },
  killSession: async ({ sessions }, { caller, ids, body }) => {
    const { reason } = await body()
    return { sessions: await sessions.revoke({ session: ids.session }, caller, reason) }
  },
  listGrants: async ({ store }, { caller }) => {
    const grants = await store.grants(caller.audits ? undefined : caller.principal.name)
    return { grants: grants.map(toRow) }
  },
  revokeGrant: async ({ sessions }, { caller, ids, body }) => {
    const { reason } = await body()
    return { sessions: await sessions.revoke({ grant: ids.grant }, caller, reason) }
  },
  listApprovals: async (desks, asked) => await waiting(desks, asked),
  approval: async (desks, { caller, ids }) => await deskOf(desks, ids.approval).status(ids.approval, caller),
  answerApproval: async (desks, { caller, ids, body }) => {
    const answered = await deskOf(desks, ids.approval).answer(ids.approval, caller, await body())
    desks.approvals.changed()
    return answered
  },
  previewEdit: async (desks, { caller, ids, body }) => {
    const { text } = await body()
    return await deskOf(desks, ids.approval).preview(ids.approval, caller, text)
  },
  ask: async ({ requests, approvals }, { caller, body }) => {
    const made = await requests.ask(caller.principal, asActor(caller, await body()))
    approvals.changed()
    return made
  },
  listRequests: async ({ requests }, { caller, query }) => {
    if (query.has('all')) auditor(caller)
    return { requests: await requests.list(query.has('all') ? undefined : caller.principal.name) }
  },
  request: async ({ requests }, { caller, ids }) => await requests.one(ids.request, caller),
  endRequest: async ({ requests, approvals }, { caller, ids, body }) => {
    const { reason } = await body()
    const ended = await requests.end(ids.request, caller, reason)
    approvals.changed()
    return ended
  },
  takeAudit: async ({ audit }, { caller, body }) => await audit.take(caller.principal.name, (await body()).events),
  indexLate: async ({ witness }, { caller, ids, body }) => await witness.indexLate(ids.session, await body(), caller),
  eraseStatements: async ({ sessions, witness }, { caller, ids, body }) => {
    administrator(caller)
    const { reason } = await body()
    const erased = await witness.erase(ids.session)
    sessions.tell({ kind: 'erasure', session: ids.session, what: 'content', by: caller.principal.name, reason })
    return erased
  },
  receipts: async ({ witness }, { caller, ids }) => await witness.receipts(ids.session, caller),
  searchStatements: async ({ witness }, { caller, body }) => await witness.search(await body(), caller),
  policy: async ({ policies }, { caller, query }) => {
    auditor(caller)
    return await policies.describe(query.get('digest'))
  },
  policyHistory: async ({ policies }, { caller }) => {
    auditor(caller)
    return await policies.history()
  },
  pushPolicy: async ({ policies }, { caller, body, administersUnder }) => {
    administrator(caller)
    return await policies.push(await body(), caller.principal.name, administersUnder)
  },
  listSuspended: async ({ store }, { caller }) => {
    auditor(caller)
    return { suspended: await store.suspensions() }
  },
  suspend: async ({ sessions }, { caller, body }) => {
    administrator(caller)
    const { principal, reason } = await body()
    return { sessions: await sessions.suspend(principal, caller.principal.name, reason) }
  },
  resume: async ({ sessions }, { caller, body }) => {
    administrator(caller)
    const { principal } = await body()
    if (!(await sessions.resume(principal, caller.principal.name)))
      throw new AgentgateError('USAGE', `${principal} is not suspended`, { hint: 'agentgate principals' })
    return { sessions: 0 }
  },
}

/** What is asked for beforehand, and what is held: both wait for the same people. */
function deskOf({ requests, approvals }: Desks, id: string) {
  return id.startsWith('r_') ? requests : approvals
}

/** What waits for the caller; asked with a version, once it is another. */
async function waiting({ approvals, requests }: Desks, { caller, query, response, end: ends }: AskedBy<undefined>) {
  const after = query.get('after')
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  const end = performance.now() + longPollMs
  for (;;) {
    // What other brokers on the store were asked is found by looking.
    const look = AbortSignal.any([gone.signal, ends, AbortSignal.timeout(lookEveryMs)])
    const change = approvals.change(look)
    const all = [...(await approvals.list(caller)), ...(await requests.waiting(caller))]
    const version = versionOf(all)
    if (version !== after || performance.now() > end || gone.signal.aborted || ends.aborted)
      return { approvals: all, version }
    await change
  }
}

function administrator(caller: Caller): void {
  if (!caller.administers)
    throw new AgentgateError('DENIED', 'that is for administrators', {
      hint: 'admins: { policy: … } in the broker’s policy',
    })
}

export function auditor(caller: Caller): void {
  if (!caller.audits)
    throw new AgentgateError('DENIED', 'that is for administrators and auditors', {
      hint: 'admins: { auditor: … } in the broker’s policy',
    })
}

/** An agent asks for itself, and not for the person whose token it has. */
function asActor<Asked extends { readonly actor: string | null }>({ actor }: Caller, asked: Asked): Asked {
  return actor === null ? asked : { ...asked, actor: actor.name }
}

function toRow(grant: StoredGrant): schema.GrantRow {
  return {
    grant: grant.id,
    session: grant.session,
    principal: grant.principal,
    actor: grant.actor,
    resource: grant.resource,
    scope: grant.scope,
    state: grant.state,
    host: grant.host,
    purpose: grant.purpose,
    ticket: grant.ticket,
    createdAt: grant.created_at,
    expiresAt: grant.expires_at,
    endedAt: grant.ended_at,
    endedBy: grant.ended_by,
    reason: grant.reason,
  }
}
