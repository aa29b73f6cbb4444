import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { AgentgateError } from '../errors.ts'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples } from './help.ts'
import type { LiveSession } from './live-sessions.ts'

/** A session says goodbye to its clients and closes its record; then it is gone. */
const goneWithinMs = 10_000

export function configure(command: Command, io: Io): void {
  command
    .argument(
      '[session...]',
      'an id, the beginning of one, or a resource that is open; nothing where one session is open',
    )
    .option('--all', 'everything that is open')
    .action(
      async (words: string[], options: { all?: boolean }) =>
        await down(words, options.all ?? false, readGlobals(command, io).json, io),
    )
  examples(command, [
    ['agentgate down', 'end what is open, where that is one session'],
    ['agentgate down db-prod', 'whatever has db-prod open'],
    ['agentgate down s_7Q2M', 'one session'],
    ['agentgate down --all', 'everything'],
  ])
}

async function down(words: readonly string[], all: boolean, json: boolean, io: Io): Promise<void> {
  const [{ Paths }, { liveSessions, sessionsNamed }] = await Promise.all([
    import('../config/paths.ts'),
    import('./live-sessions.ts'),
  ])
  const sessions = await liveSessions(new Paths(io.env))
  if (all && words.length > 0) throw new AgentgateError('USAGE', '--all and names do not go together')
  if (!all && words.length === 0 && sessions.length > 1)
    throw new AgentgateError('USAGE', `${sessions.length} sessions are open: which?`, {
      hint: `agentgate down ${sessions[0]?.session ?? ''}, or: agentgate down --all`,
    })
  const chosen = words.length === 0 ? sessions : [...new Set(words.flatMap(word => sessionsNamed(word, sessions)))]
  if (chosen.length === 0 && !json) io.stderr.write('nothing is open\n')
  await Promise.all(chosen.map(async each => await end(each, json, io)))
}

async function end({ session, control, status }: LiveSession, json: boolean, io: Io): Promise<void> {
  await control.stop('ended by agentgate down')
  const deadline = Date.now() + goneWithinMs
  for (;;) {
    try {
      await control.status()
    } catch (error) {
      if (error instanceof AgentgateError && error.code === 'SESSION_UNREACHABLE') break
      throw error
    }
    if (Date.now() > deadline)
      throw new AgentgateError('SESSION_UNREACHABLE', `${session} was told to end, and has not yet`, {
        hint: `look at its process: ps -p ${status.pid}`,
      })
    await sleep(30)
  }
  const what = status.tunnels.map(tunnel => tunnel.resource).join(', ')
  io.stdout.write(
    json
      ? `${JSON.stringify({ event: 'closed', at: new Date().toISOString(), session, reason: 'ended by agentgate down', exitCode: null })}\n`
      : `${session}  ${what}  closed\n`,
  )
}
