import { isDeepStrictEqual } from 'node:util'
import type { ApprovalAnswer, ApprovalRequest, ControlEvent, EditPreview } from '../../control/schema.ts'
import { AgentgateError } from '../../errors.ts'
import type { Approver } from './approver.ts'
import { Arming } from './arming.ts'
import type { Key } from './keys.ts'
import { TextBuffer } from './text-buffer.ts'

/** A request as a screen holds it: with the ways to decide on it. */
export interface Waiting {
  readonly request: ApprovalRequest
  readonly approver: Approver
  readonly preview: (text: string) => Promise<EditPreview>
}

export type ShapeField = 'times' | 'minutes' | 'rows'

/** What of a shape’s approval can be bounded. */
export function shapeFields({ countsRows }: ApprovalRequest): readonly ShapeField[] {
  return countsRows === true ? ['times', 'minutes', 'rows'] : ['times', 'minutes']
}

type OkPreview = Extract<EditPreview, { kind: 'ok' }>

export type Mode =
  | { readonly kind: 'view' }
  | { readonly kind: 'reason'; readonly buffer: TextBuffer }
  | { readonly kind: 'edit'; readonly buffer: TextBuffer }
  | { readonly kind: 'confirm'; readonly text: string; readonly preview: OkPreview }
  | {
      readonly kind: 'shape'
      readonly times: number
      readonly minutes: number
      /** null: not bounded. Changed only where rows can be counted. */
      readonly rows: number | null
      readonly field: ShapeField
    }
  | { readonly kind: 'passphrase'; readonly buffer: TextBuffer; readonly then: ApprovalAnswer; readonly back: Mode }
  | { readonly kind: 'busy'; readonly doing: string }

export interface DeskMessage {
  readonly tone: 'good' | 'bad' | 'note'
  readonly text: string
}

const messageMs = 8000

const timesSteps = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000]
const minutesSteps = [1, 5, 10, 15, 30, 60, 120, 240, 480, 1440]
const rowsSteps = [null, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000, 100_000, 1_000_000]
const view: Mode = { kind: 'view' }

/**
 * What is waiting for a person, and what they are doing about it. Keys go in, answers go out; a screen draws the state
 * between. Keys count only for what has been on screen (see Arming), and only whole: what has not been scrolled to has
 * not been seen.
 */
export class ApprovalDesk {
  readonly arming: Arming
  #waiting: Waiting[] = []
  #current: string | undefined
  #mode: Mode = view
  #message: (DeskMessage & { readonly atMs: number }) | undefined
  #scroll = 0
  #rows = { total: 0, shown: 0 }
  #seen = 0
  #dismissed = new Set<string>()
  /** What was being edited when the editor was left. */
  readonly #drafts = new Map<string, string>()
  #version = 0
  #question = 0
  readonly #watchers = new Set<() => void>()
  readonly #openEditor: ((text: string) => Promise<string | undefined>) | undefined

  constructor(options: { arming?: Arming; openEditor?: (text: string) => Promise<string | undefined> } = {}) {
    this.arming = options.arming ?? new Arming()
    this.#openEditor = options.openEditor
  }

