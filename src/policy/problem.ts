/** A text file with what is needed to point into it. */
export interface SourceText {
  /** As people know it, short: `agentgate.yaml`. Stands in records and in what denied clients see. */
  readonly name: string
  /** From the folder the command was run in, to be clicked on in a terminal. */
  readonly shown: string
  readonly text: string
  /** Offset of each line's first character. */
  readonly lineStarts: readonly number[]
  /** What must not be printed with its line: a value that should have been a reference to a secret. */
  readonly hidden: readonly (readonly [number, number])[]
}

/** Characters from `start` up to, not including, `end`. */
export interface Place {
  readonly source: SourceText
  readonly start: number
  readonly end: number
}

/** Something wrong with a policy, and where. Lower case, no period. */
export interface Problem {
  readonly severity: 'error' | 'warning'
  readonly place: Place
  readonly message: string
  /** Stands under the caret line: `did you mean update?`. */
  readonly suggestion: string | undefined
}

export function lineStartsOf(text: string): number[] {
  const starts = [0]
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return starts
}

/** Line and column, both from 1; columns count UTF-16 units, as editors do. */
export function positionOf(place: Place): { readonly line: number; readonly column: number } {
  const { lineStarts } = place.source
  let low = 0
  let high = lineStarts.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if ((lineStarts[middle] ?? 0) <= place.start) low = middle
    else high = middle - 1
  }
  return { line: low + 1, column: place.start - (lineStarts[low] ?? 0) + 1 }
}

/** File by file as they came, from the top of each to its end. */
export function inOrder(problems: readonly Problem[]): readonly Problem[] {
  const sources = [...new Set(problems.map(problem => problem.place.source))]
  return problems.toSorted(
    (left, right) =>
      sources.indexOf(left.place.source) - sources.indexOf(right.place.source) || left.place.start - right.place.start,
  )
}

/** `agentgate.yaml:41` */
export function placeName(place: Place): string {
  return `${place.source.name}:${positionOf(place).line}`
}

/**
 * A problem as a terminal shows it: where, what, and for errors the line itself with its part underlined.
 *
 *     agentgate.yaml:23:14  error: unknown statement "udpate"; expected one of select, insert, …
 *        23 |     when: { statement: [ udpate ] }
 *                                      ^^^^^^ did you mean update?
 */
export function renderProblem(problem: Problem): string {
  const { place, severity, message, suggestion } = problem
  const { line, column } = positionOf(place)
  const head = `${place.source.shown}:${line}:${column}  ${severity}: ${visible(message)}`
  if (severity === 'warning') return suggestion === undefined ? head : `${head} (${visible(suggestion)})`
  const start = place.source.lineStarts[line - 1] ?? 0
  const raw = concealed(place.source).slice(start, (place.source.lineStarts[line] ?? place.source.text.length + 1) - 1)
  const gutter = `${String(line).padStart(5)} | `
  // A long line is cut around what matters.
  const from = raw.length > 140 && column > 80 ? column - 60 : 0
  const shown = raw.slice(from, from + 140).replace(/\r$/, '')
  const before = visible(shown.slice(0, column - 1 - from)).length
  const marked = visible(shown.slice(column - 1 - from, column - 1 - from + (place.end - place.start))).length
  const carets = '^'.repeat(Math.max(1, marked))
  const under = `${' '.repeat(gutter.length + before)}${carets}${suggestion === undefined ? '' : ` ${visible(suggestion)}`}`
  return `${head}\n${gutter}${visible(shown)}\n${under}`
}

/** One line for scripts, as `--json` prints it. */
export function problemEvent(problem: Problem) {
  const { line, column } = positionOf(problem.place)
  return {
    event: 'problem' as const,
    severity: problem.severity,
    file: problem.place.source.shown,
    line,
    column,
    endColumn: column + problem.place.end - problem.place.start,
    message: problem.message,
    ...(problem.suggestion === undefined ? {} : { suggestion: problem.suggestion }),
  }
}

/** Text from outside with whatever could move a cursor or turn reading direction written out. */
export function visible(text: string): string {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function concealed(source: SourceText): string {
  let text = source.text
  for (const [start, end] of source.hidden)
    text = text.slice(0, start) + text.slice(start, end).replace(/[^\n]/g, '•') + text.slice(end)
  // A password in a URL, wherever somebody put one.
  return text.replace(
    /(:\/\/[^\s:@/]*:)([^\s@/]+)(@)/g,
    (_, before: string, password: string, after: string) =>
      before + (password.startsWith('${') ? password : '•'.repeat(password.length)) + after,
  )
}
