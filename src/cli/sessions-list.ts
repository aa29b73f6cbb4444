import path from 'node:path'
import { describeSession, type ListedSession } from '../recording/catalogue.ts'
import { sessionIds } from '../recording/session-ids.ts'
import type { Match } from '../recording/search.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import { showDuration, showTime } from './duration.ts'
import { write } from './output.ts'
import { paintFor, wantsColour } from './paint.ts'
import { recordingsFolder } from './recorded.ts'
import { grepSession, isWanted, type SessionFilter } from './sessions-filter.ts'
import { table, tabbed } from './table.ts'

/** So many manifests are read at a time. */
const batch = 64

export async function listSessions(
  recordings: string | undefined,
  filter: SessionFilter,
  json: boolean,
  io: Io,
): Promise<void> {
  const folder = recordingsFolder(recordings, io)
  const now = new Date()
  const ids = await sessionIds(folder)
  const sessions: ListedSession[] = []
  for (let from = 0; from < ids.length; from += batch)
    sessions.push(
      ...(await Promise.all(
        ids.slice(from, from + batch).map(async id => await describeSession(path.join(folder, id), id, now.getTime())),
      )),
    )
  const wanted = sessions.filter(session => isWanted(session, filter, now.getTime()))
  wanted.sort((a, b) => (b.start?.at ?? 0) - (a.start?.at ?? 0) || (a.session < b.session ? -1 : 1))
  if (wanted.some(session => session.state === 'damaged')) io.exitCode = 7
  // One after another, each shown as soon as it is known, as searching takes its time.
  const found: ListedSession[] = []
  for (const session of wanted) {
    const match = filter.grep === undefined ? null : await grepSession(session, filter.grep, io)
    if (match === undefined) continue
    found.push(session)
    if (json) await write(io.stdout, `${JSON.stringify({ ...listedJson(session), ...matchJson(match) })}\n`)
    else if (!io.stdout.isTTY) await write(io.stdout, tabbed([tabbedRow(session)]))
  }
  if (json || !io.stdout.isTTY) return
  const paint = paintFor(wantsColour(io.stdout, io.env))
  if (found.length === 0) {
    io.stdout.write(
      sessions.length === 0
        ? `nothing has been recorded yet        ${paint.dim('agentgate connect RESOURCE')}\n`
        : `none of ${counted(sessions.length, 'session')} is like that\n`,
    )
    return
  }
  io.stdout.write(
    table(
      [
        { title: 'SESSION' },
        { title: 'WHEN' },
        { title: 'WHO' },
        { title: 'WHAT' },
        { title: 'STATEMENTS', align: 'right' },
        { title: 'DENIED', align: 'right' },
        { title: 'ASKED', align: 'right' },
        { title: 'LENGTH', align: 'right' },
        { title: 'STATE' },
      ],
      found.map(session => [
        session.session,
        session.start === null ? '?' : when(new Date(session.start.at), now),
        who(session),
        resources(session).join(', '),
        String(session.summary.statements),
        String(session.summary.denied),
        String(session.summary.asked),
        showDuration(length(session, now.getTime())),
        stateText(session),
      ]),
      io.stdout.columns,
      paint,
    ),
  )
  io.stdout.write(paint.dim('\nagentgate sessions show|replay|verify SESSION\n'))
}

function matchJson(match: Match | null): object {
  return match === null ? {} : { match: { sequence: match.sequence, at: new Date(match.at).toISOString() } }
}

/** Documented in docs/commands.md: it only grows. */
export function listedJson(session: ListedSession): object {
  const { start, end, lastAt, summary } = session
  return {
    event: 'session',
    session: session.session,
    state: session.state,
    startedAt: start === null ? null : new Date(start.at).toISOString(),
    endedAt: end === null ? null : new Date(end.at).toISOString(),
    lastAt: lastAt === null ? null : new Date(lastAt).toISOString(),
    principal: start?.subject.principal.name ?? null,
    actor: start?.subject.actor?.name ?? null,
    actorProven: start?.subject.actor?.proven ?? null,
    confined: start?.subject.confined ?? null,
    purpose: start?.subject.purpose ?? null,
    ticket: start?.subject.ticket ?? null,
    resources: start?.resources.map(({ name, kind, scope }) => ({ name, kind, scope })) ?? [],
    policy: start?.policyDigest ?? null,
    host: start?.host ?? null,
    version: start?.version ?? null,
    command: start?.command ?? [],
    reason: end?.reason ?? null,
    exitCode: end?.exitCode ?? null,
    events: session.events,
    ...summary,
    held: session.held,
    erased: session.erased,
    sync: session.sync,
    folder: session.folder,
  }
}

function tabbedRow(session: ListedSession): string[] {
  const { start, end, lastAt, summary } = session
  const iso = (at: number | undefined | null) => (at === undefined || at === null ? '' : new Date(at).toISOString())
  return [
    session.session,
    iso(start?.at),
    iso(end?.at ?? lastAt),
    start?.subject.principal.name ?? '',
    start?.subject.actor?.name ?? '',
    resources(session).join(','),
    ...[summary.statements, summary.denied, summary.asked].map(String),
    stateText(session),
  ]
}

function stateText({ state, held, erased, sync }: ListedSession): string {
  const copied = sync === null ? [] : [copiedText[sync]]
  return [state, ...(erased ? ['content erased'] : []), ...copied, ...(held ? ['held'] : [])].join(', ')
}

const copiedText = { synced: 'in bucket', waiting: 'not in bucket yet', elsewhere: 'only in bucket' } as const

/** `maria + claude` */
export function who(session: Pick<ListedSession, 'start'>): string {
  const subject = session.start?.subject
  if (subject === undefined) return '?'
  return subject.actor === null ? subject.principal.name : `${subject.principal.name} + ${subject.actor.name}`
}

function resources(session: ListedSession): string[] {
  return session.start?.resources.map(resource => resource.name) ?? []
}

export function length(session: ListedSession, now: number): number {
  if (session.start === null) return 0
  const end = session.state === 'open' ? now : (session.lastAt ?? session.start.at)
  return end - session.start.at
}

/** `today 14:07`, `yesterday 09:12`, `18 Nov 14:07`, `18 Nov 2025`. */
export function when(date: Date, now: Date): string {
  const time = showTime(date).slice(0, 5)
  if (date.toDateString() === now.toDateString()) return `today ${time}`
  const yesterday = new Date(now)
  yesterday.setDate(now.getDate() - 1)
  if (date.toDateString() === yesterday.toDateString()) return `yesterday ${time}`
  const day = `${date.getDate()} ${date.toLocaleString('en-GB', { month: 'short' })}`
  return date.getFullYear() === now.getFullYear() ? `${day} ${time}` : `${day} ${date.getFullYear()}`
}
