import type { MaskStrategy } from '../../../policy/action.ts'
import { type Hasher, hashTextBytes } from '../../../masking/hasher.ts'
import { maxPartialBytes, redactedText, writePartial } from '../../../masking/strategies.ts'
import { encodeConstant, type Format } from './constant.ts'
import type { TypeClass } from './type-class.ts'

/** What takes the place of a column's values that are not NULL: a marker that clients can read as the column's type. */
export type Replacement =
  | { readonly kind: 'null' }
  | { readonly kind: 'constant'; readonly bytes: Buffer }
  /** `write` puts at most `maxBytes` at `offset` and returns the offset behind them, or -1 for NULL. */
  | { readonly kind: 'computed'; readonly maxBytes: number; readonly write: ValueWriter }

export type ValueWriter = (value: Buffer, start: number, end: number, out: Buffer, offset: number) => number

const nothing: Replacement = { kind: 'null' }
const quote = 0x22

/** How a strategy is carried out on a type in a format. Where no marker could be valid, the value becomes NULL. */
export function replacementFor(strategy: MaskStrategy, type: TypeClass, format: Format, hasher: Hasher): Replacement {
  switch (strategy.kind) {
    case 'null':
      return nothing
    case 'redact':
      return redact(type, format)
    case 'partial':
      return type === 'text'
        ? { kind: 'computed', maxBytes: maxPartialBytes, write: writePartial }
        : redact(type, format)
    case 'constant':
      return constant(encodeConstant(type, format, strategy.value))
    case 'hash':
      return hashed(type, format, hasher)
    default:
      return strategy satisfies never
  }
}

function constant(bytes: Buffer | null): Replacement {
  return bytes === null ? nothing : { kind: 'constant', bytes }
}

function redact(type: TypeClass, format: Format): Replacement {
  switch (type) {
    case 'text':
    case 'text-array':
    case 'bytea':
      return constant(encodeConstant(type, format, redactedText))
    case 'json':
    case 'jsonb':
      return constant(encodeConstant(type, format, JSON.stringify(redactedText)))
    case 'char':
      return constant(encodeConstant(type, format, '*'))
    // A number, date or truth value would be taken for a real one.
    default:
      return nothing
  }
}

function hashed(type: TypeClass, format: Format, hasher: Hasher): Replacement {
  switch (type) {
    case 'text':
      return {
        kind: 'computed',
        maxBytes: hashTextBytes,
        write: (value, start, end, out, offset) => hasher.writeText(value, start, end, out, offset),
      }
    case 'json':
    case 'jsonb': {
      const version = type === 'jsonb' && format === 'binary' ? 1 : 0
      return {
        kind: 'computed',
        maxBytes: version + 2 + hashTextBytes,
        write: (value, start, end, out, offset) => {
          if (version === 1) out[offset++] = 1
          out[offset++] = quote
          offset = hasher.writeText(value, Math.min(start + version, end), end, out, offset)
          out[offset++] = quote
          return offset
        },
      }
    }
    case 'uuid':
      return { kind: 'computed', maxBytes: 36, write: uuidWriter(format, hasher) }
    default:
      return redact(type, format)
  }
}

/** A uuid of version 8 (RFC 9562 §5.8) made of the digest of the value's 16 bytes, so both formats give the same. */
function uuidWriter(format: Format, hasher: Hasher): ValueWriter {
  return (value, start, end, out, offset) => {
    const bytes =
      format === 'binary'
        ? value.subarray(start, end)
        : Buffer.from(value.toString('latin1', start, end).replaceAll('-', ''), 'hex')
    if (bytes.length !== 16) return -1
    const digest = Buffer.from(hasher.digest(bytes, 0, 16), 'latin1').subarray(0, 16)
    digest[6] = ((digest[6] ?? 0) & 0x0f) | 0x80
    digest[8] = ((digest[8] ?? 0) & 0x3f) | 0x80
    if (format === 'binary') return offset + digest.copy(out, offset)
    const hex = digest.toString('hex')
    const text = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
    return offset + out.write(text, offset, 'latin1')
  }
}
