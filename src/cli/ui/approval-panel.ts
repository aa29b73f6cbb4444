import { showCountdown, showDuration } from '../duration.ts'
import type { Paint } from '../paint.ts'
import type { ApprovalRequest, EditPreview } from '../../control/schema.ts'
import { shapeFields, type ApprovalDesk, type Waiting, type ShapeField } from './approval-desk.ts'
import { escapeLine, escapeLines } from './escape.ts'
import { fit, graphemes, padEnd, truncate, widthOf, wrap } from './line.ts'
import type { TextBuffer } from './text-buffer.ts'
import { diffLines } from './text-diff.ts'

export interface PanelSize {
  readonly width: number
  readonly height: number
}

/** A panel's lines, and how much of what it shows fitted: `ApprovalDesk.fitted` is told once they are on screen. */
export interface Panel {
  readonly lines: readonly string[]
  readonly total: number
  readonly shown: number
}

const labelWidth = 10

/**
 * What an approver sees: effects first, then who asks, the rule, the statement with its bound values, and what each key
 * does. At most `height` lines of `width` columns; a longer body scrolls.
 */
export function approvalPanel(desk: ApprovalDesk, size: PanelSize, paint: Paint, now: Date): Panel {
  const panel = layOut(desk, size, paint, now)
  return { ...panel, lines: panel.lines.map(line => fit(line, size.width)) }
}

function layOut(desk: ApprovalDesk, size: PanelSize, paint: Paint, now: Date): Panel {
  const { current } = desk
  if (current === undefined) return { lines: [], total: 0, shown: 0 }
  const title = titleLine(desk, current, size.width, paint)
  const footer = [
    ...(desk.message === undefined ? [] : [messageLine(desk.message, size.width, paint)]),
    ...keyLines(desk, current, size.width, paint),
  ]
  const room = Math.max(1, size.height - 1 - footer.length)
  const { mode } = desk
  if (mode.kind === 'edit') {
    const editor = editorLines(mode.buffer, { width: size.width - 2, height: Math.max(1, room - 2) }, paint)
    return {
      lines: [title, '', ...editor.map(line => `  ${line}`), '', ...footer].slice(-size.height),
      total: 0,
      shown: 0,
    }
  }
  const body =
    mode.kind === 'confirm'
      ? [...editComparison(current.request, mode.text, mode.preview, size.width, paint), '']
      : requestBody(current, size.width, paint, now)
  const fits = body.length <= room
  const shown = fits ? body.length : Math.max(1, room - 1)
  const scroll = Math.max(0, Math.min(desk.scroll, body.length - shown))
  const more = fits
    ? []
    : [
        paint.yellow(
          truncate(
            `  lines ${scroll + 1}–${scroll + shown} of ${body.length} · space or page down shows more`,
            size.width,
          ),
        ),
      ]
  return {
    lines: [title, ...body.slice(scroll, scroll + shown), ...more, ...footer],
    total: body.length,
    shown,
  }
}

function titleLine(desk: ApprovalDesk, { request }: Waiting, width: number, paint: Paint): string {
  const count = desk.waiting.length > 1 ? `${desk.position} of ${desk.waiting.length} waiting` : '1 waiting'
  const locks = request.holdsLocks ? 'holds locks' : 'holds no locks'
  if (width < 60) {
    // What matters most, first.
    const shown = `${request.holdsLocks ? 'LOCKS ' : ''}${escapeLine(request.view.summary)} on ${escapeLine(request.resource)}`
    return paint.bold(paint.yellow(truncate(shown, width)))
  }
  const right = `${count}   ${locks}`
  const left = `${padEnd(escapeLine(request.resource), labelWidth - 1)} ${escapeLine(request.view.summary)}`
  const shown = truncate(left, Math.max(10, width - widthOf(right) - 2))
  const coloured = `${paint.dim(count)}   ${request.holdsLocks ? paint.red(locks) : paint.dim(locks)}`
  return `${paint.bold(paint.yellow(shown))}${' '.repeat(Math.max(2, width - widthOf(shown) - widthOf(right)))}${coloured}`
}

