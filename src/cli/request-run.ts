import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokerClient } from '../control/broker-client.ts'
import type { RequestRow } from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import { askingClient } from './broker-client.ts'
import type { Io } from './command.ts'
import { showDuration, showUntil } from './duration.ts'
import { envSwitch, type Globals } from './globals.ts'
import type { RequestFlags } from './request.ts'
import { escapeLine } from './ui/escape.ts'

const lookEveryMs = 1000

/** Asks for a scope, and with `--wait` for the answer. @throws AgentgateError where it was not given */
export async function request(resource: string, flags: RequestFlags, globals: Globals, io: Io): Promise<void> {
  const wait = flags.wait ?? envSwitch(io.env['AGENTGATE_WAIT'])
  const client = await askingClient(io)
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  // Before it is asked: whoever stops this while the answer is on its way wants it withdrawn too.
  if (wait) for (const signal of signals) process.once(signal, interrupt)
  try {
    const asked = await client.request({
      resource,
      scope: flags.scope,
      seconds: flags.for ?? null,
      actor: flags.actor ?? null,
      purpose: flags.reason,
      ticket: flags.ticket ?? null,
      withinSeconds: flags.within ?? null,
    })
    say(asked, flags, globals, io)
    if (!wait) return
    ended(await answerOf(asked, client, interrupted.signal, io), globals, io)
  } finally {
    for (const signal of signals) process.off(signal, interrupt)
  }
}

function say(asked: RequestRow, flags: RequestFlags, globals: Globals, io: Io): void {
  if (globals.json) {
    io.stdout.write(`${JSON.stringify({ event: 'request', ...asked })}\n`)
    return
  }
  const { groups = [], count = 1 } = asked.approvers ?? {}
  const who = `${count > 1 ? `${count} of ` : ''}${groups.length === 0 ? 'administrators' : groups.join(' or ')}`
  const { request: id, scope, resource } = asked
  const until = showUntil(new Date(asked.expiresAt), new Date())
  io.stdout.write(`${escapeLine(`${id}  scope ${scope} of ${resource} for ${showDuration(asked.seconds * 1000)}`)}\n`)
  if (flags.for !== undefined && flags.for > asked.seconds) io.stderr.write('the policy allows no longer than that\n')
  io.stderr.write(escapeLine(`waiting for ${who}, until ${until}: agentgate requests says what became of it`) + '\n')
}

/** However it ended. A broker that is away for a while has not answered. */
async function answerOf(asked: RequestRow, first: BrokerClient, signal: AbortSignal, io: Io): Promise<RequestRow> {
  let client = first
  let row = asked
  while (row.state === 'open') {
    await sleep(lookEveryMs, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return await client.endRequest(asked.request, 'interrupted')
    try {
      row = await client.requestOf(asked.request)
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      // An answer may take longer than a token lives: another is shown, where there is one to be had.
      if (error.code === 'NOT_LOGGED_IN') client = await askingClient(io)
      else if (error.code !== 'BROKER_UNREACHABLE') throw error
    }
  }
  return row
}

function ended(row: RequestRow, globals: Globals, io: Io): void {
  if (globals.json) io.stdout.write(`${JSON.stringify({ event: 'request-ended', ...row })}\n`)
  const by = row.decidedBy ?? 'somebody'
  const why = row.reason === null ? '' : `: ${row.reason}`
  switch (row.state) {
    case 'approved':
      if (!globals.json) {
        const until = showUntil(new Date(row.until ?? row.expiresAt), new Date())
        io.stdout.write(escapeLine(`given by ${by}, until ${until}${why}`) + '\n')
      }
      return
    case 'timed-out':
      throw new AgentgateError('APPROVAL_TIMEOUT', 'nobody answered in time', {
        hint: 'ask again, and tell an approver: agentgate approvals',
      })
    case 'open':
    case 'withdrawn':
      throw new AgentgateError('APPROVAL_WITHDRAWN', `request ${row.request} was withdrawn`)
    case 'rejected':
    case 'revoked':
    case 'over':
      throw new AgentgateError(
        'APPROVAL_REJECTED',
        `${row.state === 'rejected' ? 'rejected' : 'taken back'} by ${by}${why}`,
      )
    default:
      row.state satisfies never
  }
}
