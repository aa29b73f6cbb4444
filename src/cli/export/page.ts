import { hash } from 'node:crypto'
import { replay, type ReplayItem, type Shown } from '../../recording/replay.ts'
import { verificationText } from '../../recording/verification-text.ts'
import { verifyRecording } from '../../recording/verify.ts'
import { noTrust } from '../../recording/witness/witness-check.ts'
import { counted } from '../counted.ts'
import { showDuration } from '../duration.ts'
import { html } from '../html-text.ts'
import { paintFor } from '../paint.ts'
import { loadProtocols } from '../protocols.ts'
import { decisionDetails } from '../recorded-line.ts'
import type { Exporting } from '../sessions-export.ts'
import { length, who } from '../sessions-list.ts'
import { escapeLine, escapeLines } from '../ui/escape.ts'
import { ReplayText } from '../ui/replay-text.ts'
import { script, style } from './page-parts.ts'

/** Marks on the timeline; every refused or asked action has one, up to so many. */
const maxMarks = 2000
/** Length of a piece of text without a line break that counts as one row. */
const rowLength = 4096
const timelineWidth = 1000

/**
 * A session as one HTML file with nothing outside of it: a timeline, a search box, each statement with its decision and
 * result. What was recorded is only ever text in it, and its content security policy runs no other script than its own.
 */
export async function* page(exporting: Exporting): AsyncGenerator<string, void, void> {
  const { folder, key, listed, onProblem } = exporting
  const protocols = await loadProtocols()
  const verification = await verifyRecording(folder, Date.now(), noTrust, key)
  const verdict = verificationText(verification, iso)
  yield head(exporting, verdict, verification.result === 'whole' || verification.result === 'open')
  const entries = new Entries(exporting)
  for await (const item of replay(folder, kind => protocols.get(kind)?.decoder(), key)) {
    if (item.kind === 'problem') onProblem(item.problem)
    const piece = entries.piece(item)
    if (piece !== '') yield piece
  }
  yield entries.end()
  yield `</main>\n${timeline(entries.marks, listed.start?.at ?? 0, listed.lastAt ?? 0)}`
  yield `<footer>made ${iso(Date.now())} · agentgate sessions verify ${html(listed.session)} proves the recording itself, not this page</footer>\n`
  yield `<script>${script}</script>\n</body>\n</html>\n`
}

type Tone = 'plain' | 'good' | 'bad' | 'waiting'

interface Mark {
  readonly sequence: number
  readonly at: number
  readonly tone: Tone
  readonly text: string
}

class Entries {
  readonly #rows: number | null
  readonly #text = new ReplayText({ width: null, rows: null }, paintFor(false))
  readonly #left = new Map<number, number>()
  readonly #hidden = new Map<number, number>()
  readonly marks: Mark[] = []
  #inTerminal = false

  constructor({ rows }: Exporting) {
    this.#rows = rows
  }

  piece(item: ReplayItem): string {
    if (item.kind === 'event' && item.placed.event.kind === 'terminal') {
      const lines = this.#text.lines(item)
      if (lines.length === 0) return ''
      const start = this.#inTerminal ? '' : '<pre class="entry terminal">'
      this.#inTerminal = true
      return `${start}${lines.map(line => `${html(line)}\n`).join('')}`
    }
    return this.end() + this.#piece(item)
  }

