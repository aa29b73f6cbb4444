import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokerClient } from '../control/broker-client.ts'
import type { ControlEvent } from '../control/schema.ts'
import type { SessionControl } from '../control/session-control.ts'
import { AgentgateError } from '../errors.ts'
import { brokerClient, brokerHere, type Surroundings } from './broker-client.ts'
import type { Approver } from './ui/approver.ts'

const retryMs = 5000

export type BrokerApprovals = Pick<SessionControl, 'approvals' | 'preview' | 'answer' | 'events'>

/** Of the broker that is named; undefined where none is. @throws AgentgateError NOT_LOGGED_IN, BROKER_UNREACHABLE */
export async function approvalsAtBroker(io: Surroundings): Promise<BrokerApprovals | undefined> {
  const at = brokerHere(io)
  return at === undefined ? undefined : brokerApprovals(await brokerClient(at, io))
}

/** Its token says who answers: a key is enough. */
export function approverAtBroker(control: BrokerApprovals): Approver {
  return {
    missing: () => null,
    unlock: () => Promise.resolve(true),
    answer: async (request, answer) => await control.answer(request.id, answer),
  }
}

/** Asked anew: what was known of it before an await no longer holds. */
function isOver(signal: AbortSignal): boolean {
  return signal.aborted
}

/** Events for as long as `signal` lasts, a broker that is away for a while included. */
export async function watchBroker(
  io: Surroundings,
  signal: AbortSignal,
  take: (event: ControlEvent, control: BrokerApprovals) => void,
  onTrouble: (text: string) => void,
): Promise<void> {
  let told = ''
  while (!signal.aborted) {
    try {
      const control = await approvalsAtBroker(io)
      if (control === undefined) return
      for await (const event of control.events(signal)) {
        told = ''
        take(event, control)
      }
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      if (told !== error.message && !isOver(signal)) onTrouble(error.message)
      told = error.message
    }
    await sleep(retryMs, undefined, { signal }).catch(() => undefined)
  }
}

/** What waits at a broker for whoever asks, as the screens know a session: they show and answer it the same way. */
function brokerApprovals(client: BrokerClient): BrokerApprovals {
  return {
    approvals: async () => await client.approvals(),
    preview: async (id, text) => await client.preview(id, text),
    answer: async (id, answer) => {
      try {
        return await client.answer(id, answer)
      } catch (error) {
        if (!(error instanceof AgentgateError) || error.code !== 'NO_SUCH_APPROVAL') throw error
        return { kind: 'refused', code: error.code, message: error.message }
      }
    },
    events: signal => events(client, signal),
  }
}

async function* events(client: BrokerClient, signal: AbortSignal): AsyncGenerator<ControlEvent> {
  let known = new Map<string, string>()
  let version = ''
  while (!signal.aborted) {
    const waiting = await client.approvalsAfter(version, signal)
    version = waiting.version
    const now = new Map(waiting.approvals.map(request => [request.id, JSON.stringify(request.proposed ?? null)]))
    for (const request of waiting.approvals)
      if (known.get(request.id) !== now.get(request.id)) yield { event: 'approval', at: request.askedAt, request }
    for (const id of known.keys()) if (!now.has(id)) yield await endOf(client, id)
    known = now
  }
}

/** Whoever was first, for the others. */
async function endOf(client: BrokerClient, id: string): Promise<Extract<ControlEvent, { event: 'approval-ended' }>> {
  const ended = { event: 'approval-ended' as const, at: new Date().toISOString(), id }
  try {
    const { state, by, reason } = await client.approvalStatus(id)
    // It is no longer for this person, whoever else may still answer it.
    if (state === 'open') return { ...ended, outcome: 'withdrawn', by: null }
    const told = state === 'withdrawn' || state === 'timed-out' ? null : by
    return { ...ended, outcome: state, by: told, ...(reason === null ? {} : { reason }) }
  } catch (error) {
    if (!(error instanceof AgentgateError) || error.code !== 'NO_SUCH_APPROVAL') throw error
    return { ...ended, outcome: 'withdrawn', by: null }
  }
}
