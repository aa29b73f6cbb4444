import { AgentgateError, ProtocolError } from '../../../errors.ts'
import { type ColumnMasker, columnMaskers, type MaskingOptions } from './column-masker.ts'
import { CopyBinary } from './copy-binary.ts'
import { CopyCsv, CopyText } from './copy-text.ts'
import type { ColumnMask } from './mask-plan.ts'
import { Output, readInt32 } from './output.ts'
import type { RowMasker } from './result-masker.ts'

/** How `COPY … TO STDOUT` writes its rows (PG 18 docs, COPY: File Formats). */
export interface CopyFormat {
  readonly format: 'text' | 'csv' | 'binary'
  /** One byte each. */
  readonly delimiter: string
  readonly quote: string
  readonly escape: string
  readonly nullText: string
  /** Names of the columns come first. */
  readonly header: boolean
}

export interface CopyColumn {
  readonly name: string
  /** undefined where it cannot be told: a masked value is NULL then. */
  readonly typeOid: number | undefined
}

/** Takes the stream apart, wherever its pieces are cut, and puts it together again with masked values in it. */
export interface CopyContent {
  /** Takes the next piece and writes all rows that are whole by now. @throws ProtocolError */
  push(piece: Buffer, out: Output): void
  /** Whether nothing is left over. */
  readonly isWhole: boolean
}

const copyData = 0x64 // 'd'
const headBytes = 5
const head = Buffer.of(copyData, 0, 0, 0, 0)

/** Why a copy in this format cannot be taken apart with certainty; undefined where it can. */
export function copyRefusal({ format, delimiter, quote, escape, nullText }: CopyFormat): string | undefined {
  if (format === 'binary') return undefined
  const isByte = (text: string) => /^[\u0001-\u007f]$/.test(text) && !/[\r\n]/.test(text)
  if (!isByte(delimiter)) return 'its delimiter is not one ASCII character'
  if (/[^\u0001-\u007f]|[\r\n]/.test(nullText)) return 'what stands for NULL is not ASCII'
  if (nullText.includes(delimiter)) return 'what stands for NULL has the delimiter in it'
  if (format === 'text') return nullText.endsWith('\\') ? 'what stands for NULL ends in a backslash' : undefined
  if (!isByte(quote) || !isByte(escape)) return 'its quote or escape is not one ASCII character'
  if (quote === delimiter || nullText.includes(quote)) return 'its quote is used for something else, too'
  return undefined
}

/**
 * Masks whole CopyData messages of one copy. Rows may be cut anywhere by the messages; a message comes out with the rows that
 * end in it, so each row is a message of its own where the server makes it so.
 * @throws AgentgateError INTERNAL where plan and columns are not about the same
 */
export function createCopyMasker(
  plan: readonly ColumnMask[],
  columns: readonly CopyColumn[],
  format: CopyFormat,
  options: MaskingOptions,
): RowMasker {
  if (plan.length !== columns.length) throw new AgentgateError('INTERNAL', 'a mask plan does not fit its copy')
  const isBinary = format.format === 'binary'
  const maskers = columnMaskers(
    plan,
    // 0 is no type: of a binary value nothing may be replaced within it then.
    columns.map(({ name, typeOid }) => ({
      name,
      typeOid: typeOid ?? (isBinary ? 0 : undefined),
      format: isBinary ? 'binary' : 'text',
    })),
    options,
  )
  return new PlannedCopyMasker(maskers, contentOf(format, maskers))
}

function contentOf(format: CopyFormat, maskers: readonly (ColumnMasker | null)[]): CopyContent {
  switch (format.format) {
    case 'binary':
      return new CopyBinary(maskers)
    case 'csv':
      return new CopyCsv(maskers, format)
    case 'text':
      return new CopyText(maskers, format)
    default:
      return format.format satisfies never
  }
}

class PlannedCopyMasker implements RowMasker {
  readonly #maskers: readonly (ColumnMasker | null)[]
  readonly #content: CopyContent
  readonly #out = new Output()

  constructor(maskers: readonly (ColumnMasker | null)[], content: CopyContent) {
    this.#maskers = maskers
    this.#content = content
  }

  get maskedColumns(): readonly string[] {
    return this.#maskers.flatMap(column => (column?.hasHidden === true ? [column.name] : []))
  }

  mask(messages: Buffer): Buffer {
    const out = this.#out
    out.begin(messages.length)
    for (let at = 0; at < messages.length;) {
      if (messages.length - at < headBytes || messages[at] !== copyData) throw malformed()
      const end = at + 1 + readInt32(messages, at + 1)
      if (end > messages.length || end < at + headBytes) throw malformed()
      const start = out.length
      out.copy(head, 0, headBytes)
      this.#content.push(messages.subarray(at + headBytes, end), out)
      if (out.length === start + headBytes) out.length = start
      else out.patchInt32(start + 1, out.length - start - 1)
      at = end
    }
    return out.take()
  }

  end(): void {
    if (!this.#content.isWhole) throw new ProtocolError('postgres', 'a copy that ends within a row')
  }
}

function malformed(): ProtocolError {
  return new ProtocolError('postgres', 'malformed CopyData')
}
