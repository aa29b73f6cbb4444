import { isAscii, isUtf8 } from 'node:buffer'

/**
 * Encodings in which no byte of a longer character can be read as a backslash, a quote or anything else of ASCII
 * (PG 18 docs §23.3; the others are SJIS, BIG5, GBK, UHC, GB18030, JOHAB, SHIFT_JIS_2004), by the names that the server
 * reports and clients write, without hyphens and underscores.
 */
const safe: ReadonlyMap<string, string | null> = new Map([
  ['utf8', 'utf-8'],
  ['unicode', 'utf-8'],
  ['sqlascii', 'utf-8'],
  ['latin1', null],
  ['iso88591', null],
  ['latin2', 'iso-8859-2'],
  ['iso88592', 'iso-8859-2'],
  ['latin3', 'iso-8859-3'],
  ['latin4', 'iso-8859-4'],
  ['latin5', null],
  ['latin6', 'iso-8859-10'],
  ['latin7', 'iso-8859-13'],
  ['latin8', 'iso-8859-14'],
  ['latin9', 'iso-8859-15'],
  ['latin10', 'iso-8859-16'],
  ['iso88595', 'iso-8859-5'],
  ['iso88596', 'iso-8859-6'],
  ['iso88597', 'iso-8859-7'],
  ['iso88598', 'iso-8859-8'],
  ['win866', 'ibm866'],
  ['win874', 'windows-874'],
  ['win1250', 'windows-1250'],
  ['win1251', 'windows-1251'],
  ['win1252', 'windows-1252'],
  ['win1253', 'windows-1253'],
  ['win1254', 'windows-1254'],
  ['win1255', 'windows-1255'],
  ['win1256', 'windows-1256'],
  ['win1257', 'windows-1257'],
  ['win1258', 'windows-1258'],
  ['koi8', 'koi8-r'],
  ['koi8r', 'koi8-r'],
  ['koi8u', 'koi8-u'],
  ['eucjp', 'euc-jp'],
  ['euckr', 'euc-kr'],
  ['euccn', null],
  ['euctw', null],
  ['eucjis2004', null],
])

const plain = (name: string) => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')

export function isSafeEncoding(name: string): boolean {
  return safe.has(plain(name))
}

/**
 * The text as the server will read it; undefined where that is not certain: bytes that are not of the encoding, or not
 * ASCII in an encoding that this runtime cannot read. ASCII is the same in all encodings.
 */
export function decodeText(bytes: Buffer, start: number, end: number, encoding: string): string | undefined {
  const view = bytes.subarray(start, end)
  if (isAscii(view)) return bytes.toString('latin1', start, end)
  const name = plain(encoding)
  const label = safe.get(name)
  if (label === undefined) return undefined
  if (label === 'utf-8') return isUtf8(view) ? bytes.toString('utf8', start, end) : undefined
  if (name === 'latin1' || name === 'iso88591') return bytes.toString('latin1', start, end)
  if (label === null) return undefined
  // The web's tables differ from PostgreSQL's in the C1 range of ISO encodings.
  if (label.startsWith('iso-') && view.some(byte => byte >= 0x80 && byte < 0xa0)) return undefined
  try {
    return new TextDecoder(label, { fatal: true, ignoreBOM: true }).decode(view)
  } catch {
    return undefined
  }
}

/** The other way, for a text that an approver wrote; undefined where the encoding cannot hold it. */
export function encodeText(text: string, encoding: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.includes(0)) return undefined
  return isAscii(bytes) || safe.get(plain(encoding)) === 'utf-8' ? bytes : undefined
}
