import type { NumberChain } from './number-chain.ts'
import { digit, type Window, word } from './window.ts'

/** Country codes that ITU-T E.164 assigns, by their digits (ITU Operational Bulletin 1114, 2016, and later changes). */
const countryCodes = new Set(
  (
    '1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 ' +
    '90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 ' +
    '238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 ' +
    '267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 380 ' +
    '381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 ' +
    '598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 ' +
    '855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 ' +
    '992 993 994 995 996 998'
  ).split(' '),
)

const maxBytes = 32
const names = /(?:phone|tel|mobile|cell|whatsapp|sms|fax|call|handy|rufnummer|movil|celular)$/i

/** Where an international number that begins with the `+` at `start` ends, else -1. */
export function matchInternational(window: Window, start: number): number {
  if (window.is(start - 1, word) || window.at(start - 1) === 0x2b) return -1
  let digits = ''
  let end = -1
  let at = start + 1
  while (at - start < maxBytes) {
    const byte = window.peek(at, start)
    if (byte >= 0x30 && byte <= 0x39) {
      digits += String.fromCharCode(byte)
      end = ++at
      if (digits.length > 15) return -1
      continue
    }
    // One separator, or one with a parenthesis beside it, and then a digit again.
    let next = at
    if (byte === 0x20 || byte === 0x2d || byte === 0x2e || byte === 0x2f) next++
    const bracket = window.peek(next, start)
    if (bracket === 0x28 || bracket === 0x29) next++
    if (bracket === 0x29 && (window.peek(next, start) === 0x20 || window.peek(next, start) === 0x2d)) next++
    if (next === at || !window.peekIs(next, digit, start)) break
    at = next
  }
  if (end < 0 || window.peekIs(end, word, start)) return -1
  return isInternational(digits) ? end : -1
}

function isInternational(digits: string): boolean {
  // North America: area and exchange begin with 2 to 9.
  if (digits.startsWith('1')) return /^1[2-9]\d\d[2-9]\d{6}$/.test(digits)
  if (digits.length < 8) return false
  return [1, 2, 3].some(length => countryCodes.has(digits.slice(0, length)))
}

/** Where a national number that begins with this chain ends, else -1. `start` is the chain's, or a `(` before it. */
export function matchNational(window: Window, chain: NumberChain, start: number): number {
  const last = chain.groups - 1
  const end = chain.end(last)
  if (chain.goesOn || window.peek(end, start) === 0x29) return -1
  const inBrackets = start < chain.start(0)
  // 555-123-4567, 555.123.4567, (555) 123-4567, 1-555-123-4567
  const local = chain.length(0) === 1 && chain.digits === 11 && window.digit(chain.start(0)) === 1 ? 1 : 0
  if (chain.groups === 3 + local && chain.digits === 10 + local) {
    const [area, exchange, line] = [local, local + 1, local + 2]
    const separator = chain.separators[line]
    if (
      chain.length(area) === 3 &&
      chain.length(exchange) === 3 &&
      chain.length(line) === 4 &&
      (separator === 0x2d || separator === 0x2e) &&
      (chain.separators[exchange] === separator || inBrackets || chain.separators[exchange] === 0x29) &&
      window.digit(chain.start(area)) >= 2 &&
      window.digit(chain.start(exchange)) >= 2
    )
      return end
  }
  if (isTrunk(window, chain)) return end
  if (chain.digits < 7 || chain.digits > 15) return -1
  return window.isNamed(start, 'elpsxyr', names) ? end : -1
}

/** `020 7946 0958`, `07700 900123`, `01 23 45 67 89`: a trunk 0 and groups as Europeans write them. */
function isTrunk(window: Window, chain: NumberChain): boolean {
  if (chain.groups < 2 || window.digit(chain.start(0)) !== 0 || window.digit(chain.start(0) + 1) === 0) return false
  const separator = chain.separators[1] ?? 0
  if (chain.is([2, 2, 2, 2, 2], separator)) return chain.groups === 5 && chain.digits === 10 && separator !== 0x2f
  if (separator !== 0x20 || chain.groups > 4 || chain.length(0) < 3 || chain.length(0) > 5) return false
  for (let group = 2; group < chain.groups; group++) if (chain.separators[group] !== separator) return false
  return chain.digits === 10 || chain.digits === 11
}
