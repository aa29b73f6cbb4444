import path from 'node:path'
import { describeSession, type ListedSession } from '../../recording/catalogue.ts'
import { sessionIds } from '../../recording/session-ids.ts'
import { recordedStatements } from '../recorded-session.ts'
import type { RecordedStatement } from '../recorded-statements.ts'
import { isWanted } from '../sessions-filter.ts'
import type { ReportSource } from './report.ts'

/** Sessions of the period, one after another. */
export async function* sessionsOf({ recordings, period }: ReportSource): AsyncGenerator<ListedSession, void, void> {
  const now = Date.now()
  for (const id of await sessionIds(recordings)) {
    const listed = await describeSession(path.join(recordings, id), id, now)
    if (listed.state !== 'deleted' && isWanted(listed, { since: period.from, until: period.to }, now)) yield listed
  }
}

export interface ReportedStatement {
  readonly listed: ListedSession
  readonly statement: RecordedStatement
}

/** Statements of the period in sessions that `worth` is true of, in flat memory. */
export async function* statementsOf(
  source: ReportSource,
  worth: (listed: ListedSession) => boolean,
): AsyncGenerator<ReportedStatement, void, void> {
  const [from, to] = [source.period.from.getTime(), source.period.to.getTime()]
  for await (const listed of sessionsOf(source)) {
    // What a manifest counts is only asked of one that holds.
    if (listed.state === 'closed' && !worth(listed)) continue
    let damaged = false
    for await (const item of recordedStatements(listed.folder, await source.keyOf(listed))) {
      if (item.kind === 'problem') damaged = true
      if (item.kind === 'statement' && item.statement.at >= from && item.statement.at <= to)
        yield { listed, statement: item.statement }
    }
    if (damaged) source.onDamaged(listed.session)
  }
}
