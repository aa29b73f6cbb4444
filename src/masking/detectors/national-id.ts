import { type NumberChain, passesLuhn } from './number-chain.ts'
import { type Window, word } from './window.ts'

const ssnNames = /(?:ssn|social[ _-]?security(?:[ _-]?n(?:umbe)?[ro])?)$/i
const bsnNames = /(?:bsn|burgerservicenummer|sofi)$/i
const dash = 0x2d
const space = 0x20
const dot = 0x2e

/** Where an identity number that begins with this chain of digits ends, else -1. */
export function matchNationalNumber(window: Window, chain: NumberChain): number {
  const ends = (groups: number) => chain.endsAfter(groups)
  // United States, SSN and ITIN: 078-05-1120
  if (chain.is([3, 2, 4], dash) && ends(3)) return isSsn(chain.text(window, 3)) ? chain.end(2) : -1
  // Brazil, CPF: 529.982.247-25
  if (
    chain.is([3, 3, 3], dot) &&
    chain.groups === 4 &&
    chain.separators[3] === dash &&
    chain.length(3) === 2 &&
    ends(4)
  )
    return isCpf(chain.text(window, 4)) ? chain.end(3) : -1
  // Switzerland, AHV: 756.9217.0769.85
  if (chain.is([3, 4, 4, 2], dot) && ends(4)) return isAhv(chain.text(window, 4)) ? chain.end(3) : -1
  // Canada, SIN: 046-454-286
  if (chain.is([3, 3, 3], dash) && ends(3)) {
    const text = chain.text(window, 3)
    return text[0] !== '0' && text[0] !== '8' && passesLuhn(text) ? chain.end(2) : -1
  }
  // India, Aadhaar: 2341 2341 2346
  if (chain.is([4, 4, 4], -1) && ends(3) && (chain.separators[1] === space || chain.separators[1] === dash)) {
    const text = chain.text(window, 3)
    return text.charCodeAt(0) >= 0x32 && passesVerhoeff(text) ? chain.end(2) : -1
  }
  // Sweden, personnummer: 811228-9874, 19811228-9874
  if ((chain.is([6, 4], dash) || chain.is([8, 4], dash)) && ends(2)) {
    const text = chain.text(window, 2).slice(-10)
    return isDate(text.slice(2, 4), text.slice(4, 6), 60) && passesLuhn(text) ? chain.end(1) : -1
  }
  // South Korea: 900101-1234567 (no check digit since 2020)
  if (chain.is([6, 7], dash) && ends(2)) {
    const text = chain.text(window, 2)
    return isDate(text.slice(2, 4), text.slice(4, 6), 0) && /^[1-8]/.test(text.slice(6)) ? chain.end(1) : -1
  }
  // France, NIR in its written form: 1 85 05 78 006 084 91
  if (chain.is([1, 2, 2, 2, 3, 3, 2], space) && ends(7)) return isNir(chain.text(window, 7)) ? chain.end(6) : -1
  // Spain, DNI: 12345678-Z
  if (chain.length(0) === 8 && chain.groups === 1 && window.peek(chain.end(0), chain.start(0)) === dash) {
    const end = chain.end(0) + 2
    return isDni(window.text(chain.start(0), chain.start(0) + 8), window.peek(end - 1, chain.start(0))) &&
      !window.peekIs(end, word, chain.start(0))
      ? end
      : -1
  }
  if (chain.goesOn && chain.groups === 1) return -1
  // A point or dash and more digits behind it: an amount, or part of something longer.
  if (chain.groups > 1 && chain.separators[1] !== space) return -1
  return isPlainNumber(window, chain.text(window, 1), chain.start(0)) ? chain.end(0) : -1
}

function isPlainNumber(window: Window, text: string, start: number): boolean {
  switch (text.length) {
    case 9:
      // Nothing about nine digits is rare enough without a word that names them.
      if (window.isNamed(start, 'nyro', ssnNames)) return isSsn(text)
      return window.isNamed(start, 'nri', bsnNames) && isBsn(text)
    case 11:
      if (isFodselsnummer(text)) return true
      if (window.isNamed(start, 'f', /cpf$/i)) return isCpf(text)
      return window.isNamed(start, 'l', /pesel$/i) && isPesel(text)
    case 13:
      return text.startsWith('756') && isAhv(text)
    case 15:
      return isNir(text)
    case 18:
      return isChinese(text)
    default:
      return false
  }
}

/** Where an identity number of letters and digits that is the whole run from `start` to `end` ends, else -1. */
export function matchNationalWord(window: Window, start: number, end: number): number {
  switch (end - start) {
    case 9: {
      const text = window.text(start, end)
      // Spain, DNI and NIE; United Kingdom, National Insurance number
      if (/^[XYZ\d]\d{7}[A-Z]$/.test(text))
        return isDni(text.slice(0, 8).replace('X', '0').replace('Y', '1').replace('Z', '2'), text.charCodeAt(8))
          ? end
          : -1
      return /^(?!BG|GB|KN|NK|NT|TN|ZZ)[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z]\d{6}[A-D]$/.test(text) ? end : -1
    }
    case 16:
      return isCodiceFiscale(window.text(start, end).toUpperCase()) ? end : -1
    case 18:
      return isChinese(window.text(start, end)) ? end : -1
    default:
      return -1
  }
}

