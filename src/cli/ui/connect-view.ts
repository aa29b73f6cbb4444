import type { ControlEvent, SessionStatus } from '../../control/schema.ts'
import type { SessionControl } from '../../control/session-control.ts'
import { AgentgateError } from '../../errors.ts'
import { counted } from '../counted.ts'
import type { Paint } from '../paint.ts'
import type { ApprovalDesk } from './approval-desk.ts'
import { approvalPanel, keyBar } from './approval-panel.ts'
import type { Approver } from './approver.ts'
import type { Arming } from './arming.ts'
import { escapeLine } from './escape.ts'
import { formatLogLine } from './format-log-line.ts'
import type { Key } from './keys.ts'
import { truncate } from './line.ts'
import type { LiveView } from './live-screen.tsx'
import { until } from './session-header.ts'
import { isRoutine, StatementLog, type LogLine } from './statement-log.ts'

/** What the screen may do with the session besides watching it. */
export interface ConnectActions {
  /** Where to connect, secrets included: only ever sent to the terminal's clipboard. */
  readonly urls: readonly { readonly resource: string; readonly url: string }[]
  readonly renew: () => Promise<Date>
  readonly close: () => void
  readonly copy: (text: string) => void
  readonly ring: () => void
  readonly print: (lines: readonly string[]) => void
}

// More lines than this in one refresh nobody reads; they are counted instead, and the recording has them.
const maxLinesPerRefresh = 30
const messageMs = 6000
const confirmMs = 5000

/** The `connect` terminal: statements as they pass, what waits, and a few keys. */
export class ConnectView implements LiveView {
  readonly arming: Arming
  readonly #control: SessionControl
  readonly #desk: ApprovalDesk
  readonly #approver: Approver
  readonly #actions: ConnectActions
  readonly #paint: Paint
  readonly #log = new StatementLog()
  readonly #watchers = new Set<() => void>()
  #columns = 80
  #version = 0
  #status: SessionStatus
  #batch: LogLine[] = []
  #skipped = 0
  #showsAll = true
  #message: { text: string; until: number } | undefined
  #choosing = false
  #closeAskedAt = 0
  #fit = { total: 0, shown: 0 }

  constructor(options: {
    readonly control: SessionControl
    readonly status: SessionStatus
    readonly desk: ApprovalDesk
    readonly approver: Approver
    readonly actions: ConnectActions
    readonly paint: Paint
  }) {
    this.#control = options.control
    this.#status = options.status
    this.#desk = options.desk
    this.#approver = options.approver
    this.#actions = options.actions
    this.#paint = options.paint
    this.arming = options.desk.arming
    options.desk.subscribe(() => this.#changed())
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

  /** Statements that this screen did not show one by one. */
  get skipped(): number {
    return this.#skipped
  }

  take(event: ControlEvent): void {
    switch (event.event) {
      case 'approval':
        this.#desk.add({
          request: event.request,
          approver: this.#approver,
          preview: async text => await this.#control.preview(event.request.id, text),
        })
        this.#actions.ring()
        return
      case 'approval-ended':
        this.#desk.remove(event.id, event)
        return
      case 'decision':
      case 'outcome':
      case 'notice':
      case 'connection': {
        const line = this.#log.line(event)
        if (line !== undefined) this.#batch.push(line)
        return
      }
      case 'ready':
      case 'expired':
      case 'revoked':
      case 'closed':
        return
      default:
        return event satisfies never
    }
  }

