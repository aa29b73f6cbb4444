import { errorCodes } from '../errors.ts'
import { glob } from '../policy/glob.ts'
import type { ListedSession } from '../recording/catalogue.ts'
import type { Problem } from '../recording/read-item.ts'
import { readRecording } from '../recording/reader.ts'
import { searchRecording, type Match } from '../recording/search.ts'
import { isElsewhere } from '../recording/sync/local-copies.ts'
import type { Io } from './command.ts'
import { loadProtocols } from './protocols.ts'
import { keyIfAny } from './recorded-key.ts'
import { escapeLine } from './ui/escape.ts'
import { TerminalFilter } from './ui/terminal-filter.ts'

export interface SessionFilter {
  readonly grep?: string
  /** Patterns with `*`, whatever the case. */
  readonly resource?: string
  readonly who?: string
  readonly since?: Date
  readonly until?: Date
  /** Something in it was denied, rejected, or got no answer. */
  readonly denied?: boolean
}

/** Whether a session is one that was asked for, by what a list knows of it. */
export function isWanted(session: ListedSession, filter: SessionFilter, now: number): boolean {
  const { start, lastAt, state, summary } = session
  if (filter.denied === true && summary.denied === 0) return false
  if (filter.resource !== undefined && !matchesSome(filter.resource, start?.resources.map(({ name }) => name) ?? []))
    return false
  if (filter.who !== undefined) {
    const { principal, actor } = start?.subject ?? {}
    if (
      !matchesSome(
        filter.who,
        [principal?.name, actor?.name].filter(name => name !== undefined),
      )
    )
      return false
  }
  // What went on at some time in between.
  const end = state === 'open' ? now : (lastAt ?? start?.at ?? 0)
  if (filter.since !== undefined && end < filter.since.getTime()) return false
  return filter.until === undefined || (start?.at ?? 0) <= filter.until.getTime()
}

/** The first event of a session that holds `text`. What could not be searched is said. */
export async function grepSession(session: ListedSession, text: string, io: Io): Promise<Match | undefined> {
  const elsewhere = await isElsewhere(session.folder)
  if (elsewhere !== null) {
    const { to } = elsewhere.place
    io.stderr.write(
      `warning: not searched: ${session.session} is only in ${escapeLine(to)} (--from ${escapeLine(to)})\n`,
    )
    io.exitCode = 7
    return undefined
  }
  const { key, why, erased } = await keyIfAny(session.folder, io)
  if (why !== undefined) {
    io.stderr.write(`warning: not searched: ${escapeLine(why)}${erased ? '' : ' (--identity FILE)'}\n`)
    if (!erased) io.exitCode = errorCodes.RECORDING_LOCKED
    return undefined
  }
  const problems: Problem[] = []
  const protocols = await loadProtocols()
  const match = await searchRecording(
    readRecording(session.folder, key),
    kind => protocols.get(kind)?.decoder(),
    () => {
      const filter = new TerminalFilter('plain')
      return bytes => filter.push(bytes)
    },
    text,
    problem => problems.push(problem),
  )
  if (problems.length > 0 && match === undefined) {
    io.stderr.write(`warning: ${session.session} was searched only as far as it can be read\n`)
    io.exitCode = 7
  }
  return match
}

function matchesSome(pattern: string, names: readonly string[]): boolean {
  const wanted = glob(pattern.toLowerCase())
  return names.some(name => wanted.matches(name.toLowerCase()))
}
