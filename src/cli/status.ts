import type { Command } from 'commander'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import { readGlobals } from './globals.ts'
import { examples } from './help.ts'
import type { LiveSession } from './live-sessions.ts'
import { escapeLine } from './ui/escape.ts'

export function configure(command: Command, io: Io): void {
  command.action(async () => await status(readGlobals(command, io).json, io))
  examples(command, [
    ['agentgate status', 'what is open, as whom, until when, what is waiting'],
    ['agentgate status --json', 'the same, one session a line'],
  ])
}

async function status(json: boolean, io: Io): Promise<void> {
  const [{ Paths }, { liveSessions }] = await Promise.all([import('../config/paths.ts'), import('./live-sessions.ts')])
  const { sessionsWaiting } = await import('../recording/sync/sync-session.ts')
  const paths = new Paths(io.env)
  const sessions = await liveSessions(paths)
  const { count: waiting, why } = await sessionsWaiting(paths.recordingsDir())
  const [{ sinkReports }, { reportText }] = await Promise.all([
    import('../audit/sink-state.ts'),
    import('./audit-run.ts'),
  ])
  const sinks = sinkReports(paths.auditDir())
  const { brokerHere } = await import('./broker-client.ts')
  const broker = brokerHere(io)
  if (json) {
    if (broker !== undefined) io.stdout.write(`${JSON.stringify({ event: 'broker', address: broker.address })}\n`)
    for (const each of sessions) io.stdout.write(`${JSON.stringify({ event: 'session', ...each.status })}\n`)
    if (waiting > 0) io.stdout.write(`${JSON.stringify({ event: 'sync', waiting, error: why })}\n`)
    for (const { outbox: _, ...sink } of sinks) io.stdout.write(`${JSON.stringify({ event: 'audit-sink', ...sink })}\n`)
    return
  }
  await show(sessions, io)
  if (broker !== undefined && io.stdout.isTTY) io.stdout.write(`\nbroker  ${escapeLine(broker.address)}\n`)
  if (waiting > 0 && io.stdout.isTTY)
    io.stdout.write(
      `\n${counted(waiting, 'recording')} not wholly uploaded yet${why === null ? '' : ` (${escapeLine(why)})`}: agentgate sessions sync\n`,
    )
  if (!io.stdout.isTTY) return
  for (const sink of sinks)
    if (!['ok', 'new'].includes(sink.state) || sink.lost > 0 || sink.setAside > 0)
      io.stdout.write(
        `\naudit events do not all reach ${escapeLine(`${sink.name}: ${reportText(sink)}`)}: agentgate audit\n`,
      )
}

async function show(sessions: readonly LiveSession[], io: Io): Promise<void> {
  const [{ table, tabbed }, { asWhom, until }, { paintFor, wantsColour }] = await Promise.all([
    import('./table.ts'),
    import('./ui/session-header.ts'),
    import('./paint.ts'),
  ])
  if (!io.stdout.isTTY) {
    io.stdout.write(
      tabbed(
        sessions.flatMap(({ status }) =>
          status.tunnels.map(tunnel => [
            status.session,
            tunnel.resource,
            tunnel.scope,
            tunnel.address,
            asWhom(status),
            status.startedAt,
            status.expiresAt,
            ...[status.connections, status.statements, status.denied, status.waiting, status.pid].map(String),
          ]),
        ),
      ),
    )
    return
  }
  const paint = paintFor(wantsColour(io.stdout, io.env))
  if (sessions.length === 0) {
    io.stdout.write(`nothing is open        ${paint.dim('agentgate connect RESOURCE')}\n`)
    return
  }
  const now = new Date()
  const rows = sessions.flatMap(({ status }) =>
    status.tunnels.map((tunnel, index) => [
      // What belongs to the whole session stands in its first line.
      ...(index === 0 ? [status.session] : ['']),
      tunnel.resource,
      tunnel.scope,
      tunnel.address,
      ...(index === 0
        ? [
            asWhom(status),
            until(status, now).replace('until ', ''),
            ...[status.connections, status.statements, status.denied, status.waiting].map(String),
          ]
        : ['', '', '', '', '', '']),
    ]),
  )
  const columns = [
    { title: 'SESSION' },
    { title: 'OPEN' },
    { title: 'SCOPE' },
    { title: 'AT' },
    { title: 'AS' },
    { title: 'UNTIL' },
    { title: 'CLIENTS', align: 'right' as const },
    { title: 'STATEMENTS', align: 'right' as const },
    { title: 'DENIED', align: 'right' as const },
    { title: 'WAITING', align: 'right' as const },
  ]
  io.stdout.write(table(columns, rows, io.stdout.columns, paint))
  const waiting = sessions.reduce((sum, { status }) => sum + status.waiting, 0)
  if (waiting > 0)
    io.stdout.write(`\n${paint.yellow(`${counted(waiting, 'request')} waiting for you`)}: agentgate approvals\n`)
}
