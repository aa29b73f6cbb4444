import { createScanner, type Scanner } from '../../../masking/detectors/scanner.ts'
import { findingText } from '../../../masking/finding-text.ts'
import type { Hasher } from '../../../masking/hasher.ts'
import { redactJson } from '../../../masking/json-redactor.ts'
import { replaceFindings, type Replace } from '../../../masking/redactor.ts'
import type { MaskStrategy } from '../../../policy/action.ts'
import type { Format } from './constant.ts'
import { firstUserOid, typeClassOf } from './type-class.ts'

/** What detectors make of one value: nothing found, nothing of it may stay, or the value with what was found replaced. */
export type Detected = 'clean' | 'null' | Buffer

/** Looks at the value from `start` to `end`. */
export type ValueDetector = (bytes: Buffer, start: number, end: number) => Detected

const recordOid = 2249

/** @param typeOid undefined where the server says no type: COPY */
export function valueDetector(
  detectors: readonly string[],
  strategy: MaskStrategy,
  typeOid: number | undefined,
  format: Format,
  options: { readonly hasher: Hasher; readonly textOids?: ReadonlySet<number> | undefined },
): ValueDetector {
  const scanner = createScanner(detectors)
  const replace: Replace = (finding, bytes) => findingText(strategy, finding, bytes, options.hasher)
  // In COPY every value is text; where there is no type, a value that only holds a finding becomes the marker.
  if (typeOid === undefined) return inText(scanner, replace)
  const type = typeClassOf(typeOid, options.textOids)
  switch (type) {
    case 'text':
      return strategy.kind === 'null' ? orNull(scanner, inText(scanner, replace)) : inText(scanner, replace)
    case 'json':
      return inJson(scanner, replace, 0)
    case 'jsonb':
      return inJson(scanner, replace, format === 'binary' ? 1 : 0)
    case 'bytea':
      return format === 'binary' ? allOrNothing(scanner) : inHex(scanner)
    case 'int8':
      return format === 'binary' ? inBinaryInteger(scanner) : allOrNothing(scanner)
    case 'numeric':
      return format === 'binary' ? inBinaryNumeric(scanner) : allOrNothing(scanner)
    case 'text-array':
      return format === 'binary' ? allOrNothing(scanner) : inLiteral(scanner, replace, strategy)
    case 'opaque':
      // Arrays of numbers and the like cannot hold a marker; what users made, in text, mostly can.
      return format === 'text' && (typeOid >= firstUserOid || typeOid === recordOid)
        ? inLiteral(scanner, replace, strategy)
        : allOrNothing(scanner)
    default:
      return () => 'clean'
  }
}

function inText(scanner: Scanner, replace: Replace): ValueDetector {
  return (bytes, start, end) => {
    const findings = scanner.find(bytes, start, end)
    return findings.length === 0 ? 'clean' : replaceFindings(bytes, start, end, findings, replace)
  }
}

/** A value that is nothing but a finding can become NULL; within a text there is no such thing. */
function orNull(scanner: Scanner, otherwise: ValueDetector): ValueDetector {
  return (bytes, start, end) => {
    const [first] = scanner.find(bytes, start, end)
    return first?.start === start && first.end === end ? 'null' : otherwise(bytes, start, end)
  }
}

function inJson(scanner: Scanner, replace: Replace, versionBytes: number): ValueDetector {
  return (bytes, start, end) => {
    const body = Math.min(start + versionBytes, end)
    const redacted = redactJson(scanner, replace, bytes, body, end)
    if (redacted === null) return 'clean'
    return versionBytes === 0 ? redacted : Buffer.concat([bytes.subarray(start, body), redacted])
  }
}

/** Text in the literals of arrays and rows, which a marker must not break. */
function inLiteral(scanner: Scanner, replace: Replace, strategy: MaskStrategy): ValueDetector {
  if (strategy.kind === 'constant' && !/^[\w.:;@*+[\]-]+$/.test(strategy.value)) return allOrNothing(scanner)
  return inText(scanner, replace)
}

function allOrNothing(scanner: Scanner): ValueDetector {
  return (bytes, start, end) => (scanner.find(bytes, start, end).length === 0 ? 'clean' : 'null')
}

/** `\x` and hexadecimal digits; the older escape format is text but for what is not printable. */
function inHex(scanner: Scanner): ValueDetector {
  return (bytes, start, end) => {
    if (bytes[start] !== 0x5c || bytes[start + 1] !== 0x78)
      return scanner.find(bytes, start, end).length === 0 ? 'clean' : 'null'
    return scanner.find(Buffer.from(bytes.toString('latin1', start + 2, end), 'hex')).length === 0 ? 'clean' : 'null'
  }
}

function inBinaryInteger(scanner: Scanner): ValueDetector {
  return (bytes, start, end) => {
    // Below 2^32 there are too few digits for anything that is looked for.
    if (end - start !== 8 || bytes.readInt32BE(start) <= 0) return 'clean'
    return scanner.find(Buffer.from(bytes.readBigInt64BE(start).toString())).length === 0 ? 'clean' : 'null'
  }
}

/** numeric_send: digits of base 10,000 behind count, weight, sign and scale. */
function inBinaryNumeric(scanner: Scanner): ValueDetector {
  return (bytes, start, end) => {
    const count = end - start < 8 ? 0 : bytes.readUInt16BE(start)
    const weight = count === 0 ? 0 : bytes.readInt16BE(start + 2)
    if (weight < 2 || weight > 5 || end - start < 8 + 2 * count) return 'clean'
    let whole = ''
    for (let index = 0; index <= weight; index++)
      whole += (index < count ? bytes.readUInt16BE(start + 8 + 2 * index) : 0).toString().padStart(4, '0')
    return scanner.find(Buffer.from(whole.replace(/^0+/, ''))).length === 0 ? 'clean' : 'null'
  }
}