function isSsn(text: string): boolean {
  const area = text.slice(0, 3)
  const group = Number(text.slice(3, 5))
  if (area === '000' || area === '666' || group === 0 || text.endsWith('0000')) return false
  // ITIN: 9xx with these groups (IRS, 2018)
  return area < '900' || (group >= 50 && group <= 65) || (group >= 70 && group <= 88) || (group >= 90 && group !== 93)
}

function weighted(text: string, weights: readonly number[]): number {
  return weights.reduce((sum, weight, index) => sum + weight * (text.charCodeAt(index) - 0x30), 0)
}

function isCpf(text: string): boolean {
  if (/^(\d)\1*$/.test(text)) return false
  const check = (weights: readonly number[]) => ((weighted(text, weights) * 10) % 11) % 10
  return (
    check([10, 9, 8, 7, 6, 5, 4, 3, 2]) === Number(text[9]) &&
    check([11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) === Number(text[10])
  )
}

/** EAN-13 */
function isAhv(text: string): boolean {
  return text.startsWith('756') && weighted(text, [1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]) % 10 === 0
}

function isNir(text: string): boolean {
  const month = Number(text.slice(3, 5))
  if (!/^[12]/.test(text) || month === 0 || (month > 12 && month < 20) || month > 42) return false
  return 97 - (Number(text.slice(0, 13)) % 97) === Number(text.slice(13))
}

function isDni(digits: string, letter: number): boolean {
  return /^\d{8}$/.test(digits) && 'TRWAGMYFPDXBNJZSQVHLCKE'.charCodeAt(Number(digits) % 23) === letter
}

function isBsn(text: string): boolean {
  return text !== '000000000' && weighted(text, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 === 0
}

function isPesel(text: string): boolean {
  return weighted(text, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]) % 10 === 0
}

/** Norway: a date and two check digits. */
function isFodselsnummer(text: string): boolean {
  if (!isDate(text.slice(2, 4), text.slice(0, 2), 40)) return false
  return (
    weighted(text, [3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11 === 0 &&
    weighted(text, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 === 0
  )
}

/** GB 11643-1999: region, date of birth, sequence, check. */
function isChinese(text: string): boolean {
  if (!/^[1-8]\d{5}(?:19|20)\d{9}[\dXx]$/.test(text) || !isDate(text.slice(10, 12), text.slice(12, 14), 0)) return false
  const sum = weighted(text, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
  return '10X98765432'[sum % 11] === text.slice(17).toUpperCase()
}

/** Italy; digits may be written as letters where two people would have the same code. */
function isCodiceFiscale(text: string): boolean {
  const number = '[\\dLMNP-V]'
  if (!new RegExp(`^[A-Z]{6}${number}{2}[ABCDEHLMPRST]${number}{2}[A-Z]${number}{3}[A-Z]$`).test(text)) return false
  const odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]
  let sum = 0
  for (let index = 0; index < 15; index++) {
    const code = text.charCodeAt(index)
    const value = code <= 0x39 ? code - 0x30 : code - 0x41
    sum += index % 2 === 0 ? (odd[value] ?? 0) : value
  }
  return text.charCodeAt(15) - 0x41 === sum % 26
}

/** Whether month and day could be; `shift` is what some numbers add to the day (Sweden) or month (Norway). */
function isDate(month: string, day: string, shift: number): boolean {
  const [m, d] = [Number(month), Number(day)]
  const inRange = (value: number, most: number) => value >= 1 && value <= most
  return (
    (inRange(m, 12) || (shift === 40 && inRange(m - 40, 12))) &&
    (inRange(d, 31) || (shift > 0 && inRange(d - shift, 31)))
  )
}

const verhoeffTimes = [
  '0123456789',
  '1234067895',
  '2340178956',
  '3401289567',
  '4012395678',
  '5987604321',
  '6598710432',
  '7659821043',
  '8765932104',
  '9876543210',
]
const verhoeffTurns = [
  '0123456789',
  '1576283094',
  '5803796142',
  '8916043527',
  '9453126870',
  '4286573901',
  '2793806415',
  '7046913258',
]

function passesVerhoeff(digits: string): boolean {
  let check = 0
  for (let index = 0; index < digits.length; index++) {
    const value = digits.charCodeAt(digits.length - 1 - index) - 0x30
    check = Number(verhoeffTimes[check]?.[Number(verhoeffTurns[index % 8]?.[value])])
  }
  return check === 0
}