function requestBody({ request }: Waiting, width: number, paint: Paint, now: Date): string[] {
  const { view } = request
  const label = view.effect === 'read' ? 'reads' : view.effect === 'change' ? 'changes' : 'effect'
  const effects = request.effects.length > 0 ? request.effects : [effectInWords(view)]
  const who = request.actor === null ? request.principal : `${request.actor} (agent) for ${request.principal}`
  const asked = [
    who,
    ...(request.ticket === null ? [] : [`ticket ${request.ticket}`]),
    ...(request.client === null ? [] : [`in ${request.client}`]),
    `${showDuration(now.getTime() - Date.parse(request.askedAt))} ago`,
  ].join(' · ')
  const approvers = [
    request.approvers.groups.length === 0 ? 'you' : request.approvers.groups.join(' or '),
    ...(request.approvers.count > 1 ? [`${request.approvers.count} of them`] : []),
    ...(request.approvers.notSelf ? ['not the asker'] : []),
    `within ${showCountdown(Date.parse(request.expiresAt) - now.getTime())}`,
  ].join(', ')
  return [
    ...effects.flatMap((effect, index) => labelled(index === 0 ? label : '', effect, width, paint)),
    ...labelled('asked by', asked, width, paint),
    ...(request.purpose === null ? [] : labelled('why', request.purpose, width, paint)),
    ...labelled('rule', `${request.rule.name} (${request.rule.place})   approve: ${approvers}`, width, paint),
    '',
    ...statementLines(view.text, view.parameters ?? [], width, paint),
    '',
    ...(request.proposed === undefined
      ? []
      : [
          ...labelled(
            `by ${request.proposed.by.join(', ')}`,
            `instead: ${proposalText(request.proposed)}`,
            width,
            paint,
          ),
          '',
        ]),
  ]
}

/** What some have said yes to in place of what was asked, in a line. */
export function proposalText({ text, shape }: NonNullable<Waiting['request']['proposed']>): string {
  if (text !== undefined) return text
  if (shape === undefined) return ''
  const rows = shape.rows === undefined ? '' : `, ${shape.rows} rows`
  return `its shape, ${shape.times} times in ${showDuration(shape.seconds * 1000)}${rows}`
}

/** Where a protocol says nothing more exact. */
function effectInWords(view: Waiting['request']['view']): string {
  const objects = [...new Set(view.effect === 'read' ? view.reads : view.writes)]
  const what = view.verbs.join(', ')
  return objects.length > 0 ? `${objects.join(', ')} (${what})` : `not known (${what})`
}

function labelled(label: string, text: string, width: number, paint: Paint): string[] {
  return wrap(escapeLine(text), width - labelWidth).map(
    (line, index) => `${paint.dim((index === 0 ? label : '').padEnd(labelWidth))}${line}`,
  )
}

/** The whole statement, and each bound value beside it where there is room, else below. */
function statementLines(text: string, parameters: readonly (string | null)[], width: number, paint: Paint): string[] {
  const lines = escapeLines(text).flatMap(line => wrap(line, width - 2))
  const values = valuesInWords(parameters)
  const column = Math.max(0, ...lines.map(widthOf)) + 6
  const fits = values.length <= lines.length && values.every(value => column + widthOf(value) <= width)
  if (!fits) return [...lines.map(line => `  ${line}`), ...valueLines(parameters, width, paint)]
  // Bound values stand by the last lines, where the placeholders mostly are.
  const first = lines.length - values.length
  return lines.map((line, index) => {
    const value = values[index - first]
    return value === undefined ? `  ${line}` : `  ${padEnd(line, column - 2)}${paint.cyan(value)}`
  })
}

