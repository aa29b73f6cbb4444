import { AgentgateError, ProtocolError } from '../../../errors.ts'
import { type ColumnMasker, columnMaskers, type MaskingOptions } from './column-masker.ts'
import type { Format } from './constant.ts'
import type { MaskPlan } from './mask-plan.ts'
import { Output, readInt32 } from './output.ts'

/** A result column as its rows come: from RowDescription, with the format that Bind asked for. */
export interface ResultField {
  readonly name: string
  readonly typeOid: number
  readonly format: Format
}

export interface RowMasker {
  /** Names of the columns that are masked, and of those in which detectors have found something. */
  readonly maskedColumns: readonly string[]
  /**
   * Masks DataRow messages, whole and one after another, in one pass. The result is the caller's: `rows` itself where
   * nothing was to be done, else a buffer of its own. @throws ProtocolError where a length or count does not add up.
   */
  mask(rows: Buffer): Buffer
  /** All has been sent. @throws ProtocolError where a row is not whole. */
  end?(): void
}

const dataRow = 0x44 // 'D'
const headBytes = 7 // type, Int32 length, Int16 column count

/** @throws AgentgateError INTERNAL where plan and fields are not about the same columns. */
export function createRowMasker(plan: MaskPlan, fields: readonly ResultField[], options: MaskingOptions): RowMasker {
  if (plan === 'clear') return { maskedColumns: [], mask: rows => rows }
  if (plan.length !== fields.length) throw new AgentgateError('INTERNAL', 'a mask plan does not fit its result')
  return new PlannedRowMasker(columnMaskers(plan, fields, options))
}

class PlannedRowMasker implements RowMasker {
  readonly #columns: readonly (ColumnMasker | null)[]
  readonly #out = new Output()

  constructor(columns: readonly (ColumnMasker | null)[]) {
    this.#columns = columns
  }

  get maskedColumns(): readonly string[] {
    return this.#columns.flatMap(column => (column?.hasHidden === true ? [column.name] : []))
  }

  mask(rows: Buffer): Buffer {
    const out = this.#out
    out.begin(rows.length)
    const end = rows.length
    let row = 0
    let copied = 0 // rows up to here are in `out`
    while (row < end) {
      if (end - row < headBytes || rows[row] !== dataRow) throw malformed()
      const rowEnd = row + 1 + readInt32(rows, row + 1)
      if (rowEnd > end || rowEnd < row + headBytes) throw malformed()
      copied = this.#maskRow(rows, row, rowEnd, copied)
      row = rowEnd
    }
    if (copied === 0) return rows
    out.copy(rows, copied, end)
    return out.take()
  }

  /** Everything unchanged is copied late, in the longest runs; returns up to where `rows` has been copied. */
  #maskRow(rows: Buffer, row: number, rowEnd: number, copied: number): number {
    const columns = this.#columns
    const out = this.#out
    if ((((rows[row + 5] ?? 0) << 8) | (rows[row + 6] ?? 0)) !== columns.length) throw malformed()
    const head = out.length + row - copied // where in `out` this row will begin
    const before = copied
    let at = row + headBytes
    let change = 0
    for (const column of columns) {
      if (at + 4 > rowEnd) throw malformed()
      const length = readInt32(rows, at)
      const start = at + 4
      if (length < 0) {
        if (length !== -1) throw malformed()
        at = start
        continue
      }
      if (length > rowEnd - start) throw malformed()
      at = start + length
      if (column === null) continue
      const written = column.write(rows, start, at, copied, out)
      if (written === undefined) continue
      change += written - length
      copied = at
    }
    if (at !== rowEnd) throw malformed()
    if (copied !== before) out.patchInt32(head + 1, rowEnd - row - 1 + change)
    return copied
  }
}

function malformed(): ProtocolError {
  return new ProtocolError('postgres', 'malformed DataRow')
}
