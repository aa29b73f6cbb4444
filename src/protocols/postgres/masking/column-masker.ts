import type { Hasher } from '../../../masking/hasher.ts'
import type { Format } from './constant.ts'
import type { ColumnMask } from './mask-plan.ts'
import type { Output } from './output.ts'
import { type Replacement, replacementFor } from './replacement.ts'
import { typeClassOf } from './type-class.ts'
import { type ValueDetector, valueDetector } from './value-detector.ts'

export interface MaskingOptions {
  readonly hasher: Hasher
  /** Types of this database that clients read as text, such as citext. */
  readonly textOids?: ReadonlySet<number> | undefined
}

/** How one column's values are rewritten where each has its length before it: in DataRow, and in COPY's binary format (COPY's others take it apart). */
export interface ColumnMasker {
  readonly name: string
  /** Whether it hides every value, or has found something to hide. */
  readonly hasHidden: boolean
  /** Every value but NULL becomes the same. */
  readonly isFixed: boolean
  /**
   * Puts what stands for the value from `start` to `end`, behind its length, into `out`, and before that the bytes from
   * `copied` up to the value's length. Returns the new value's length (0 for NULL); undefined: nothing was done, as the
   * value stays.
   */
  write(bytes: Buffer, start: number, end: number, copied: number, out: Output): number | undefined
}

/** null for a column that stays clear. */
export function columnMaskers(
  plan: readonly ColumnMask[],
  fields: readonly { readonly name: string; readonly typeOid: number | undefined; readonly format: Format }[],
  options: MaskingOptions,
): readonly (ColumnMasker | null)[] {
  return fields.map(({ name, typeOid, format }, index) => {
    const column = plan[index]
    if (column === undefined || column.kind === 'clear') return null
    if (column.kind === 'detect')
      return new DetectingColumn(name, valueDetector(column.detectors, column.with, typeOid, format, options))
    const type = typeOid === undefined ? 'opaque' : typeClassOf(typeOid, options.textOids)
    return maskerOf(name, replacementFor(column.with, type, format, options.hasher))
  })
}

function maskerOf(name: string, replacement: Replacement): ColumnMasker {
  switch (replacement.kind) {
    case 'null':
      return new NullColumn(name)
    case 'constant':
      return new ConstantColumn(name, replacement.bytes)
    case 'computed':
      return new ComputedColumn(name, replacement)
    default:
      return replacement satisfies never
  }
}

class NullColumn implements ColumnMasker {
  readonly hasHidden = true
  readonly isFixed = true
  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  write(bytes: Buffer, start: number, _end: number, copied: number, out: Output): number {
    out.copy(bytes, copied, start - 4)
    out.int32(-1)
    return 0
  }
}

class ConstantColumn implements ColumnMasker {
  readonly hasHidden = true
  readonly isFixed = true
  readonly name: string
  /** With its length before it. */
  readonly #framed: Buffer

  constructor(name: string, value: Buffer) {
    this.name = name
    this.#framed = Buffer.alloc(4 + value.length)
    this.#framed.writeInt32BE(value.length)
    value.copy(this.#framed, 4)
  }

  write(bytes: Buffer, start: number, _end: number, copied: number, out: Output): number {
    out.copy(bytes, copied, start - 4)
    out.copy(this.#framed, 0, this.#framed.length)
    return this.#framed.length - 4
  }
}

class ComputedColumn implements ColumnMasker {
  readonly hasHidden = true
  readonly isFixed = false
  readonly name: string
  readonly #replacement: Extract<Replacement, { kind: 'computed' }>

  constructor(name: string, replacement: Extract<Replacement, { kind: 'computed' }>) {
    this.name = name
    this.#replacement = replacement
  }

  write(bytes: Buffer, start: number, end: number, copied: number, out: Output): number {
    const { maxBytes, write } = this.#replacement
    out.copy(bytes, copied, start - 4)
    const lengthAt = out.length
    out.int32(-1)
    const behind = write(bytes, start, end, out.reserve(maxBytes), out.length)
    if (behind < 0) return 0
    const length = behind - out.length
    out.length = behind
    out.patchInt32(lengthAt, length)
    return length
  }
}

class DetectingColumn implements ColumnMasker {
  hasHidden = false
  readonly isFixed = false
  readonly name: string
  readonly #detect: ValueDetector

  constructor(name: string, detect: ValueDetector) {
    this.name = name
    this.#detect = detect
  }

  write(bytes: Buffer, start: number, end: number, copied: number, out: Output): number | undefined {
    const detected = this.#detect(bytes, start, end)
    if (detected === 'clean') return undefined
    this.hasHidden = true
    out.copy(bytes, copied, start - 4)
    if (detected === 'null') {
      out.int32(-1)
      return 0
    }
    out.int32(detected.length)
    out.copy(detected, 0, detected.length)
    return detected.length
  }
}