function valueLines(parameters: readonly (string | null)[], width: number, paint: Paint): string[] {
  return valuesInWords(parameters)
    .flatMap(value => wrap(value, width - 4))
    .map(line => `  ${paint.cyan(line)}`)
}

function valuesInWords(parameters: readonly (string | null)[]): string[] {
  return parameters.map(
    (value, index) => `$${index + 1} = ${value === null ? 'null' : escapeLine(quoteIfNeeded(value))}`,
  )
}

function quoteIfNeeded(value: string): string {
  return value === '' || value === 'null' || /^\s|\s$/.test(value) ? `'${value}'` : value
}

/** Old against new, and what the new one would be decided as. */
export function editComparison(
  request: ApprovalRequest,
  text: string,
  preview: Extract<EditPreview, { kind: 'ok' }>,
  width: number,
  paint: Paint,
): string[] {
  const verdict = {
    allow: paint.green('no rule is against it'),
    approve: paint.yellow('the rule asks for approval of this too: yours counts'),
    deny: paint.red(`denied: ${escapeLine(preview.message ?? 'a rule is against it')}`),
  }[preview.verdict]
  const marks = { same: '  ', removed: '- ', added: '+ ' }
  const diff = diffLines(request.view.text, text).flatMap(({ kind, text: line }) =>
    escapeLines(line)
      .flatMap(each => wrap(each, width - 4))
      .map(each => {
        const shown = `  ${marks[kind]}${each}`
        return kind === 'same' ? paint.dim(shown) : kind === 'added' ? paint.green(shown) : paint.red(shown)
      }),
  )
  return [
    ...labelled('now', preview.view.summary, width, paint),
    ...labelled(preview.view.effect === 'read' ? 'reads' : 'changes', effectInWords(preview.view), width, paint),
    `${paint.dim('decision'.padEnd(labelWidth))}${verdict}`,
    '',
    ...diff,
    ...valueLines(preview.view.parameters ?? [], width, paint),
  ]
}

function messageLine(message: NonNullable<ApprovalDesk['message']>, width: number, paint: Paint): string {
  const text = truncate(escapeLine(message.text), width)
  return message.tone === 'good' ? paint.green(text) : message.tone === 'bad' ? paint.red(text) : paint.yellow(text)
}

function keyLines(desk: ApprovalDesk, { request }: Waiting, width: number, paint: Paint): string[] {
  const { mode } = desk
  switch (mode.kind) {
    case 'view':
      return keyBar(
        [
          ['a', 'approve once'],
          ...(request.editable ? [['e', 'edit'] as const] : []),
          ['r', 'reject with a reason'],
          ['s', 'this shape, with limits'],
          ...(desk.waiting.length > 1 ? [['↓', 'next'] as const] : []),
          ['esc', 'later'],
        ],
        width,
        paint,
        desk.arming.armed,
      )
    case 'confirm':
      return keyBar(
        [
          ...(mode.preview.verdict === 'deny' ? [] : [['a', 'run this instead'] as const]),
          ['e', 'edit on'],
          ['esc', 'back'],
        ],
        width,
        paint,
        desk.arming.armed,
      )
    case 'shape': {
      const mark = (field: ShapeField, text: string) =>
        mode.field === field ? `\u001b[7m ${text} \u001b[27m` : ` ${text} `
      const times = mark('times', mode.times === 1 ? '1 time' : `${mode.times} times`)
      const limits = `${times}within${mark('minutes', showDuration(mode.minutes * 60_000))}`
      const fields = shapeFields(request)
      const bound = mode.rows === null ? 'any number of' : `at most ${mode.rows.toLocaleString('en-US')}`
      return [
        ...(width >= 88
          ? [`statements of this shape, with any values, run unasked at most${limits}`]
          : ['this shape runs unasked, with any values,', `at most${limits}`]),
        ...(fields.includes('rows')
          ? [`and change together${mark('rows', `${bound} ${mode.rows === 1 ? 'row' : 'rows'}`)}`]
          : []),
        ...keyBar(
          [
            ['a', 'approve the shape'],
            ['←→', 'change'],
            ['↑↓', fields.includes('rows') ? 'times, minutes or rows' : 'times or minutes'],
            ['esc', 'back'],
          ],
          width,
          paint,
          desk.arming.armed,
        ),
      ]
    }
    case 'reason':
      return [
        `${paint.bold('why not?')}  ${inputLine(mode.buffer, width - 10, false)}`,
        ...keyBar(
          [
            ['enter', 'reject: the asker gets this as the error'],
            ['esc', 'back'],
          ],
          width,
          paint,
          true,
        ),
      ]
    case 'passphrase':
      return [
        `${paint.bold('passphrase')}  ${inputLine(mode.buffer, width - 12, true)}`,
        ...keyBar(
          [
            ['enter', 'shows that you are here; asked again after some minutes'],
            ['esc', 'back'],
          ],
          width,
          paint,
          true,
        ),
      ]
    case 'edit':
      return keyBar(
        [
          ['ctrl-s', 'see old against new'],
          ...(desk.canOpenEditor ? [['ctrl-o', 'in your editor'] as const] : []),
          ['esc', 'back'],
        ],
        width,
        paint,
        true,
      )
    case 'busy':
      return [paint.dim(mode.doing)]
    default:
      return mode satisfies never
  }
}