  /** Prints what has come since the last time, at most so much that it can be read, and takes over a new status. */
  refresh(status: SessionStatus): void {
    if (status !== this.#status) {
      this.#status = status
      this.#changed()
    }
    if (this.#batch.length === 0) return
    const lines = this.#batch.splice(0)
    const wanted = this.#showsAll ? lines : lines.filter(line => !isRoutine(line))
    const notable = wanted.filter(line => !isRoutine(line)).slice(-maxLinesPerRefresh)
    const chosen = new Set(notable)
    for (const line of wanted) if (chosen.size < maxLinesPerRefresh) chosen.add(line)
    const shown = wanted.filter(line => chosen.has(line))
    const columns = { width: this.#columns, resources: this.#status.tunnels.length > 1 }
    const printed = shown.map(line => formatLogLine(line, columns, this.#paint))
    const left = wanted.length - shown.length
    if (left > 0)
      printed.push(this.#paint.dim(`          … and ${left.toLocaleString('en-GB')} more, all in the recording`))
    this.#skipped += left
    this.#actions.print(printed)
  }

  press(key: Key): void {
    if (this.#desk.current !== undefined) {
      const plainView = this.#desk.mode.kind === 'view'
      if (plainView && key.kind === 'control' && key.letter === 'c') return this.#actions.close()
      if (!this.#desk.press(key)) this.#changed()
      return
    }
    if (key.kind === 'control' && (key.letter === 'c' || key.letter === 'd')) return this.#actions.close()
    if (key.kind !== 'character' || !key.alone) return this.#stopChoosing()
    if (this.#choosing) {
      const chosen = this.#actions.urls[Number(key.text) - 1]
      this.#choosing = false
      if (chosen !== undefined) return this.#copy(chosen)
    }
    switch (key.text) {
      case 'c': {
        const [first, ...others] = this.#actions.urls
        if (first === undefined) return
        if (others.length === 0) return this.#copy(first)
        this.#choosing = true
        return this.#say(
          `copy which?  ${this.#actions.urls.map(({ resource }, index) => `${index + 1} ${resource}`).join(' · ')}`,
        )
      }
      case 's':
        this.#showsAll = !this.#showsAll
        return this.#say(this.#showsAll ? 'every statement is shown' : 'only what was denied, held or failed is shown')
      case 'r':
        void this.#renew()
        return
      case 'w':
        if (this.#desk.waiting.length > 0) this.#desk.recall()
        return
      case 'q':
        if (this.#status.connections === 0 || Date.now() - this.#closeAskedAt < confirmMs) return this.#actions.close()
        this.#closeAskedAt = Date.now()
        return this.#say(`${connected(this.#status.connections)}: q again closes`, confirmMs)
      default:
        return this.#stopChoosing()
    }
  }

  closed(): void {
    this.#actions.close()
  }

  frame(size: { readonly width: number; readonly height: number }, now: Date): readonly string[] {
    this.#columns = size.width
    const status = this.#statusLine(size.width, now)
    if (this.#desk.current === undefined) {
      this.#fit = { total: 0, shown: 0 }
      const note =
        this.#desk.message?.text ??
        (this.#message !== undefined && this.#message.until > Date.now() ? this.#message.text : '')
      return [
        '',
        ...(note === '' ? [] : [this.#paint.yellow(truncate(escapeLine(note), size.width))]),
        status,
        ...this.#keys(size.width),
      ]
    }
    const panel = approvalPanel(this.#desk, { width: size.width, height: size.height - 3 }, this.#paint, now)
    this.#fit = panel
    return ['', this.#paint.yellow('─'.repeat(size.width)), ...panel.lines, status]
  }

  drawn(): void {
    if (this.#fit.total > 0) this.#desk.fitted(this.#fit.total, this.#fit.shown)
  }

  #statusLine(width: number, now: Date): string {
    const { tunnels, expiresAt, connections, statements, denied } = this.#status
    const minutes = (Date.parse(expiresAt) - now.getTime()) / 60_000
    const ends = until({ expiresAt }, now)
    const waiting = this.#desk.waiting.length
    const parts = [
      tunnels.map(tunnel => `${tunnel.resource} ${tunnel.address}`).join(', '),
      ends,
      connections === 0 ? 'nobody connected' : connected(connections),
      `${counted(statements, 'statement')}${denied > 0 ? `, ${denied} denied` : ''}`,
      ...(waiting > 0 && this.#desk.current === undefined ? [`${waiting} waiting`] : []),
    ]
    const shown = truncate(escapeLine(parts.join(' · ')), width)
    const tint = minutes <= 1 ? this.#paint.red : minutes <= 10 ? this.#paint.yellow : this.#paint.dim
    // Only the time is tinted, and only where it was not cut off.
    return shown
      .split(ends)
      .map(part => this.#paint.dim(part))
      .join(tint(ends))
  }

  #keys(width: number): string[] {
    const waiting = this.#desk.waiting.length
    const keys: (readonly [string, string])[] = [
      ...(waiting > 0 ? [['w', `${waiting} waiting`] as const] : []),
      ['c', 'copy url'],
      ['s', this.#showsAll ? 'fewer statements' : 'all statements'],
      ['r', 'renew'],
      ['q', 'close'],
    ]
    return keyBar(keys, width, this.#paint, true)
  }

  async #renew(): Promise<void> {
    try {
      const end = await this.#actions.renew()
      this.#status = { ...this.#status, expiresAt: end.toISOString() }
      this.#say(`renewed: ${until(this.#status, new Date())}`)
    } catch (error) {
      this.#say(`not renewed: ${error instanceof AgentgateError ? error.message : 'a bug of agentgate'}`)
    }
  }

  #copy(target: { readonly resource: string; readonly url: string }): void {
    this.#actions.copy(target.url)
    this.#say(
      `the url of ${target.resource}, with its password, was sent to the clipboard (OSC 52: some terminals refuse)`,
    )
  }

  #stopChoosing(): void {
    if (!this.#choosing) return
    this.#choosing = false
    this.#message = undefined
    this.#changed()
  }

  #say(text: string, milliseconds = messageMs): void {
    this.#message = { text, until: Date.now() + milliseconds }
    this.#desk.clearMessage()
    this.#changed()
  }

  #changed(): void {
    this.#version += 1
    for (const watcher of this.#watchers) watcher()
  }
}

function connected(connections: number): string {
  return `${counted(connections, 'client')} connected`
}
