import type { Answer } from './sql-client.ts'

/** One thing that the demo shows, with what was sent, what came back, and whether it is so. */
export interface DemoStep {
  readonly name: string
  readonly title: string
  readonly sent: string
  readonly received: readonly Received[]
  /** What must hold for the step to have happened. */
  readonly checks: readonly Check[]
}

export type Received =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'rows'; readonly columns: Answer['columns']; readonly rows: Answer['rows'] }

export interface Check {
  readonly what: string
  readonly ok: boolean
}

export function text(line: string): Received {
  return { kind: 'text', text: line }
}

export function texts(lines: string): readonly Received[] {
  return lines.trim() === '' ? [] : lines.trimEnd().replaceAll('\t', '  ').split('\n').map(text)
}

export function rows(answer: Answer): Received {
  return { kind: 'rows', columns: answer.columns, rows: answer.rows }
}

/** As psql would show it. */
export function shown(answer: Answer): readonly Received[] {
  const received: Received[] = []
  if (answer.columns.length > 0) received.push(rows(answer))
  else if (answer.tag !== '') received.push(text(answer.tag))
  if (answer.error !== null) {
    received.push(text(`${answer.error.get('S') ?? 'ERROR'}:  ${answer.error.get('M') ?? ''}`))
    for (const [field, label] of [
      ['D', 'DETAIL'],
      ['H', 'HINT'],
    ] as const)
      if (answer.error.has(field)) received.push(text(`${label}:  ${answer.error.get(field) ?? ''}`))
  }
  return received
}

export function same(one: Answer, other: Answer): boolean {
  return one.error === null && JSON.stringify([one.columns, one.rows]) === JSON.stringify([other.columns, other.rows])
}
