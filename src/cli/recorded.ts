import { statSync } from 'node:fs'
import path from 'node:path'
import { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { nearest } from '../policy/suggest.ts'
import { findSession } from '../recording/catalogue.ts'
import { sessionIds } from '../recording/session-ids.ts'
import { readTombstone } from '../recording/tombstone.ts'
import { problemText } from '../recording/verification-text.ts'
import type { Problem } from '../recording/read-item.ts'
import type { Io } from './command.ts'
import { showTime } from './duration.ts'

/** A session's recording on disk. */
export interface Recorded {
  /** Its id, or where it lies, where it was named by that. */
  readonly name: string
  readonly folder: string
}

export function recordingsFolder(given: string | undefined, io: Pick<Io, 'env' | 'cwd'>): string {
  return given === undefined ? new Paths(io.env).recordingsDir() : path.resolve(io.cwd, given)
}

/** As `findBuried`, but not one that was deleted. @throws AgentgateError NO_SUCH_SESSION */
export async function findRecorded(text: string, recordings: string | undefined, io: Io): Promise<Recorded> {
  const found = await findBuried(text, recordings, io)
  const buried = await readTombstone(found.folder)
  if (buried.kind === 'read' && !buried.leftovers)
    throw new AgentgateError('NO_SUCH_SESSION', `the recording of ${found.name} was deleted`, {
      hint: `agentgate sessions verify ${found.name}`,
    })
  return found
}

/** A session by its id, the beginning of it, or the folder that holds it. @throws AgentgateError NO_SUCH_SESSION */
export async function findBuried(text: string, recordings: string | undefined, io: Io): Promise<Recorded> {
  if (/[/.]/.test(text)) {
    const folder = path.resolve(io.cwd, text)
    if (!isFolder(folder)) throw new AgentgateError('NO_SUCH_SESSION', `there is no folder ${text}`)
    return { name: path.basename(folder), folder }
  }
  const root = recordingsFolder(recordings, io)
  try {
    const session = findSession(await sessionIds(root), text)
    return { name: session, folder: path.join(root, session) }
  } catch (error) {
    const meant = error instanceof AgentgateError ? nearest(text, await sessionIds(root)) : undefined
    if (meant === undefined || text.length < 6) throw error
    throw new AgentgateError('NO_SUCH_SESSION', `no recorded session "${text}"`, { hint: `did you mean ${meant}?` })
  }
}

/** Says on stderr what could not be read, and sets the exit code for it. */
export function reportProblem(problem: Problem, io: Io): void {
  io.stderr.write(`warning: ${problemText(problem, at => showTime(new Date(at)))}\n`)
  io.exitCode = 7
}

function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false
}