/** `[a] approve once   [e] edit`, on as many lines as it takes; dim while keys do not count yet. */
export function keyBar(
  keys: readonly (readonly [key: string, says: string])[],
  width: number,
  paint: Paint,
  active: boolean,
): string[] {
  const lines: string[] = []
  let line = ''
  for (const [key, says] of keys) {
    const plain = `[${key}] ${says}`
    const shown = active ? `${paint.bold(`[${key}]`)} ${says}` : paint.dim(plain)
    if (line !== '' && widthOf(line) + 3 + widthOf(plain) > width) {
      lines.push(line)
      line = ''
    }
    line = line === '' ? shown : `${line}   ${shown}`
  }
  return [...lines, line]
}

/** One line being typed, scrolled so that its end shows; dots for what must not be seen. */
function inputLine(buffer: TextBuffer, width: number, hidden: boolean): string {
  const points = graphemes(buffer.text).map(point => (hidden ? '•' : escapeLine(point)))
  return cursorLine(points, buffer.column, width)
}

function editorLines(buffer: TextBuffer, size: PanelSize, paint: Paint): string[] {
  const first = Math.max(0, Math.min(buffer.row - Math.floor(size.height / 2), buffer.lines.length - size.height))
  const digits = String(buffer.lines.length).length
  return buffer.lines.slice(first, first + size.height).map((line, index) => {
    const row = first + index
    const cells = graphemes(line).map(point => (point === '\t' ? '    ' : escapeLine(point)))
    const number = paint.dim(String(row + 1).padStart(digits))
    return `${number}  ${cursorLine(cells, row === buffer.row ? buffer.column : undefined, size.width - digits - 2)}`
  })
}

/** Cells from as far left as the cursor's place allows, the cursor shown in reverse. */
function cursorLine(cells: readonly string[], cursor: number | undefined, width: number): string {
  const widths = cells.map(widthOf)
  const room = Math.max(2, width - 1)
  let start = 0
  if (cursor !== undefined) {
    let used = 0
    for (let index = 0; index <= cursor; index++) {
      used += widths[index] ?? 1
      while (used > room) used -= widths[start++] ?? 1
    }
  }
  let line = ''
  let used = 0
  for (let index = start; index <= cells.length; index++) {
    const cell = cells[index] ?? (index === cursor ? ' ' : '')
    const columns = widths[index] ?? 1
    if (used + columns > room + 1) break
    line += index === cursor ? `\u001b[7m${cell}\u001b[27m` : cell
    used += columns
  }
  return line
}
