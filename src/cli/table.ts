import { escapeLine } from './ui/escape.ts'
import { padEnd, padStart, truncate, widthOf } from './ui/line.ts'
import type { Paint } from './paint.ts'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
}

/** Columns for a person: headed, as wide as their fields, the last cut to the terminal's width. Fields are escaped here. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
  paint: Paint,
): string {
  const cells = rows.map(row => row.map(escapeLine))
  const widths = columns.map((column, index) =>
    Math.max(widthOf(column.title), ...cells.map(row => widthOf(row[index] ?? ''))),
  )
  const line = (fields: readonly string[]) =>
    truncate(
      fields
        .map((field, index) => (columns[index]?.align === 'right' ? padStart : padEnd)(field, widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
      width,
    )
  return [paint.dim(line(columns.map(column => column.title))), ...cells.map(line)].map(text => `${text}\n`).join('')
}

/** The same for a pipe: tab-separated, no heading, nothing cut. */
export function tabbed(rows: readonly (readonly string[])[]): string {
  return rows.map(row => `${row.map(escapeLine).join('\t')}\n`).join('')
}
