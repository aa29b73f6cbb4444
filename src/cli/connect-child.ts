import { AgentgateError } from '../errors.ts'
import { runChild } from './child.ts'
import type { Io } from './command.ts'
import type { HoldOptions } from './connect.ts'
import { counted } from './counted.ts'
import { envSwitch } from './globals.ts'
import type { OpenSession } from './open-session.ts'
import { escapeLine } from './ui/escape.ts'
import { asWhom, until } from './ui/session-header.ts'

const ringEveryMs = 300

/** Runs a client in the tunnel's environment, on this terminal, and ends with it. Returns its exit code. */
export async function connectChild(
  session: OpenSession,
  options: HoldOptions,
  notes: readonly string[],
  release: () => void,
  io: Io,
): Promise<number> {
  const says = io.stderr.isTTY && !options.quiet && !envSwitch(io.env['CI'])
  const say = (text: string) => {
    if (says) io.stderr.write(`agentgate: ${escapeLine(text)}\n`)
  }
  const status = await session.status()
  const what = status.tunnels.map(tunnel => `${tunnel.resource} (${tunnel.scope})`).join(', ')
  say(`${what} · as ${asWhom(status)} · ${until(status, new Date())} · ${session.id} · approvals: agentgate approvals`)
  for (const note of notes) say(note)

  // Not what the policy's own secrets come from, nor what would send a client elsewhere than into the tunnel.
  const withheld = new Set([...options.secretVariables, ...session.cleared()])
  const inherited = Object.entries(io.env).filter(([name]) => !withheld.has(name))
  // From here on a signal is the child's, and we end when it has.
  release()
  const child = await runChild(options.child, { ...Object.fromEntries(inherited), ...session.environment() })
  const ringing = says ? ringForApprovals(session, io) : undefined
  let ended = false
  const lost = session.finished.then(({ error }) => {
    if (ended) return undefined
    child.end()
    return error ?? new AgentgateError('REVOKED', 'the session was closed while the command ran')
  })
  const exitCode = await child.exited
  ended = true
  clearInterval(ringing)
  const after = await session.status()
  const error = await Promise.race([lost, Promise.resolve(undefined)])
  await session.close('the command ended', exitCode)
  say(
    `${counted(after.statements, 'statement')}${after.denied > 0 ? ` (${after.denied} denied)` : ''} · agentgate sessions show ${session.id}`,
  )
  if (options.json)
    // On stderr, as stdout is the child's.
    io.stderr.write(
      `${JSON.stringify({ event: 'closed', at: new Date().toISOString(), session: session.id, reason: 'the command ended', exitCode, statements: after.statements, denied: after.denied })}\n`,
    )
  // env(1) and timeout(1): 124 says that time, not the command, made the end.
  if (error !== undefined)
    throw new AgentgateError(error.code, error.message, { hint: error.hint, exitCode: 124, cause: error })
  return exitCode
}

/**
 * Nothing is drawn over a child; the bell says that something waits, and the client's own protocol says what. Looked up now
 * and then, as watching every statement go by would slow them down for nothing.
 */
function ringForApprovals(session: OpenSession, io: Io): NodeJS.Timeout {
  const rung = new Set<string>()
  return setInterval(() => {
    void session.approvals().then(requests => {
      for (const { id } of requests)
        if (!rung.has(id)) {
          rung.add(id)
          io.stderr.write('\u0007')
        }
    })
  }, ringEveryMs)
}
