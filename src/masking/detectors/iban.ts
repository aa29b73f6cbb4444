import { classOf, type Window, word } from './window.ts'

/** Lengths by country (SWIFT IBAN Registry, release 99, 2024). */
const lengths =
  'AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22' +
  'GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20' +
  'MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26' +
  'UA29VA22VG24XK20YE30'

const byCountry = new Uint8Array(26 * 26)
for (let index = 0; index < lengths.length; index += 4)
  byCountry[(lengths.charCodeAt(index) - 0x41) * 26 + lengths.charCodeAt(index + 1) - 0x41] = Number(
    lengths.slice(index + 2, index + 4),
  )

const maxGroup = 4

/** Where an account number (ISO 13616) that begins at `start` ends, else -1: of its country's length, its check right. */
export function matchIban(window: Window, start: number): number {
  const length = lengthFor(window.at(start), window.peek(start + 1, start))
  if (length === 0) return -1
  let end = start
  let remainder = 0
  // The first four characters count last (ISO 7064, MOD 97-10).
  let head = ''
  for (let count = 0; count < length; count++) {
    let byte = window.peek(end, start)
    if (byte === 0x20 && count % maxGroup === 0 && count > 0) byte = window.peek(++end, start)
    if (byte < 0 || ((classOf[byte] ?? 0) & word) === 0) return -1
    if ((count === 2 || count === 3) && byte > 0x39) return -1
    if (count < 4) head += String.fromCharCode(byte)
    else remainder = append(remainder, byte)
    end++
  }
  for (let index = 0; index < 4; index++) remainder = append(remainder, head.charCodeAt(index))
  return remainder === 1 && !window.peekIs(end, word, start) ? end : -1
}

function append(remainder: number, byte: number): number {
  if (byte <= 0x39) return (remainder * 10 + byte - 0x30) % 97
  return (remainder * 100 + (byte & 0xdf) - 0x41 + 10) % 97
}

function lengthFor(first: number, second: number): number {
  const left = (first & 0xdf) - 0x41
  const right = (second & 0xdf) - 0x41
  return left < 0 || left > 25 || right < 0 || right > 25 ? 0 : (byCountry[left * 26 + right] ?? 0)
}
