/** How a masked value is shown. The same as policy's `MaskStrategy`, which is a layer above and says what a rule may ask for. */
export type Strategy =
  | { readonly kind: 'redact' }
  | { readonly kind: 'partial' }
  | { readonly kind: 'hash' }
  | { readonly kind: 'null' }
  | { readonly kind: 'constant'; readonly value: string }

/** What stands for a value that is hidden whole. Needs no quoting in SQL, CSV, JSON, array and row literals. */
export const redactedText = '[masked]'

/** The most bytes that `partial` writes. */
export const maxPartialBytes = 32

const stars = 3
const star = 0x2a
const at = 0x40
const dot = 0x2e

/**
 * Writes as much of a text value as is safe to know: `a***@e***.com` for an address, the last four digits of a number
 * of ten digits or more (two from seven on), the first character of other text from eight bytes on, else only stars.
 * Never longer than maxPartialBytes, so a value's length does not show. Returns the offset behind what it wrote.
 */
export function writePartial(value: Buffer, start: number, end: number, out: Buffer, offset: number): number {
  const sign = findAddressSign(value, start, end)
  if (sign >= 0) return writeAddress(value, start, sign, end, out, offset)
  const digits = countDigits(value, start, end)
  if (digits >= 7) return writeLastDigits(value, end, digits >= 10 ? 4 : 2, out, offset)
  return writeStars(out, end - start >= 8 ? writeCharacter(value, start, end, out, offset) : offset)
}

function writeStars(out: Buffer, offset: number): number {
  for (let count = 0; count < stars; count++) out[offset++] = star
  return offset
}

/** Where the `@` of a value that is one e-mail address stands, else -1. */
function findAddressSign(value: Buffer, start: number, end: number): number {
  let sign = -1
  let hasDot = false
  for (let index = start; index < end; index++) {
    const byte = value[index] ?? 0
    if (byte <= 0x20 || byte === 0x2c || byte === 0x3b || byte === 0x3c || byte === 0x3e) return -1
    if (byte === at) {
      if (sign >= 0) return -1
      sign = index
    } else if (byte === dot && sign >= 0) hasDot = true
  }
  return hasDot && sign > start ? sign : -1
}

function writeAddress(value: Buffer, start: number, sign: number, end: number, out: Buffer, offset: number): number {
  // A name or host of one or two characters would be shown whole, or nearly.
  if (sign - start >= 3) offset = writeCharacter(value, start, sign, out, offset)
  offset = writeStars(out, offset)
  out[offset++] = at
  let lastDot = end - 1
  while (value[lastDot] !== dot) lastDot--
  if (lastDot - sign - 1 >= 3) offset = writeCharacter(value, sign + 1, lastDot, out, offset)
  offset = writeStars(out, offset)
  // Longer endings are often a company's own.
  if (end - lastDot - 1 > 6) return offset
  for (let index = lastDot + 1; index < end; index++) if (!isLetter(value[index] ?? 0)) return offset
  for (let index = lastDot; index < end; index++) out[offset++] = value[index] ?? 0
  return offset
}

function isLetter(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
}

/** One character as UTF-8 has it, or none where the bytes are not printable ASCII or whole UTF-8. */
function writeCharacter(value: Buffer, start: number, end: number, out: Buffer, offset: number): number {
  const lead = value[start] ?? 0
  if (lead < 0x80) {
    // What would need an escape in COPY, CSV, JSON or an array literal is not worth showing.
    if (!isLetter(lead) && !isDigit(lead)) return offset
    out[offset] = lead
    return offset + 1
  }
  const length = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0
  if (length === 0 || start + length > end) return offset
  for (let index = 1; index < length; index++) if (((value[start + index] ?? 0) & 0xc0) !== 0x80) return offset
  for (let index = 0; index < length; index++) out[offset + index] = value[start + index] ?? 0
  return offset + length
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39
}

/** How many digits a value has that is a number as people write card and phone numbers, else 0. */
function countDigits(value: Buffer, start: number, end: number): number {
  let digits = 0
  if (end - start > 40) return 0
  for (let index = start; index < end; index++) {
    const byte = value[index] ?? 0
    if (isDigit(byte)) digits++
    // space ( ) + - . /
    else if (byte !== 0x20 && byte !== 0x28 && byte !== 0x29 && byte !== 0x2b && (byte < 0x2d || byte > 0x2f)) return 0
  }
  return digits
}

function writeLastDigits(value: Buffer, end: number, shown: number, out: Buffer, offset: number): number {
  offset = writeStars(out, offset)
  let missing = shown
  for (let index = end - 1; missing > 0; index--)
    if (isDigit(value[index] ?? 0)) out[offset + --missing] = value[index] ?? 0
  return offset + shown
}
