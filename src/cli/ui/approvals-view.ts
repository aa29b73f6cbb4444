import type { ControlEvent, SessionStatus } from '../../control/schema.ts'
import type { SessionControl } from '../../control/session-control.ts'
import { counted } from '../counted.ts'
import { showDuration, showTime } from '../duration.ts'
import type { Paint } from '../paint.ts'
import type { ApprovalDesk } from './approval-desk.ts'
import { approvalPanel, keyBar } from './approval-panel.ts'
import type { Approver } from './approver.ts'
import type { Arming } from './arming.ts'
import { escapeLine } from './escape.ts'
import type { Key } from './keys.ts'
import { padEnd, truncate } from './line.ts'
import type { LiveView } from './live-screen.tsx'
import { asWhom, until } from './session-header.ts'

export interface ApprovalsActions {
  readonly quit: () => void
  readonly ring: () => void
  readonly print: (lines: readonly string[]) => void
}

const maxSessionsShown = 8

/** `agentgate approvals`: what waits in any session of this user, live. */
export class ApprovalsView implements LiveView {
  readonly arming: Arming
  readonly #desk: ApprovalDesk
  readonly #actions: ApprovalsActions
  readonly #paint: Paint
  readonly #watchers = new Set<() => void>()
  readonly #summaries = new Map<string, { readonly summary: string; readonly atMs: number }>()
  #sessions: readonly SessionStatus[] = []
  #version = 0
  #columns = 80
  #fit = { total: 0, shown: 0 }

  constructor(desk: ApprovalDesk, actions: ApprovalsActions, paint: Paint) {
    this.#desk = desk
    this.#actions = actions
    this.#paint = paint
    this.arming = desk.arming
    desk.subscribe(() => this.#changed())
  }

  subscribe(watcher: () => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  snapshot(): number {
    return this.#version
  }

  get question(): number {
    return this.#desk.question
  }

  /** What is open now; requests of what is not any more go. */
  show(sessions: readonly SessionStatus[]): void {
    const open = new Set(sessions.map(each => each.session))
    for (const { session } of this.#sessions) if (!open.has(session)) this.#desk.removeAll(session)
    this.#sessions = sessions
    this.#changed()
  }

  take(event: ControlEvent, control: Pick<SessionControl, 'preview'>, approver: Approver): void {
    if (event.event === 'approval') {
      const { request } = event
      this.#summaries.set(request.id, { summary: request.view.summary, atMs: Date.parse(request.askedAt) })
      this.#desk.add({ request, approver, preview: async text => await control.preview(request.id, text) })
      this.#actions.ring()
    }
    if (event.event === 'approval-ended') {
      this.#desk.remove(event.id, event)
      this.#actions.print([this.#endedLine(event)])
      this.#summaries.delete(event.id)
    }
  }

  press(key: Key): void {
    const isControlC = key.kind === 'control' && (key.letter === 'c' || key.letter === 'd')
    if (this.#desk.current !== undefined && !(isControlC && this.#desk.mode.kind === 'view')) {
      if (!this.#desk.press(key)) this.#changed()
      return
    }
    if (isControlC) return this.#actions.quit()
    if (key.kind !== 'character' || !key.alone) return
    if (key.text === 'q') this.#actions.quit()
    if (key.text === 'w' && this.#desk.waiting.length > 0) this.#desk.recall()
  }

  closed(): void {
    this.#actions.quit()
  }

  frame(size: { readonly width: number; readonly height: number }, now: Date): readonly string[] {
    this.#columns = size.width
    if (this.#desk.current !== undefined) {
      const panel = approvalPanel(this.#desk, { width: size.width, height: size.height - 2 }, this.#paint, now)
      this.#fit = panel
      return ['', this.#paint.yellow('─'.repeat(size.width)), ...panel.lines]
    }
    this.#fit = { total: 0, shown: 0 }
    const waiting = this.#desk.waiting.length
    const message = this.#desk.message?.text
    const shown = this.#sessions.slice(0, maxSessionsShown)
    return [
      '',
      ...(message === undefined ? [] : [this.#paint.yellow(truncate(escapeLine(message), size.width))]),
      waiting > 0 ? this.#paint.yellow(`${waiting} waiting, put off`) : 'nothing is waiting',
      ...(this.#sessions.length === 0 ? [this.#paint.dim('nothing is open')] : []),
      ...shown.map(status => this.#paint.dim(truncate(sessionLine(status, now), size.width))),
      ...(this.#sessions.length > shown.length
        ? [this.#paint.dim(`… and ${this.#sessions.length - shown.length} more`)]
        : []),
      ...keyBar(
        [...(waiting > 0 ? [['w', 'show it'] as const] : []), ['q', 'quit: what waits goes on waiting']],
        size.width,
        this.#paint,
        true,
      ),
    ]
  }

  drawn(): void {
    if (this.#fit.total > 0) this.#desk.fitted(this.#fit.total, this.#fit.shown)
  }

  #endedLine(event: Extract<ControlEvent, { event: 'approval-ended' }>): string {
    const known = this.#summaries.get(event.id)
    const at = new Date(event.at)
    const waited = known === undefined ? '' : ` after ${showDuration(at.getTime() - known.atMs)}`
    const by = event.by === null ? '' : ` by ${event.by}`
    const reason = event.reason === undefined ? '' : `: ${event.reason}`
    const text = `${padEnd(event.outcome, 9)}  ${known?.summary ?? event.id}${by}${waited}${reason}`
    const tint = event.outcome === 'approved' || event.outcome === 'edited' ? this.#paint.green : this.#paint.red
    return `${this.#paint.dim(showTime(at))}  ${(event.outcome === 'withdrawn' ? this.#paint.yellow : tint)(truncate(escapeLine(text), this.#columns - 10))}`
  }

  #changed(): void {
    this.#version += 1
    for (const watcher of this.#watchers) watcher()
  }
}

function sessionLine(status: SessionStatus, now: Date): string {
  const what = status.tunnels.map(tunnel => tunnel.resource).join(', ')
  const parts = [what, asWhom(status), until(status, now), counted(status.statements, 'statement')]
  return escapeLine(`${status.session}  ${parts.join(' · ')}`)
}