  /** What a terminal has been sent without a line break, and the end of its block. */
  end(): string {
    if (!this.#inTerminal) return ''
    this.#inTerminal = false
    const rest = this.#text.rest()
    return `${rest.map(line => `${html(line)}\n`).join('')}</pre>\n`
  }

  #piece(item: ReplayItem): string {
    switch (item.kind) {
      case 'problem':
        return `<p class="entry bad">${this.#lines(item)}</p>\n`
      case 'opaque':
        return `<p class="entry result">${link(item.action)} ${html(counted(item.bytes, 'byte'))} that cannot be decoded</p>\n`
      case 'result':
        return this.#result(item.action, item.shown)
      case 'event':
        break
      default:
        return item satisfies never
    }
    const { placed } = item
    const { event, sequence, at } = placed
    if (event.kind === 'outcome' || event.kind === 'result-cut' || event.kind === 'result-digest') {
      const hidden = event.kind === 'outcome' ? this.#hidden.get(event.action) : undefined
      if (event.kind === 'outcome') {
        this.#left.delete(event.action)
        this.#hidden.delete(event.action)
      }
      const more =
        hidden === undefined ? '' : `<p class="entry result">${counted(hidden, 'more row')}: export with --rows 0</p>\n`
      const tone: Tone = event.kind === 'outcome' && event.status !== 'ok' ? 'waiting' : 'plain'
      return `${more}<p class="entry outcome ${tone}">${link(event.action)} ${this.#lines(item)}</p>\n`
    }
    if (event.kind === 'action') {
      const { outcome } = event.decision
      const tone = toneOf(outcome)
      if (tone !== 'plain' && this.marks.length < maxMarks)
        this.marks.push({ sequence, at, tone, text: `${outcome}: ${event.view.summary}` })
      const details = decisionDetails(event).map(text => `<p class="detail">${html(escapeLine(text))}</p>`)
      const word = outcome === 'timed-out' ? 'timed out' : outcome
      return (
        `<article class="entry action ${tone}" id="e${sequence}" data-outcome="${outcome}">` +
        `<header><a href="#e${sequence}">#${sequence}</a> ${time(at)} <b>${html(escapeLine(event.resource))}</b> ` +
        `${html(escapeLine(event.connection))} <span class="word">${word}</span></header>` +
        `<pre>${escapeLines(event.view.text.trimEnd()).map(html).join('\n')}</pre>${details.join('')}</article>\n`
      )
    }
    const lines = this.#lines(item)
    return lines === '' ? '' : `<p class="entry note">${time(at)} ${lines}</p>\n`
  }

  /** In the words of `sessions replay`, less the time or indent at their beginning. */
  #lines(item: ReplayItem): string {
    return this.#text
      .lines(item)
      .map(line => html(line.replace(/^(?:\d\d:\d\d:\d\d)?\s+/, '')))
      .join('<br>')
  }

  #result(action: number, shown: Shown): string {
    if (shown.kind === 'text') {
      const lines = escapeLines(shown.text.replace(/\r?\n$/, '')).flatMap(pieces)
      const kept = this.#take(action, lines)
      return kept.length === 0
        ? ''
        : `<div class="entry result">${link(action)}<pre>${kept.map(html).join('\n')}</pre></div>\n`
    }
    const rows = this.#take(action, shown.rows ?? [])
    const titles = (shown.columns ?? []).map(title => `<th>${html(escapeLine(title))}</th>`).join('')
    if (rows.length === 0 && (titles === '' || (shown.rows ?? []).length > 0)) return ''
    const cells = rows.map(
      row =>
        `<tr>${row.map(value => (value === null ? '<td class="null">NULL</td>' : `<td>${escapeLines(value).map(html).join('<br>')}</td>`)).join('')}</tr>`,
    )
    const top = titles === '' ? '' : `<thead><tr>${titles}</tr></thead>`
    return `<div class="entry result">${link(action)}<table>${top}<tbody>${cells.join('\n')}</tbody></table></div>\n`
  }

  /** As many as there is still room for among the rows of this result. */
  #take<Row>(action: number, rows: readonly Row[]): readonly Row[] {
    if (this.#rows === null) return rows
    const left = this.#left.get(action) ?? this.#rows
    const kept = rows.slice(0, left)
    this.#left.set(action, left - kept.length)
    if (kept.length < rows.length) this.#hidden.set(action, (this.#hidden.get(action) ?? 0) + rows.length - kept.length)
    return kept
  }
}

