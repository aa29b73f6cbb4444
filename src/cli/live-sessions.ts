import type { Paths } from '../config/paths.ts'
import { listSessions, type FoundSession } from '../control/client.ts'
import type { ApprovalRequest, SessionStatus } from '../control/schema.ts'
import type { SessionControl } from '../control/session-control.ts'
import { AgentgateError } from '../errors.ts'

/** A live session of this user, as it answered just now. */
export interface LiveSession extends FoundSession {
  readonly status: SessionStatus
}

export async function liveSessions(paths: Paths): Promise<readonly LiveSession[]> {
  const found = await listSessions(paths.runtimeRoot())
  const answered = await Promise.all(
    found.map(async each => {
      try {
        return { ...each, status: await each.control.status() }
      } catch (error) {
        if (error instanceof AgentgateError && error.code === 'SESSION_UNREACHABLE') return undefined // ended meanwhile
        throw error
      }
    }),
  )
  return answered.filter(each => each !== undefined)
}

/** The sessions that a word names: an id, the beginning of one, or a resource that is open. */
export function sessionsNamed(word: string, sessions: readonly LiveSession[]): readonly LiveSession[] {
  const id = word.toUpperCase().replace(/^S_/, 's_')
  const byId = sessions.filter(each => each.session === id || (id.length > 3 && each.session.startsWith(id)))
  const found =
    byId.length > 0
      ? byId
      : sessions.filter(each =>
          each.status.tunnels.some(tunnel => tunnel.resource.toLowerCase() === word.toLowerCase()),
        )
  if (found.length === 0)
    throw new AgentgateError('NO_SUCH_SESSION', `no open session is called "${word}"`, {
      hint: sessions.length === 0 ? 'nothing is open' : 'see what is open: agentgate status',
    })
  if (byId.length > 1)
    throw new AgentgateError('NO_SUCH_SESSION', `"${word}" is the beginning of ${byId.length} sessions`, {
      hint: `one of ${byId.map(each => each.session).join(', ')}`,
    })
  return found
}

/** A waiting request, and the session that it waits in. */
export interface FoundRequest {
  /** Who answers for it: a session of this user, or a broker. */
  readonly session: { readonly control: Pick<SessionControl, 'preview' | 'answer'> }
  readonly request: ApprovalRequest
}

export async function waitingRequests(sessions: readonly LiveSession[]): Promise<readonly FoundRequest[]> {
  const lists = await Promise.all(
    sessions.map(async session => (await session.control.approvals()).map(request => ({ session, request }))),
  )
  return lists.flat().sort((a, b) => a.request.askedAt.localeCompare(b.request.askedAt))
}

/** The request that a word names: its id, or the beginning of it. */
export function requestNamed(word: string, requests: readonly FoundRequest[]): FoundRequest {
  const id = word.toUpperCase().replace(/^[AR]_/, kind => kind.toLowerCase())
  const found = requests.filter(({ request }) => request.id === id || (id.length > 2 && request.id.startsWith(id)))
  const [only] = found
  if (only === undefined)
    throw new AgentgateError(
      'NO_SUCH_APPROVAL',
      `no request ${word} is waiting: it was answered, withdrawn or timed out`,
      {
        hint: 'see what is waiting: agentgate approvals list',
      },
    )
  if (found.length > 1)
    throw new AgentgateError('NO_SUCH_APPROVAL', `"${word}" is the beginning of ${found.length} requests`, {
      hint: `one of ${found.map(({ request }) => request.id).join(', ')}`,
    })
  return only
}
