import { classOf, type Window, word } from './window.ts'

/** An RSA key of 16,384 bits takes 12.5 KB; what follows a longer one is no longer taken for part of it. */
export const maxKeyBytes = 16_384
const begin = '-----BEGIN '
const end = '-----END '
const rule = '-----'
const maxLabelBytes = 48
/** Less than this between header and end is talk about keys, not a key. */
const minBodyBytes = 32

/** Where a private key in PEM (RFC 7468) that begins at `start`, with its first dash, ends, else -1. */
export function matchPrivateKey(window: Window, start: number): number {
  if (!isNext(window, start, begin, start)) return -1
  let at = start + begin.length
  const label = at
  while (at - label < maxLabelBytes && isLabel(window.peek(at, start))) at++
  if (!isNext(window, at, rule, start)) return -1
  if (!/PRIVATE KEY(?: BLOCK)?$/.test(window.text(label, at))) return -1
  at += rule.length
  const body = at
  while (at - start < maxKeyBytes) {
    const byte = window.peek(at, start)
    if (byte === 0x2d && isNext(window, at, rule, start)) break
    if (byte < 0 || !isBody(byte)) break
    at++
  }
  if (!isNext(window, at, end, start)) return at - body >= minBodyBytes ? at : -1
  at += end.length
  const closing = at
  while (at - closing < maxLabelBytes && isLabel(window.peek(at, start))) at++
  return isNext(window, at, rule, start) ? at + rule.length : at
}

function isNext(window: Window, at: number, text: string, start: number): boolean {
  for (let index = 0; index < text.length; index++)
    if (window.peek(at + index, start) !== text.charCodeAt(index)) return false
  return true
}

function isLabel(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x30 && byte <= 0x39)
}

/** base64, white space, the backslash of an escaped line end, and what headers such as `DEK-Info: AES-128-CBC,…` have. */
function isBody(byte: number): boolean {
  return (
    ((classOf[byte] ?? 0) & word) !== 0 ||
    [0x2b, 0x2f, 0x3d, 0x0a, 0x0d, 0x20, 0x09, 0x5c, 0x2d, 0x3a, 0x2c, 0x2e, 0x28, 0x29].includes(byte)
  )
}