  subscribe = (watcher: () => void): (() => void) => {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Grows with every change: what React compares. */
  snapshot = (): number => this.#version

  get waiting(): readonly Waiting[] {
    return this.#waiting
  }

  get current(): Waiting | undefined {
    const found = this.#waiting.find(each => each.request.id === this.#current)
    return found !== undefined && this.#dismissed.has(found.request.id) ? undefined : found
  }

  get position(): number {
    return this.#waiting.findIndex(each => each.request.id === this.#current) + 1
  }

  get mode(): Mode {
    return this.#mode
  }

  get message(): DeskMessage | undefined {
    return this.#message !== undefined && Date.now() - this.#message.atMs < messageMs ? this.#message : undefined
  }

  get scroll(): number {
    return this.#scroll
  }

  get canOpenEditor(): boolean {
    return this.#openEditor !== undefined
  }

  /** Whether every line of the current request has been on screen. */
  get seenWhole(): boolean {
    return this.#seen >= this.#rows.total
  }

  /** Changes whenever the question on screen is another one: keys for the last do not count for it. */
  get question(): number {
    return this.#question
  }

  add(waiting: Waiting): void {
    const known = this.#waiting.findIndex(each => each.request.id === waiting.request.id)
    if (known !== -1) {
      const before = this.#waiting[known]?.request.proposed
      if (isDeepStrictEqual(before, waiting.request.proposed)) return
      // Others made something else of it: it is another question, and keys for the last do not count for it.
      this.#waiting[known] = waiting
      this.#dismissed.delete(waiting.request.id)
      if (this.#current === waiting.request.id && this.#mode.kind === 'view') this.#show(waiting.request.id)
      this.#changed()
      return
    }
    this.#waiting.push(waiting)
    if (this.current === undefined && this.#mode.kind === 'view') this.#show(waiting.request.id)
    this.#changed()
  }

  /** A request ended: by this terminal, another one, its client or the clock. */
  remove(id: string, ended?: Extract<ControlEvent, { event: 'approval-ended' }>): void {
    const index = this.#waiting.findIndex(each => each.request.id === id)
    if (index === -1) return
    this.#waiting.splice(index, 1)
    this.#dismissed.delete(id)
    this.#drafts.delete(id)
    if (this.#current === id) {
      if (this.#mode.kind !== 'busy' && ended !== undefined) {
        const text = describeEnd(ended)
        if (text !== undefined) this.#note('note', text)
      }
      this.#mode = view
      this.#show(this.#waiting.find(each => !this.#dismissed.has(each.request.id))?.request.id)
    }
    this.#changed()
  }

  removeAll(session: string): void {
    for (const { request } of [...this.#waiting]) if (request.session === session) this.remove(request.id)
  }

  /** Shows what was put off. */
  recall(): void {
    this.#dismissed.clear()
    this.#show(this.#current ?? this.#waiting[0]?.request.id)
    this.#changed()
  }

  /** The screen says how many lines the current request has and how many fit from `scroll` on. */
  fitted(total: number, shown: number): void {
    this.#rows = { total, shown }
    this.#scroll = Math.max(0, Math.min(this.#scroll, total - shown))
    this.#seen = Math.max(this.#seen, this.#scroll + shown)
  }

  clearMessage(): void {
    if (this.#message === undefined) return
    this.#message = undefined
    this.#changed()
  }

  /** Takes a key; false where it means nothing here. */
  press(key: Key): boolean {
    const { current } = this
    if (current === undefined) return false
    const mode = this.#mode
    // What comes in a burst was pasted, or typed for something else.
    if (key.kind === 'paste' || (key.kind === 'character' && !key.alone))
      if (mode.kind === 'view' || mode.kind === 'confirm' || mode.kind === 'shape') {
        this.arming.disturb()
        return this.#changed()
      }
    switch (mode.kind) {
      case 'busy':
        return true
      case 'view':
        return this.#pressInView(current, key)
      case 'confirm':
        return this.#pressInConfirm(current, mode, key)
      case 'shape':
        return this.#pressInShape(current, mode, key)
      case 'reason':
        return this.#pressInReason(current, mode, key)
      case 'edit':
        return this.#pressInEdit(current, mode, key)
      case 'passphrase':
        return this.#pressInPassphrase(current, mode, key)
      default:
        return mode satisfies never
    }
  }

  #pressInView(current: Waiting, key: Key): boolean {
    if (key.kind === 'named') {
      switch (key.name) {
        case 'down':
        case 'tab':
          return this.#next(1)
        case 'up':
          return this.#next(-1)
        case 'page-down':
          return this.#scrollBy(this.#rows.shown - 1)
        case 'page-up':
          return this.#scrollBy(1 - this.#rows.shown)
        case 'home':
          return this.#scrollBy(-Infinity)
        case 'end':
          return this.#scrollBy(Infinity)
        case 'escape':
          this.#dismissed.add(current.request.id)
          this.#show(
            this.#waiting.find(each => !this.#dismissed.has(each.request.id))?.request.id ?? current.request.id,
          )
          return this.#changed()
        default:
          return false
      }
    }
    if (key.kind !== 'character') return false
    switch (key.text) {
      case ' ':
        return this.#scrollBy(this.#rows.shown - 1)
      case 'a':
        return this.#ifCounts(() => this.#answer(current, { outcome: 'approve' }))
      case 's':
        return this.#ifCounts(() => this.#enter({ kind: 'shape', times: 10, minutes: 30, rows: null, field: 'times' }))
      case 'e':
        if (!this.arming.accept()) return this.#changed()
        if (!current.request.editable)
          return this.#say('note', 'this cannot be edited; reject it with a reason instead')
        return this.#enter({
          kind: 'edit',
          buffer: TextBuffer.of(
            this.#drafts.get(current.request.id) ?? current.request.proposed?.text ?? current.request.view.text,
          ),
        })
      case 'r':
        if (!this.arming.accept()) return this.#changed()
        return this.#enter({ kind: 'reason', buffer: TextBuffer.of('') })
      default:
        return false
    }
  }

  #pressInConfirm(current: Waiting, mode: Extract<Mode, { kind: 'confirm' }>, key: Key): boolean {
    if (isCancel(key)) return this.#enter({ kind: 'edit', buffer: TextBuffer.of(mode.text) })
    if (key.kind === 'named') {
      if (key.name === 'page-down' || key.name === 'down') return this.#scrollBy(this.#rows.shown - 1)
      if (key.name === 'page-up' || key.name === 'up') return this.#scrollBy(1 - this.#rows.shown)
      return false
    }
    if (key.kind !== 'character') return false
    switch (key.text) {
      case ' ':
        return this.#scrollBy(this.#rows.shown - 1)
      case 'e':
        return this.#enter({ kind: 'edit', buffer: TextBuffer.of(mode.text) })
      case 'a':
        if (mode.preview.verdict === 'deny')
          return this.#say('bad', 'a rule denies this: edit it on, or press escape twice')
        return this.#ifCounts(() => this.#answer(current, { outcome: 'edit', text: mode.text }))
      default:
        return false
    }
  }

  #pressInShape(current: Waiting, mode: Extract<Mode, { kind: 'shape' }>, key: Key): boolean {
    if (isCancel(key)) return this.#enter(view)
    if (key.kind === 'character' && key.text === 'a')
      return this.#ifCounts(() =>
        this.#answer(current, {
          outcome: 'approve',
          shape: { times: mode.times, seconds: mode.minutes * 60, ...(mode.rows === null ? {} : { rows: mode.rows }) },
        }),
      )
    if (key.kind !== 'named') return false
    switch (key.name) {
      case 'up':
      case 'down':
      case 'tab': {
        const fields = shapeFields(current.request)
        const next = fields.indexOf(mode.field) + (key.name === 'up' ? fields.length - 1 : 1)
        this.#mode = { ...mode, field: fields[next % fields.length] ?? 'times' }
        return this.#changed()
      }
      case 'left':
      case 'right': {
        const direction = key.name === 'right' ? 1 : -1
        if (mode.field === 'times') this.#mode = { ...mode, times: step(timesSteps, mode.times, direction) }
        else if (mode.field === 'minutes')
          this.#mode = { ...mode, minutes: step(minutesSteps, mode.minutes, direction) }
        else this.#mode = { ...mode, rows: step(rowsSteps, mode.rows, direction) }
        return this.#changed()
      }
      default:
        return false
    }
  }

  #pressInReason(current: Waiting, mode: Extract<Mode, { kind: 'reason' }>, key: Key): boolean {
    if (isCancel(key)) return this.#enter(view)
    if (key.kind === 'named' && key.name === 'enter') {
      const reason = mode.buffer.text.trim().slice(0, 1000)
      if (reason === '') return this.#say('note', 'a word why: the asker gets it as the error')
      return this.#answer(current, { outcome: 'reject', reason })
    }
    this.#mode = { ...mode, buffer: edited(mode.buffer, key, false) }
    return this.#changed()
  }

  #pressInEdit(current: Waiting, mode: Extract<Mode, { kind: 'edit' }>, key: Key): boolean {
    if (isCancel(key)) {
      this.#drafts.set(current.request.id, mode.buffer.text)
      return this.#enter(view)
    }
    if (key.kind === 'control' && key.letter === 's') return this.#preview(current, mode.buffer)
    if (key.kind === 'control' && key.letter === 'o' && this.#openEditor !== undefined)
      return this.#editOutside(current, mode.buffer)
    this.#mode = { ...mode, buffer: edited(mode.buffer, key, true) }
    return this.#changed()
  }

  #pressInPassphrase(current: Waiting, mode: Extract<Mode, { kind: 'passphrase' }>, key: Key): boolean {
    if (isCancel(key)) return this.#enter(mode.back)
    if (key.kind === 'named' && key.name === 'enter') {
      const passphrase = mode.buffer.text
      if (passphrase === '') return true
      this.#work('checking …', async () => {
        if (await current.approver.unlock(passphrase)) {
          await this.#send(current, mode.then)
          return
        }
        this.#note('bad', 'that is not your passphrase')
        this.#enter({ ...mode, buffer: TextBuffer.of('') })
      })
      return true
    }
    this.#mode = { ...mode, buffer: edited(mode.buffer, key, false) }
    return this.#changed()
  }

  /** A yes: only for what has been seen whole, by a key that was meant for it. */
  #ifCounts(yes: () => boolean): boolean {
    if (!this.arming.accept()) return this.#changed()
    if (!this.seenWhole) return this.#say('note', 'there is more of it: space scrolls')
    return yes()
  }

  #answer(current: Waiting, answer: ApprovalAnswer): boolean {
    // A no is always safe; a yes needs a person.
    if (answer.outcome !== 'reject' && current.approver.missing(current.request) === 'passphrase')
      return this.#enter({ kind: 'passphrase', buffer: TextBuffer.of(''), then: answer, back: this.#mode })
    this.#work('sending …', async () => await this.#send(current, answer))
    return true
  }

  async #send(current: Waiting, answer: ApprovalAnswer): Promise<void> {
    const result = await current.approver.answer(current.request, answer)
    if (result.kind === 'decided') {
      this.#note(result.outcome === 'rejected' ? 'bad' : 'good', `${result.outcome}: ${current.request.view.summary}`)
      this.#mode = view
      this.remove(current.request.id)
      return
    }
    this.#note('bad', [result.message, result.hint].filter(Boolean).join(' · '))
    if (result.code === 'NO_SUCH_APPROVAL') {
      this.remove(current.request.id)
      return
    }
    this.#enter(answer.outcome === 'edit' ? { kind: 'edit', buffer: TextBuffer.of(answer.text) } : view)
  }

  #preview(current: Waiting, buffer: TextBuffer): boolean {
    const text = buffer.text
    if (text.trim() === '') return this.#say('note', 'nothing is left of it: to refuse it, press escape and r')
    if (text === current.request.view.text) {
      this.#note('note', 'nothing was changed')
      return this.#enter(view)
    }
    this.#work('deciding anew …', async () => {
      const preview = await current.preview(text)
      if (preview.kind === 'ok') return void this.#enter({ kind: 'confirm', text, preview })
      this.#note('bad', preview.message)
      this.#enter({ kind: 'edit', buffer })
    })
    return true
  }

  #editOutside(current: Waiting, buffer: TextBuffer): boolean {
    this.#work('in your editor …', async () => {
      const text = await this.#openEditor?.(buffer.text)
      // It may have ended while the editor was open.
      if (this.current !== current) return
      if (text === undefined) this.#note('bad', 'the editor did not end well: nothing was changed')
      const changed = text === undefined ? buffer : TextBuffer.of(text.replace(/\n$/, ''))
      this.#enter({ kind: 'edit', buffer: changed })
    })
    return true
  }

  #work(doing: string, work: () => Promise<void>): void {
    const before = this.#mode
    const { current } = this
    this.#enter({ kind: 'busy', doing })
    work().catch((error: unknown) => {
      this.#note('bad', error instanceof AgentgateError ? error.message : 'that did not work')
      if (this.current === current) this.#enter(before)
      this.#changed()
    })
  }

  #next(direction: 1 | -1): boolean {
    if (this.#waiting.length < 2) return this.#scrollBy(direction)
    const index = this.position - 1 + direction
    const next = this.#waiting[(index + this.#waiting.length) % this.#waiting.length]
    if (next !== undefined) {
      this.#dismissed.delete(next.request.id)
      this.#show(next.request.id)
    }
    return this.#changed()
  }

  #scrollBy(rows: number): boolean {
    this.#scroll = Math.max(0, Math.min(this.#rows.total - this.#rows.shown, this.#scroll + rows))
    return this.#changed()
  }

  #show(id: string | undefined): void {
    if (id === this.#current && !this.#dismissed.has(id ?? '')) return
    this.#current = id
    this.#enter(view)
  }

  #enter(mode: Mode): boolean {
    if (mode.kind !== this.#mode.kind || mode.kind === 'view') {
      this.#scroll = 0
      this.#seen = 0
      this.#rows = { total: 1, shown: 0 } // until drawn, nothing has been seen
      this.#question += 1
      this.arming.ask()
    }
    this.#mode = mode
    return this.#changed()
  }

  #say(tone: DeskMessage['tone'], text: string): boolean {
    this.#note(tone, text)
    return this.#changed()
  }

  #note(tone: DeskMessage['tone'], text: string): void {
    this.#message = { tone, text, atMs: Date.now() }
  }

  #changed(): true {
    this.#version += 1
    for (const watcher of this.#watchers) watcher()
    return true
  }
}

