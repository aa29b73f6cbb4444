import type { BoundParameter } from './analysed.ts'

const maxShownCharacters = 2000
// PG 16 docs §8 and src/include/catalog/pg_type.dat: types whose binary form is a big-endian number or the text itself.
const textTypes: ReadonlySet<number> = new Set([18, 19, 25, 114, 142, 705, 1042, 1043])

/** A bound value as a person reads it; a binary one of a type without a known form as `\x` and hexadecimal digits. */
export function showParameter({ value, format, typeOid }: BoundParameter): string | null {
  if (value === null) return null
  return cut(
    format === 'text' || textTypes.has(typeOid)
      ? value.toString('utf8')
      : (numberOf(value, typeOid) ?? `\\x${value.toString('hex')}`),
  )
}

function numberOf(value: Buffer, typeOid: number): string | undefined {
  switch (typeOid) {
    case 16: // bool
      return value.length === 1 ? (value.readUInt8(0) === 0 ? 'false' : 'true') : undefined
    case 21: // int2
      return value.length === 2 ? String(value.readInt16BE(0)) : undefined
    case 23: // int4
      return value.length === 4 ? String(value.readInt32BE(0)) : undefined
    case 26: // oid
      return value.length === 4 ? String(value.readUInt32BE(0)) : undefined
    case 20: // int8
      return value.length === 8 ? String(value.readBigInt64BE(0)) : undefined
    case 700: // float4
      return value.length === 4 ? String(value.readFloatBE(0)) : undefined
    case 701: // float8
      return value.length === 8 ? String(value.readDoubleBE(0)) : undefined
    case 2950: // uuid
      return value.length === 16
        ? value.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
        : undefined
    default:
      return undefined
  }
}

function cut(text: string): string {
  return text.length <= maxShownCharacters ? text : `${text.slice(0, maxShownCharacters)}… (${text.length} characters)`
}
