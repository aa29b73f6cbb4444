import type { Refusal, Resolution } from './analysed.ts'
import type { Parser } from './parser.ts'

// A byte of a character may be a backslash, quote or letter in these (src/backend/utils/mb: "client only" encodings).
const unsafeEncodings: ReadonlySet<string> = new Set([
  'SJIS',
  'BIG5',
  'GBK',
  'UHC',
  'GB18030',
  'JOHAB',
  'SHIFT_JIS_2004',
])

/** Why this text must not be passed on, whatever it says: it could be read in another way by the server. */
export function unreadable(parser: Parser, text: string, resolution: Resolution, maxBytes: number): Refusal | null {
  if (text.length > maxBytes || Buffer.byteLength(text) > maxBytes)
    return { sqlstate: '54000', message: `the statement is longer than ${maxBytes} bytes`, hint: undefined }
  if (text.includes('\0')) return { sqlstate: '22021', message: 'the statement has a zero byte', hint: undefined }
  const plain = isAscii(text)
  if (!plain && /\p{Surrogate}/u.test(text))
    return { sqlstate: '22021', message: 'the statement is not valid text', hint: undefined }
  if (!resolution.standardConformingStrings && text.includes('\\'))
    return {
      sqlstate: '0A000',
      message: 'a statement with a backslash cannot be read while standard_conforming_strings is off',
      hint: 'SET standard_conforming_strings = on',
    }
  const encoding = resolution.clientEncoding.toUpperCase()
  if (!plain && encoding !== 'UTF8') {
    if (unsafeEncodings.has(encoding))
      return {
        sqlstate: '0A000',
        message: `a statement in ${encoding} cannot be read`,
        hint: "SET client_encoding = 'UTF8'",
      }
    // outside literals the server may fold or cut such letters by rules of its encoding
    if (hasForeignName(parser, text))
      return {
        sqlstate: '0A000',
        message: `a name with letters outside ASCII cannot be read in ${encoding}`,
        hint: "SET client_encoding = 'UTF8'",
      }
  }
  return null
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) return false
  return true
}

function hasForeignName(parser: Parser, text: string): boolean {
  const bytes = Buffer.from(text)
  const tokens = parser.scan(text)
  if (!tokens) return true
  return tokens.some(
    token =>
      token.tokenName !== 'SCONST' &&
      token.tokenName !== 'USCONST' &&
      token.tokenName !== 'SQL_COMMENT' &&
      token.tokenName !== 'C_COMMENT' &&
      bytes.subarray(token.start, token.end).some(byte => byte > 127),
  )
}