function isCancel(key: Key): boolean {
  return (key.kind === 'named' && key.name === 'escape') || (key.kind === 'control' && key.letter === 'c')
}

function step<Value extends number | null>(steps: readonly Value[], value: Value, direction: 1 | -1): Value {
  const next = steps[Math.max(0, Math.min(steps.length - 1, steps.indexOf(value) + direction))]
  return next === undefined ? value : next
}

/** What a key does to a text, as readline and most editors have it. */
function edited(buffer: TextBuffer, key: Key, multiline: boolean): TextBuffer {
  switch (key.kind) {
    case 'character':
      return buffer.insert(key.text)
    case 'paste':
      return buffer.insert(multiline ? key.text : key.text.replace(/[\r\n]+/g, ' '))
    case 'control':
      switch (key.letter) {
        case 'a':
          return buffer.home()
        case 'e':
          return buffer.end()
        case 'k':
          return buffer.killLine()
        case 'u':
          return buffer.killToStart()
        case 'w':
          return buffer.killWord()
        case 'd':
          return buffer.delete()
        default:
          return buffer
      }
    case 'named':
      switch (key.name) {
        case 'enter':
          return multiline ? buffer.insert('\n') : buffer
        case 'tab':
          return multiline ? buffer.insert('  ') : buffer
        case 'backspace':
          return buffer.backspace()
        case 'delete':
          return buffer.delete()
        case 'left':
          return buffer.left()
        case 'right':
          return buffer.right()
        case 'up':
          return multiline ? buffer.up() : buffer
        case 'down':
          return multiline ? buffer.down() : buffer
        case 'page-up':
          return buffer.up(10)
        case 'page-down':
          return buffer.down(10)
        case 'home':
          return buffer.home()
        case 'end':
          return buffer.end()
        case 'word-left':
          return buffer.wordLeft()
        case 'word-right':
          return buffer.wordRight()
        case 'escape':
          return buffer
        default:
          return key.name satisfies never
      }
    default:
      return key satisfies never
  }
}

/** What to say of a request that ended under the eyes of whoever looked at it. */
function describeEnd(ended: Extract<ControlEvent, { event: 'approval-ended' }>): string | undefined {
  const by = ended.by === null ? '' : ` by ${ended.by}`
  switch (ended.outcome) {
    case 'approved':
    case 'edited':
    case 'rejected':
      return `${ended.outcome}${by}, elsewhere`
    case 'withdrawn':
      return 'the asker withdrew it'
    case 'timed-out':
      return 'nobody answered in time: it was refused'
    default:
      return ended.outcome satisfies never
  }
}
