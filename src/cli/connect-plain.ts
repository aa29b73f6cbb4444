import { writeSync } from 'node:fs'
import type { ControlEvent } from '../control/schema.ts'
import type { Io } from './command.ts'
import { secretsInOutput, withoutSecrets } from './ci.ts'
import { LineWriter } from './line-writer.ts'
import type { OpenSession } from './open-session.ts'
import { paintFor, wantsColour } from './paint.ts'
import { escapeLine } from './ui/escape.ts'
import { formatLogLine, tabbedLogLine } from './ui/format-log-line.ts'
import { sessionHeader } from './ui/session-header.ts'
import { StatementLog } from './ui/statement-log.ts'

/** `--json`: every event as one line, from `ready` on. */
export async function connectJson(session: OpenSession, io: Io, showSecrets: boolean): Promise<void> {
  const secrets = secretsInOutput(session.ready, io.env, 1)
  const leftOut = secrets.kind === 'left-out' && !showSecrets
  if (secrets.kind === 'masked') io.stderr.write(secrets.commands.map(command => `${command}\n`).join(''))
  if (leftOut)
    io.stderr.write(
      'warning: passwords are left out of url and env: what this prints may be the log of a CI that cannot mask them\n' +
        'hint:  run the client with: agentgate connect … -- CMD; or send this to a file; or say --show-secrets\n',
    )
  await follow(session, io, (event, out) => {
    const shown = event.event === 'ready' && leftOut ? withoutSecrets(event) : event
    return out.write(JSON.stringify(shown), !isStatement(event))
  })
}

/** Without a terminal to draw on: what is open on stderr, a line for each statement on stdout. */
export async function connectPlain(
  session: OpenSession,
  notes: readonly string[],
  io: Io,
  hasFiles = false,
): Promise<void> {
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const status = await session.status()
  const width = io.stdout.isTTY ? Math.max(40, io.stdout.columns - 1) : 100
  io.stderr.write(
    `${sessionHeader(status, width, paintFor(wantsColour(io.stderr, io.env)), new Date(), hasFiles ? 'files' : 'elsewhere').join('\n')}\n\n`,
  )
  for (const note of notes) io.stderr.write(`${escapeLine(note)}\n`)
  const log = new StatementLog()
  const columns = { width, resources: status.tunnels.length > 1 }
  await follow(session, io, (event, out) => {
    if (event.event === 'approval') {
      const { id, view } = event.request
      io.stderr.write(`waiting: ${escapeLine(view.summary)}, request ${id}: agentgate approvals\n`)
    }
    const line = log.line(event)
    if (line === undefined) return undefined
    const text = io.stdout.isTTY ? formatLogLine(line, columns, paint) : tabbedLogLine(line)
    return out.write(text, false)
  })
}

/** For a background session: the log, and the ready line (with secrets) to whoever started it. */
export async function connectDetached(
  session: OpenSession,
  notes: readonly string[],
  io: Io,
  readyDescriptor: number,
): Promise<void> {
  const tell = (event: ControlEvent) => writeSync(readyDescriptor, `${JSON.stringify(event)}\n`)
  for (const text of notes) tell({ event: 'notice', at: new Date().toISOString(), level: 'info', text })
  const log = new StatementLog()
  await follow(session, io, (event, out) => {
    if (event.event === 'ready') tell(event)
    const line = log.line(event)
    if (line !== undefined) return out.write(tabbedLogLine(line), false)
  })
}

/** What comes by the thousand, and nobody waits for one of. */
function isStatement({ event }: ControlEvent): boolean {
  return event === 'decision' || event === 'outcome' || event === 'connection'
}

/** Hands on every event until the session has ended for good. */
async function follow(
  session: OpenSession,
  io: Io,
  take: (event: ControlEvent, out: LineWriter) => void | Promise<void>,
): Promise<void> {
  const gone = new AbortController()
  const onError = () => {
    // Whoever read this has gone: so does what was opened for them.
    gone.abort()
    void session.close('its reader went away')
  }
  const out = new LineWriter(io.stdout)
  io.stdout.on('error', onError)
  try {
    for await (const event of session.events(gone.signal)) {
      const behind = take(event, out)
      if (behind !== undefined) await behind
    }
    out.flush()
    await session.finished
  } finally {
    io.stdout.off('error', onError)
  }
}
