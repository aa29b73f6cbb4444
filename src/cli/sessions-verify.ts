import path from 'node:path'
import { AgentgateError, errorCodes } from '../errors.ts'
import { sessionIds } from '../recording/session-ids.ts'
import { verificationText } from '../recording/verification-text.ts'
import { verifyRecording, type Verification } from '../recording/verify.ts'
import type { Io } from './command.ts'
import { showTime } from './duration.ts'
import { paintFor, wantsColour } from './paint.ts'
import { findBuried, recordingsFolder, type Recorded } from './recorded.ts'
import { escapeLine } from './ui/escape.ts'

export async function verifySessions(
  names: readonly string[],
  flags: { readonly all?: boolean; readonly recordings?: string },
  json: boolean,
  io: Io,
): Promise<void> {
  const paint = paintFor(wantsColour(io.stdout, io.env))
  for (const recorded of await wanted(names, flags, io)) {
    const verification = await verifyRecording(recorded.folder, Date.now())
    const good = verification.result !== 'altered' && verification.result !== 'unfinished'
    if (!good) io.exitCode = errorCodes.VERIFICATION_FAILED
    if (json) {
      io.stdout.write(`${JSON.stringify(verificationJson(recorded, verification))}\n`)
      continue
    }
    const text = escapeLine(verificationText(verification, at => showTime(new Date(at))))
    const [word = '', ...rest] = text.split(':')
    const shown = [good ? paint.green(word) : paint.red(word), ...rest].join(':')
    io.stdout.write(`${escapeLine(recorded.name)}${io.stdout.isTTY ? '  ' : '\t'}${shown}\n`)
  }
}

async function wanted(
  names: readonly string[],
  flags: { readonly all?: boolean; readonly recordings?: string },
  io: Io,
): Promise<readonly Recorded[]> {
  if (flags.all === true) {
    const root = recordingsFolder(flags.recordings, io)
    return (await sessionIds(root)).map(name => ({ name, folder: path.join(root, name) }))
  }
  if (names.length === 0)
    throw new AgentgateError('USAGE', 'which session?', { hint: 'agentgate sessions verify SESSION, or --all' })
  const found: Recorded[] = []
  for (const name of names) found.push(await findBuried(name, flags.recordings, io))
  return found
}

/** Documented in docs/commands.md: it only grows. */
function verificationJson(recorded: Recorded, verification: Verification): object {
  const { session, lastAt, problems, ...rest } = verification
  return {
    event: 'verification',
    session: session ?? recorded.name,
    folder: recorded.folder,
    ...rest,
    lastAt: lastAt === null ? null : new Date(lastAt).toISOString(),
    text: verificationText(verification, at => new Date(at).toISOString()),
    problems: problems.map(problem => ({
      ...problem,
      at: problem.at === null ? null : new Date(problem.at).toISOString(),
    })),
  }
}
