import type http from 'node:http'
import type { CallAsking, CallBody, CallIds } from '../control/broker-calls.ts'
import type * as schema from '../control/broker-schema.ts'
import type { Approvals } from './approvals.ts'
import type { AuditDesk } from './audit-desk.ts'
import type { PolicyDesk } from './policy-desk.ts'
import type { Requests } from './requests.ts'
import type { Sessions } from './sessions.ts'
import type { Store } from './store.ts'
import type { WitnessCalls } from './witness/routes.ts'

const beatMs = 1000

/** What the calls are answered from. */
export interface Desks {
  readonly sessions: Sessions
  readonly store: Store
  readonly approvals: Approvals
  readonly requests: Requests
  readonly witness: WitnessCalls
  readonly policies: PolicyDesk
  readonly audit: AuditDesk
}

/** One request for a call; what a handler gives is sent, and undefined says that it has answered itself. */
export interface Asked<Body> {
  readonly ids: CallIds
  /** @throws AgentgateError USAGE */
  readonly body: () => Promise<Body>
  readonly response: http.ServerResponse
}

type SessionCalls = {
  readonly [Id in CallAsking<'session'>]: (desks: Desks, asked: Asked<CallBody<Id>>) => Promise<object | undefined>
}

/** What a tunnel asks with its session's own token. */
export const sessionCalls: SessionCalls = {
  askApproval: async ({ approvals }, { ids, body }) => {
    await approvals.ask(ids.session, await body())
    return { sessions: 1 }
  },
  endApproval: async ({ approvals }, { ids, body }) => {
    const { outcome } = await body()
    return { claimed: await approvals.end(ids.session, ids.approval, outcome) }
  },
  answerCheck: async ({ approvals }, { ids, body }) => {
    await approvals.checked(ids.session, ids.approval, ids.check, await body())
    return { sessions: 1 }
  },
  countersign: async ({ witness }, { ids, body }) => await witness.countersign(ids.session, await body()),
  takeSessionAudit: async ({ audit }, { ids, body }) => await audit.takeOfSession(ids.session, (await body()).events),
  indexStatements: async ({ witness }, { ids, body }) => await witness.index(ids.session, await body()),
  followSession: async (desks, { ids, response }) => {
    await stream(desks, ids.session, response)
    return undefined
  },
  renewCredential: async ({ sessions }, { ids, body }) => {
    const { grant, seconds } = await body()
    return { credential: await sessions.renew(ids.session, grant, seconds) }
  },
  endSession: async ({ sessions }, { ids, body }) => {
    const { reason } = await body()
    return { sessions: await sessions.close(ids.session, reason) }
  },
}

async function stream(
  { sessions, store, approvals }: Desks,
  session: string,
  response: http.ServerResponse,
): Promise<void> {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  response.flushHeaders()
  const write = (event: schema.StreamEvent) => response.write(`${JSON.stringify(event)}\n`)
  // Before anything is awaited: whoever goes away meanwhile must not be listened for ever after.
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  // It may have gone while its token was looked at.
  if (response.destroyed) return
  const stop = await sessions.listen(session, event => {
    write(event)
    if (event.event === 'ended') response.end()
  })
  if (stop === undefined) {
    write({ event: 'ended', ...(await sessions.endOf(session)) })
    response.end()
    return
  }
  const beat = setInterval(() => {
    // Whoever does not read is not there.
    if (response.writableLength >= 1 << 20) response.destroy()
    else if (sessions.vouches) write({ event: 'beat', now: store.now().toISOString() })
  }, beatMs)
  const over = () => {
    clearInterval(beat)
    stop()
  }
  gone.signal.addEventListener('abort', over, { once: true })
  if (gone.signal.aborted) over()
  if (sessions.vouches) write({ event: 'beat', now: store.now().toISOString() })
  for (const event of await approvals.decisionsOf(session)) write(event)
}
