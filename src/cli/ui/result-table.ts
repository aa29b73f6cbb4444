import type { Paint } from '../paint.ts'
import { escapeLine } from './escape.ts'
import { padEnd, truncate, widthOf } from './line.ts'

/** A wider value is cut on a terminal, so that one long text does not push the rest out of sight. */
const maxCell = 60

export interface ResultTableOptions {
  readonly indent: number
  /** Columns of the terminal; null: nothing is cut. */
  readonly width: number | null
  /** Rows shown in all; null for every one. */
  readonly rows: number | null
}

/** One statement's rows as they come: widths are those of the first of them. */
export class ResultTable {
  readonly #options: ResultTableOptions
  readonly #paint: Paint
  #columns: readonly string[] = []
  #widths: readonly number[] = []
  #shown = 0
  #hidden = 0

  constructor(options: ResultTableOptions, paint: Paint) {
    this.#options = options
    this.#paint = paint
  }

  lines(columns: readonly string[], rows: readonly (readonly (string | null)[])[]): string[] {
    const lines: string[] = []
    const room = this.#options.rows === null ? rows.length : Math.max(0, this.#options.rows - this.#shown)
    const cells = rows.slice(0, room).map(row => row.map(value => (value === null ? 'NULL' : escapeLine(value))))
    if (columns.length > 0 && columns.join('\0') !== this.#columns.join('\0')) {
      this.#columns = columns
      const titles = columns.map(escapeLine)
      const { width } = this.#options
      this.#widths = titles.map((title, index) => {
        const widest = Math.max(widthOf(title), ...cells.map(row => widthOf(row[index] ?? '')))
        return width === null ? widest : Math.min(maxCell, widest)
      })
      lines.push(this.#paint.dim(this.#line(titles)))
    }
    this.#shown += cells.length
    this.#hidden += rows.length - cells.length
    for (const row of cells) lines.push(this.#line(row))
    return lines
  }

  /** What was left out. */
  end(): string[] {
    if (this.#hidden === 0) return []
    const more = this.#hidden.toLocaleString('en-GB')
    return [`${' '.repeat(this.#options.indent)}${this.#paint.dim(`… ${more} more (--rows 0 shows all)`)}`]
  }

  #line(cells: readonly string[]): string {
    const { indent, width } = this.#options
    const line = cells
      .map((cell, index) => {
        const columns = this.#widths[index] ?? 0
        return padEnd(width === null ? cell : truncate(cell, columns), columns)
      })
      .join('  ')
      .trimEnd()
    return ' '.repeat(indent) + (width === null ? line : truncate(line, width - indent))
  }
}
