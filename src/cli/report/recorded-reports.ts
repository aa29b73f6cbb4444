import type { ListedSession } from '../../recording/catalogue.ts'
import type { Cell, Report, ReportSource } from './report.ts'
import { sessionsOf, statementsOf, type ReportedStatement } from './sessions.ts'

/** Who opened what, when, why: a row for each resource of a session. */
export function accessReport(source: ReportSource): Report {
  const columns = [
    'session',
    'startedAt',
    'endedAt',
    'principal',
    'groups',
    'actor',
    'confined',
    'resource',
    'kind',
    'scope',
  ]
  return {
    name: 'access',
    title: 'Who had access to what',
    columns: [
      ...columns,
      'address',
      'purpose',
      'ticket',
      'host',
      'statements',
      'denied',
      'asked',
      'endReason',
      'state',
      'policy',
    ],
    rows: (async function* () {
      for await (const listed of sessionsOf(source)) {
        if (listed.state === 'damaged') source.onDamaged(listed.session)
        for (const row of accessRows(listed)) yield row
      }
    })(),
  }
}

function accessRows({ session, start, end, lastAt, state, summary }: ListedSession): Cell[][] {
  if (start === null) return []
  const { principal, actor, confined, purpose, ticket } = start.subject
  const ended = end === null ? (state === 'open' ? null : lastAt) : end.at
  return start.resources.map(({ name, kind, scope, address }) => [
    session,
    iso(start.at),
    ended === null ? null : iso(ended),
    principal.name,
    principal.groups.join(' '),
    actor?.name ?? null,
    confined ? 'yes' : 'no',
    ...[name, kind, scope, address, purpose, ticket, start.host],
    ...[summary.statements, summary.denied, summary.asked],
    end?.reason ?? null,
    state,
    start.policyDigest,
  ])
}

const refused: ReadonlySet<string> = new Set(['denied', 'rejected', 'withdrawn', 'timed-out'])
const decided = [
  'at',
  'session',
  'sequence',
  'principal',
  'actor',
  'resource',
  'outcome',
  'rule',
  'place',
  'message',
] as const

/** What was refused, by which rule. */
export function denialsReport(source: ReportSource): Report {
  return {
    name: 'denials',
    title: 'What was refused',
    columns: [...decided, 'by', 'reason', 'text'],
    rows: (async function* () {
      for await (const reported of statementsOf(source, ({ summary }) => summary.denied > 0)) {
        const { decision, view } = reported.statement.action
        if (refused.has(decision.outcome))
          yield [...decidedCells(reported), decision.approval?.by ?? null, decision.approval?.reason ?? null, view.text]
      }
    })(),
  }
}

/** What a person was asked about, who answered what, and how long that took. */
export function approvalsReport(source: ReportSource): Report {
  return {
    name: 'approvals',
    title: 'What people were asked about',
    columns: [...decided, 'request', 'by', 'reason', 'edited', 'waitedMilliseconds', 'asked', 'text', 'selfApproved'],
    rows: (async function* () {
      for await (const reported of statementsOf(source, ({ summary }) => summary.asked > 0)) {
        const { decision, view } = reported.statement.action
        const { approval, outcome } = decision
        if (outcome === 'allowed' || outcome === 'denied') continue
        const self = approval === undefined ? null : approval.by === reported.listed.start?.subject.principal.name
        yield [
          ...decidedCells(reported),
          approval?.id ?? decision.request ?? null,
          approval?.by ?? null,
          approval?.reason ?? null,
          approval === undefined ? null : approval.edited ? 'yes' : 'no',
          approval === undefined ? null : Math.round(approval.waitedMs),
          decision.asked ?? null,
          view.text,
          self === null ? null : self ? 'yes' : 'no',
        ]
      }
    })(),
  }
}

function decidedCells({ listed, statement }: ReportedStatement): Cell[] {
  const { decision, resource } = statement.action
  const { subject } = listed.start ?? {}
  return [
    iso(statement.at),
    listed.session,
    statement.sequence,
    subject?.principal.name ?? null,
    subject?.actor?.name ?? null,
    resource,
    decision.outcome,
    decision.rule?.name ?? null,
    decision.rule?.place ?? null,
    decision.message ?? null,
  ]
}

/** Rows of this report stay in memory until all is read. */
const maxGroups = 100_000

/** Which masks hid something, from whom, how often. */
export function maskingReport(source: ReportSource): Report {
  return {
    name: 'masking',
    title: 'What was masked',
    columns: ['resource', 'mask', 'principal', 'actor', 'statements', 'sessions', 'firstAt', 'lastAt'],
    rows: (async function* () {
      const groups = new Map<
        string,
        { cells: Cell[]; statements: number; sessions: number; last: string; firstAt: number; lastAt: number }
      >()
      for await (const { listed, statement } of statementsOf(source, ({ summary }) => summary.masked > 0)) {
        const { subject } = listed.start ?? {}
        for (const mask of statement.outcome?.event.masked ?? []) {
          const cells = [statement.action.resource, mask, subject?.principal.name ?? null, subject?.actor?.name ?? null]
          const key = JSON.stringify(cells)
          let group = groups.get(key)
          if (group === undefined) {
            if (groups.size >= maxGroups) throw new RangeError(`more than ${maxGroups} groups: ask for a shorter time`)
            group = { cells, statements: 0, sessions: 0, last: '', firstAt: statement.at, lastAt: statement.at }
            groups.set(key, group)
          }
          group.statements += 1
          if (group.last !== listed.session) group.sessions += 1
          group.last = listed.session
          group.firstAt = Math.min(group.firstAt, statement.at)
          group.lastAt = Math.max(group.lastAt, statement.at)
        }
      }
      for (const { cells, statements, sessions, firstAt, lastAt } of groups.values())
        yield [...cells, statements, sessions, iso(firstAt), iso(lastAt)]
    })(),
  }
}

function iso(at: number): string {
  return new Date(at).toISOString()
}
