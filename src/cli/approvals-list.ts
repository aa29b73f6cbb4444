import { setTimeout as sleep } from 'node:timers/promises'
import type { Paths } from '../config/paths.ts'
import type { ApprovalRequest, ControlEvent } from '../control/schema.ts'
import { AgentgateError } from '../errors.ts'
import { watchBroker } from './broker-approvals.ts'
import type { Io } from './command.ts'
import { showCountdown } from './duration.ts'
import { liveSessions, type FoundRequest, type LiveSession } from './live-sessions.ts'
import { paintFor, wantsColour } from './paint.ts'
import { table, tabbed } from './table.ts'
import { escapeLine, flatten } from './ui/escape.ts'

const lookEveryMs = 500

export function listRequests(found: readonly FoundRequest[], json: boolean, io: Io): void {
  const requests = found.map(({ request }) => request)
  if (json) {
    for (const request of requests) io.stdout.write(jsonLine(request))
    return
  }
  if (!io.stdout.isTTY) {
    io.stdout.write(tabbed(requests.map(tabbedRow)))
    return
  }
  const paint = paintFor(wantsColour(io.stdout, io.env))
  if (requests.length === 0) {
    io.stdout.write('nothing is waiting\n')
    return
  }
  const now = Date.now()
  io.stdout.write(
    table(
      [
        { title: 'REQUEST' },
        { title: 'LEFT', align: 'right' },
        { title: 'RESOURCE' },
        { title: 'ASKED BY' },
        { title: 'WHAT' },
      ],
      requests.map(request => [
        request.id,
        showCountdown(Date.parse(request.expiresAt) - now),
        request.resource,
        request.actor === null ? request.principal : `${request.actor} for ${request.principal}`,
        flatten(request.view.text),
      ]),
      io.stdout.columns,
      paint,
    ),
  )
  io.stdout.write(paint.dim('\nagentgate approvals · agentgate approvals approve|edit|reject REQUEST\n'))
}

/** Requests as they come, until interrupted. */
export async function watchRequests(json: boolean, io: Io, paths: Paths): Promise<void> {
  const quit = new AbortController()
  const stop = () => quit.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop)
  io.stdout.on('error', stop)
  const watched = new Set<string>()
  const shown = new Set<string>()
  // One's own session asks the broker too: what both tell of is told once.
  const once = (event: ControlEvent) => {
    if (event.event !== 'approval' && event.event !== 'approval-ended') return
    const key = event.event === 'approval' ? event.request.id : `${event.id} ended`
    if (!shown.has(key)) writeEvent(event, json, io)
    shown.add(key)
  }
  void watchBroker(io, quit.signal, once, text => io.stderr.write(`warning: ${escapeLine(text)}\n`))
  while (!quit.signal.aborted) {
    for (const each of await liveSessions(paths))
      if (!watched.has(each.session)) {
        watched.add(each.session)
        void watchOne(each, once, quit.signal).finally(() => watched.delete(each.session))
      }
    await sleep(lookEveryMs, undefined, { signal: quit.signal }).catch(() => undefined)
  }
}

function writeEvent(event: ControlEvent, json: boolean, io: Io): void {
  if (event.event === 'approval')
    io.stdout.write(json ? jsonLine(event.request, event.at) : tabbed([tabbedRow(event.request)]))
  if (event.event === 'approval-ended' && json) io.stdout.write(`${JSON.stringify(event)}\n`)
}

async function watchOne(
  { control }: LiveSession,
  take: (event: ControlEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const event of control.events(signal)) take(event)
  } catch (error) {
    if (!(error instanceof AgentgateError)) throw error // it ended
  }
}

function jsonLine(request: ApprovalRequest, at = request.askedAt): string {
  return `${JSON.stringify({ event: 'approval', at, request } satisfies ControlEvent)}\n`
}

function tabbedRow(request: ApprovalRequest): string[] {
  return [
    request.id,
    request.session,
    request.resource,
    request.askedAt,
    request.expiresAt,
    request.actor ?? '',
    request.principal,
    request.rule.name,
    request.view.summary,
    request.view.text,
  ]
}
