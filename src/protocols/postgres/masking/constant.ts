import type { TypeClass } from './type-class.ts'

export type Format = 'text' | 'binary'

const textElementOid = 25
/** Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01. */
const epochDays = 10_957
const microsecondsPerDay = 86_400_000_000n

/** A constant as a value of a type in a format (PG 16 docs §55.7, src/backend/utils/adt), or null where it is not one. */
export function encodeConstant(type: TypeClass, format: Format, value: string): Buffer | null {
  switch (type) {
    case 'text':
      return value.includes('\0') ? null : Buffer.from(value)
    case 'char':
      return /^[ -~]$/.test(value) ? Buffer.from(value) : null
    case 'text-array':
      return value.includes('\0') ? null : format === 'text' ? textArray(value) : binaryTextArray(value)
    case 'json':
      return Buffer.from(asJson(value))
    case 'jsonb':
      return Buffer.from((format === 'text' ? '' : '\x01') + asJson(value))
    case 'bytea':
      return format === 'text' ? Buffer.from(`\\x${Buffer.from(value).toString('hex')}`) : Buffer.from(value)
    case 'uuid':
      return uuid(format, value)
    case 'bool':
      return bool(format, value)
    case 'int2':
      return integer(format, value, 2, true)
    case 'int4':
      return integer(format, value, 4, true)
    case 'int8':
      return integer(format, value, 8, true)
    case 'oid':
      return integer(format, value, 4, false)
    case 'float4':
    case 'float8':
      return float(format, value, type === 'float4' ? 4 : 8)
    case 'numeric':
      return numeric(format, value)
    case 'date':
      return date(format, value)
    case 'timestamp':
    case 'timestamptz':
      return timestamp(format, value, type === 'timestamptz')
    case 'opaque':
      return null
    default:
      return type satisfies never
  }
}

/** The constant itself where it is JSON, else as a JSON string. */
function asJson(value: string): string {
  try {
    JSON.parse(value)
    return value
  } catch {
    return JSON.stringify(value)
  }
}

function textArray(value: string): Buffer {
  return Buffer.from(`{"${value.replace(/["\\]/g, '\\$&')}"}`)
}

/** One dimension, no NULLs, one element (array_send). */
function binaryTextArray(value: string): Buffer {
  const element = Buffer.from(value)
  const head = Buffer.alloc(24)
  for (const [index, word] of [1, 0, textElementOid, 1, 1, element.length].entries()) head.writeInt32BE(word, 4 * index)
  return Buffer.concat([head, element])
}

function uuid(format: Format, value: string): Buffer | null {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) return null
  return format === 'text' ? Buffer.from(value.toLowerCase()) : Buffer.from(value.replaceAll('-', ''), 'hex')
}

function bool(format: Format, value: string): Buffer | null {
  if (!/^(?:t|f|true|false)$/i.test(value)) return null
  const yes = /^t/i.test(value)
  return format === 'text' ? Buffer.from(yes ? 't' : 'f') : Buffer.from([yes ? 1 : 0])
}

function integer(format: Format, value: string, bytes: 2 | 4 | 8, signed: boolean): Buffer | null {
  if (!/^-?\d{1,19}$/.test(value)) return null
  const number = BigInt(value)
  const bits = bytes * 8
  if ((signed ? BigInt.asIntN(bits, number) : BigInt.asUintN(bits, number)) !== number) return null
  if (format === 'text') return Buffer.from(number.toString())
  const whole = Buffer.alloc(8)
  whole.writeBigInt64BE(number)
  return whole.subarray(8 - bytes)
}

function float(format: Format, value: string, bytes: 4 | 8): Buffer | null {
  if (!/^(?:-?\d{1,30}(?:\.\d{1,30})?(?:e[+-]?\d{1,3})?|NaN|-?Infinity)$/i.test(value)) return null
  const number = bytes === 4 ? Math.fround(Number(value)) : Number(value)
  if (!Number.isFinite(number) && /\d/.test(value)) return null
  if (format === 'text') return Buffer.from(String(number).replace('e+', 'e'))
  const out = Buffer.alloc(bytes)
  if (bytes === 4) out.writeFloatBE(number)
  else out.writeDoubleBE(number)
  return out
}

/** Base 10,000 digits with a weight, a sign and a display scale (numeric_send). */
function numeric(format: Format, value: string): Buffer | null {
  const match = /^(-?)(\d{1,100})(?:\.(\d{1,100}))?$/.exec(value)
  if (match === null) return null
  if (format === 'text') return Buffer.from(value)
  const [, sign = '', whole = '', fraction = ''] = match
  const left = whole.padStart(Math.ceil(whole.length / 4) * 4, '0')
  const digits = (left + fraction.padEnd(Math.ceil(fraction.length / 4) * 4, '0')).match(/\d{4}/g)?.map(Number) ?? []
  let weight = left.length / 4 - 1
  while (digits[0] === 0) {
    digits.shift()
    weight--
  }
  while (digits.at(-1) === 0) digits.pop()
  const out = Buffer.alloc(8 + 2 * digits.length)
  out.writeInt16BE(digits.length, 0)
  out.writeInt16BE(digits.length === 0 ? 0 : weight, 2)
  out.writeUInt16BE(sign === '-' && digits.length > 0 ? 0x4000 : 0, 4)
  out.writeUInt16BE(fraction.length, 6)
  for (const [index, digit] of digits.entries()) out.writeInt16BE(digit, 8 + 2 * index)
  return out
}

/** Days since 1970-01-01 of a date that exists. */
function daysOf(text: string): number | null {
  const milliseconds = Date.parse(`${text}T00:00:00Z`)
  if (Number.isNaN(milliseconds) || new Date(milliseconds).toISOString().slice(0, 10) !== text) return null
  return milliseconds / 86_400_000
}

function date(format: Format, value: string): Buffer | null {
  if (!/^\d{4}-\d\d-\d\d$/.test(value)) return null
  const days = daysOf(value)
  if (days === null) return null
  if (format === 'text') return Buffer.from(value)
  const out = Buffer.alloc(4)
  out.writeInt32BE(days - epochDays)
  return out
}

function timestamp(format: Format, value: string, withZone: boolean): Buffer | null {
  const match = /^(\d{4}-\d\d-\d\d)(?:[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?)?(?:Z|\+00)?$/.exec(value)
  if (match === null) return null
  const [, day = '', hours = '00', minutes = '00', seconds = '00', fraction = ''] = match
  const days = daysOf(day)
  if (days === null) return null
  if (format === 'text') {
    const shown = `${day} ${hours}:${minutes}:${seconds}${fraction === '' ? '' : `.${fraction}`}`
    return Buffer.from(withZone ? `${shown}+00` : shown)
  }
  const out = Buffer.alloc(8)
  const ofDay = BigInt((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000_000n
  out.writeBigInt64BE(BigInt(days - epochDays) * microsecondsPerDay + ofDay + BigInt(fraction.padEnd(6, '0')))
  return out
}
