import { AgentgateError, ProtocolError } from '../../../errors.ts'
import type { Hasher } from '../../../masking/hasher.ts'
import type { Format } from './constant.ts'
import type { MaskPlan } from './mask-plan.ts'
import { replacementFor, type ValueWriter } from './replacement.ts'
import { typeClassOf } from './type-class.ts'
import { valueDetector, type ValueDetector } from './value-detector.ts'

/** A result column as its rows come: from RowDescription, with the format that Bind asked for. */
export interface ResultField {
  readonly name: string
  readonly typeOid: number
  readonly format: Format
}

export interface MaskingOptions {
  readonly hasher: Hasher
  /** Types of this database that clients read as text, such as citext. */
  readonly textOids?: ReadonlySet<number>
}

export interface RowMasker {
  /** Names of the columns that are masked, and of those in which detectors have found something. */
  readonly maskedColumns: readonly string[]
  /**
   * Masks DataRow messages, whole and one after another, in one pass. The result is the caller's: `rows` itself where
   * nothing was to be done, else a buffer of its own. @throws ProtocolError where a length or count does not add up.
   */
  mask(rows: Buffer): Buffer
}

const dataRow = 0x44 // 'D'
const headBytes = 7 // type, Int32 length, Int16 column count
/** Up to here a loop is faster than Buffer.copy, which makes a view each time. */
const loopBytes = 40

const clear = 0
const toNull = 1
const toConstant = 2
const toComputed = 3
const toDetected = 4

/** @throws AgentgateError INTERNAL where plan and fields are not about the same columns. */
export function createRowMasker(plan: MaskPlan, fields: readonly ResultField[], options: MaskingOptions): RowMasker {
  if (plan === 'clear') return { maskedColumns: [], mask: rows => rows }
  if (plan.length !== fields.length) throw new AgentgateError('INTERNAL', 'a mask plan does not fit its result')
  return new PlannedRowMasker(plan, fields, options)
}

class PlannedRowMasker implements RowMasker {
  readonly #masked = new Set<string>()
  readonly #names: readonly string[]
  /** By column: what to do with it, with what, and how many bytes that may take. */
  readonly #actions: Uint8Array
  readonly #constants: readonly Buffer[]
  readonly #writers: readonly ValueWriter[]
  readonly #detectors: readonly ValueDetector[]
  readonly #sizes: Int32Array
  #out: Buffer = Buffer.alloc(0)
  #length = 0
  #shown: readonly string[] = []

  constructor(plan: Exclude<MaskPlan, 'clear'>, fields: readonly ResultField[], options: MaskingOptions) {
    const constants: Buffer[] = []
    const writers: ValueWriter[] = []
    const detectors: ValueDetector[] = []
    this.#actions = new Uint8Array(plan.length)
    this.#sizes = new Int32Array(plan.length)
    for (const [index, field] of fields.entries()) {
      const column = plan[index]
      constants.push(Buffer.alloc(0))
      writers.push(() => -1)
      detectors.push(() => 'null')
      if (column === undefined || column.kind === 'clear') continue
      if (column.kind === 'detect') {
        this.#actions[index] = toDetected
        detectors[index] = valueDetector(column.detectors, column.with, field.typeOid, field.format, options)
        continue
      }
      this.#masked.add(field.name)
      const type = typeClassOf(field.typeOid, options.textOids)
      const replacement = replacementFor(column.with, type, field.format, options.hasher)
      switch (replacement.kind) {
        case 'null':
          this.#actions[index] = toNull
          break
        case 'constant':
          this.#actions[index] = toConstant
          this.#sizes[index] = replacement.bytes.length
          constants[index] = replacement.bytes
          break
        case 'computed':
          this.#actions[index] = toComputed
          this.#sizes[index] = replacement.maxBytes
          writers[index] = replacement.write
          break
        default:
          replacement satisfies never
      }
    }
    this.#names = fields.map(field => field.name)
    this.#constants = constants
    this.#writers = writers
    this.#detectors = detectors
  }

