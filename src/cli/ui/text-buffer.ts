import { graphemes } from './line.ts'

/** A text being edited, and where its cursor is; every change gives a new one. Columns count graphemes. */
export class TextBuffer {
  readonly lines: readonly string[]
  readonly row: number
  readonly column: number

  private constructor(lines: readonly string[], row: number, column: number) {
    this.lines = lines
    this.row = row
    this.column = column
  }

  static of(text: string): TextBuffer {
    const lines = normalise(text).split('\n')
    return new TextBuffer(lines, 0, 0)
  }

  get text(): string {
    return this.lines.join('\n')
  }

  insert(text: string): TextBuffer {
    const added = normalise(text).split('\n')
    const [before, after] = this.#split()
    const first = added[0] ?? ''
    if (added.length === 1) return this.#with([before + first + after], this.row, this.column + lengthOf(first))
    const last = added[added.length - 1] ?? ''
    return this.#with(
      [before + first, ...added.slice(1, -1), last + after],
      this.row + added.length - 1,
      lengthOf(last),
    )
  }

  backspace(): TextBuffer {
    if (this.column > 0) {
      const points = this.#points()
      points.splice(this.column - 1, 1)
      return this.#with([points.join('')], this.row, this.column - 1)
    }
    if (this.row === 0) return this
    const above = this.lines[this.row - 1] ?? ''
    const lines = [...this.lines]
    lines.splice(this.row - 1, 2, above + this.#line())
    return new TextBuffer(lines, this.row - 1, lengthOf(above))
  }

  delete(): TextBuffer {
    const next = this.right()
    return next === this ? this : next.backspace()
  }

  /** From the cursor to the end of the line; the line break where that is already there. */
  killLine(): TextBuffer {
    const [before, after] = this.#split()
    return after === '' ? this.delete() : this.#with([before], this.row, this.column)
  }

  killToStart(): TextBuffer {
    return this.#with([this.#split()[1]], this.row, 0)
  }

  killWord(): TextBuffer {
    const target = this.wordLeft()
    if (target.row !== this.row) return this.backspace()
    const points = this.#points()
    points.splice(target.column, this.column - target.column)
    return this.#with([points.join('')], this.row, target.column)
  }

  left(): TextBuffer {
    if (this.column > 0) return this.#at(this.row, this.column - 1)
    return this.row === 0 ? this : this.#at(this.row - 1, Infinity)
  }

  right(): TextBuffer {
    if (this.column < lengthOf(this.#line())) return this.#at(this.row, this.column + 1)
    return this.row === this.lines.length - 1 ? this : this.#at(this.row + 1, 0)
  }

  up(count = 1): TextBuffer {
    return this.row === 0 ? this.#at(0, 0) : this.#at(Math.max(0, this.row - count), this.column)
  }

  down(count = 1): TextBuffer {
    const last = this.lines.length - 1
    return this.row === last ? this.#at(last, Infinity) : this.#at(Math.min(last, this.row + count), this.column)
  }

  home(): TextBuffer {
    return this.#at(this.row, 0)
  }

  end(): TextBuffer {
    return this.#at(this.row, Infinity)
  }

  wordLeft(): TextBuffer {
    if (this.column === 0) return this.left()
    const points = this.#points()
    let column = this.column
    while (column > 0 && !isWord(points[column - 1])) column -= 1
    while (column > 0 && isWord(points[column - 1])) column -= 1
    return this.#at(this.row, column)
  }

  wordRight(): TextBuffer {
    const points = this.#points()
    if (this.column === points.length) return this.right()
    let column = this.column
    while (column < points.length && !isWord(points[column])) column += 1
    while (column < points.length && isWord(points[column])) column += 1
    return this.#at(this.row, column)
  }

  #line(): string {
    return this.lines[this.row] ?? ''
  }

  #points(): string[] {
    return graphemes(this.#line())
  }

  #split(): [string, string] {
    const points = this.#points()
    return [points.slice(0, this.column).join(''), points.slice(this.column).join('')]
  }

  #with(replacement: readonly string[], row: number, column: number): TextBuffer {
    const lines = [...this.lines]
    lines.splice(this.row, 1, ...replacement)
    return new TextBuffer(lines, row, column)
  }

  #at(row: number, column: number): TextBuffer {
    return new TextBuffer(this.lines, row, Math.min(column, lengthOf(this.lines[row] ?? '')))
  }
}

function lengthOf(line: string): number {
  return graphemes(line).length
}

function isWord(character: string | undefined): boolean {
  return character !== undefined && /[\p{L}\p{N}_]/u.test(character)
}

/** Terminals send CR for Enter, and paste it for a line break. */
function normalise(text: string): string {
  return text.replace(/\r\n?/g, '\n')
}