function head({ listed }: Exporting, verdict: string, good: boolean): string {
  const { start, end, summary } = listed
  const row = (label: string, text: string, tone = '') =>
    `<tr><th>${label}</th><td${tone === '' ? '' : ` class="${tone}"`}>${html(escapeLine(text))}</td></tr>`
  const rows = [row('state', listed.state)]
  if (start !== null) {
    const { subject } = start
    const actor = subject.actor === null ? [] : [subject.actor.proven ? 'actor proven' : 'actor asserted']
    rows.push(
      row('began', `${iso(start.at)}, ${showDuration(length(listed, Date.now()))} long`),
      row('who', [who(listed), ...actor, ...(subject.confined ? ['confined'] : [])].join(' · ')),
      ...[subject.ticket, subject.purpose].flatMap(text => (text === null ? [] : [row('why', text)])),
      ...start.resources.map(({ name, kind, scope, address }) =>
        row('what', `${name} · ${kind} at ${address} · scope ${scope}`),
      ),
      row('command', start.command.join(' ')),
      row('on', `${start.host} · agentgate ${start.version} · policy ${start.policyDigest}`),
    )
  }
  if (end !== null)
    rows.push(row('ended', `${end.reason}${end.exitCode === null ? '' : ` · exit code ${end.exitCode}`}`))
  rows.push(
    row(
      'counts',
      `${counted(summary.statements, 'statement')} · ${summary.denied} denied · ${summary.asked} asked about · ${summary.masked} with masked values`,
    ),
    row('verified', verdict, good ? 'good' : 'bad'),
  )
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src '${digest(script)}'; style-src '${digest(style)}'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${html(escapeLine(listed.session))} · ${html(escapeLine(who(listed)))}</title>
<style>${style}</style>
</head>
<body>
<header class="about"><h1>${html(escapeLine(listed.session))}</h1><table>${rows.join('')}</table></header>
<div class="search" role="search"><input type="search" id="q" placeholder="search" aria-label="search" autocomplete="off">
<label><input type="checkbox" id="refused"> only what was refused or asked about</label> <output id="found"></output></div>
<main>
`
}

/** Written last, as only then it is known what to mark; shown above. SVG needs no style that a policy would have to allow. */
function timeline(marks: readonly Mark[], from: number, to: number): string {
  const length = Math.max(1, to - from)
  const x = (at: number) => Math.min(timelineWidth - 2, Math.max(0, Math.round(((at - from) / length) * timelineWidth)))
  const shown = marks.map(
    ({ sequence, at, tone, text }) =>
      `<a href="#e${sequence}"><rect class="${tone}" x="${x(at)}" y="2" width="3" height="20"><title>${html(escapeLine(text))}</title></rect></a>`,
  )
  return `<nav class="timeline" aria-label="timeline"><svg viewBox="0 0 ${timelineWidth} 24" preserveAspectRatio="none" role="img"><rect class="line" x="0" y="11" width="${timelineWidth}" height="2"></rect>${shown.join('')}</svg></nav>\n`
}

function toneOf(outcome: string): Tone {
  switch (outcome) {
    case 'allowed':
      return 'plain'
    case 'approved':
      return 'good'
    case 'held':
    case 'withdrawn':
      return 'waiting'
    default:
      return 'bad'
  }
}

function link(action: number): string {
  return `<a href="#e${action}">#${action}</a>`
}

function time(at: number): string {
  return `<time datetime="${iso(at)}">${iso(at).slice(11, 23)}</time>`
}

function iso(at: number): string {
  return new Date(at).toISOString()
}

function pieces(line: string): string[] {
  if (line.length <= rowLength) return [line]
  return line.match(new RegExp(`.{1,${rowLength}}`, 'gsu')) ?? []
}

function digest(text: string): string {
  return `sha256-${hash('sha256', text, 'base64')}`
}