  get maskedColumns(): readonly string[] {
    if (this.#shown.length !== this.#masked.size) this.#shown = [...this.#masked]
    return this.#shown
  }

  mask(rows: Buffer): Buffer {
    // Markers are mostly no longer than what they stand for.
    this.#out = Buffer.allocUnsafe(rows.length + (rows.length >> 3) + 64)
    this.#length = 0
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
    if (this.#length === 0) return rows
    this.#copy(rows, copied, end)
    const out = this.#out.subarray(0, this.#length)
    this.#out = rows.subarray(0, 0)
    return out
  }

  /** Everything unchanged is copied late, in the longest runs; returns up to where `rows` has been copied. */
  #maskRow(rows: Buffer, row: number, rowEnd: number, copied: number): number {
    const actions = this.#actions
    const columns = actions.length
    if ((((rows[row + 5] ?? 0) << 8) | (rows[row + 6] ?? 0)) !== columns) throw malformed()
    const head = this.#length + row - copied // where in `out` this row will begin
    const before = copied
    let at = row + headBytes
    let change = 0
    for (let column = 0; column < columns; column++) {
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
      const action = actions[column]
      if (action === clear) continue
      if (action === toDetected) {
        const detected = this.#detectors[column]?.(rows, start, at) ?? 'null'
        if (detected === 'clean') continue
        this.#masked.add(this.#names[column] ?? '')
        this.#copy(rows, copied, start - 4)
        change += this.#append(detected) - length
      } else {
        this.#copy(rows, copied, start - 4)
        change += this.#replace(rows, start, at, column) - length
      }
      copied = at
    }
    if (at !== rowEnd) throw malformed()
    if (copied !== before) writeInt32(this.#out, head + 1, rowEnd - row - 1 + change)
    return copied
  }

  /** Appends the new length and value; returns how many bytes the value has now. */
  #replace(rows: Buffer, start: number, end: number, column: number): number {
    this.#reserve(4 + (this.#sizes[column] ?? 0))
    const out = this.#out
    const lengthAt = this.#length
    let offset = lengthAt + 4
    switch (this.#actions[column]) {
      case toConstant: {
        const constant = this.#constants[column] ?? rows.subarray(0, 0)
        if (constant.length <= loopBytes)
          for (let index = 0; index < constant.length; index++) out[offset + index] = constant[index] ?? 0
        else constant.copy(out, offset)
        offset += constant.length
        break
      }
      case toComputed:
        offset = this.#writers[column]?.(rows, start, end, out, offset) ?? -1
        break
      default: // toNull, and whatever is not known
        offset = -1
    }
    if (offset < 0) {
      writeInt32(out, lengthAt, -1)
      this.#length = lengthAt + 4
      return 0
    }
    writeInt32(out, lengthAt, offset - lengthAt - 4)
    this.#length = offset
    return offset - lengthAt - 4
  }

  /** Appends length and value as #replace does. */
  #append(value: 'null' | Buffer): number {
    const length = value === 'null' ? 0 : value.length
    this.#reserve(4 + length)
    writeInt32(this.#out, this.#length, value === 'null' ? -1 : length)
    this.#length += 4
    if (value !== 'null') this.#length += value.copy(this.#out, this.#length)
    return length
  }

  #copy(rows: Buffer, start: number, end: number): void {
    const length = end - start
    this.#reserve(length)
    if (length <= loopBytes) {
      const out = this.#out
      const shift = this.#length - start
      for (let index = start; index < end; index++) out[index + shift] = rows[index] ?? 0
    } else rows.copy(this.#out, this.#length, start, end)
    this.#length += length
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#out.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#out.length * 2))
    this.#out.copy(grown, 0, 0, this.#length)
    this.#out = grown
  }
}

function malformed(): ProtocolError {
  return new ProtocolError('postgres', 'malformed DataRow')
}

function readInt32(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)
}

function writeInt32(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}
