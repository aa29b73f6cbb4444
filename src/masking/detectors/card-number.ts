import { type NumberChain, passesLuhn } from './number-chain.ts'
import type { Window } from './window.ts'

/** First digits and lengths that the card schemes give out (their public BIN tables, 2025): from, to, shortest, longest. */
const issuers: readonly (readonly [number, number, number, number])[] = [
  [2200_00, 2204_99, 16, 19], // Mir
  [2221_00, 2720_99, 16, 16], // Mastercard
  [3000_00, 3059_99, 14, 14], // Diners Club
  [3095_00, 3095_99, 14, 14],
  [3400_00, 3499_99, 15, 15], // American Express
  [3528_00, 3589_99, 16, 19], // JCB
  [3600_00, 3699_99, 14, 14], // Diners Club
  [3700_00, 3799_99, 15, 15], // American Express
  [3800_00, 3999_99, 14, 14], // Diners Club
  [4000_00, 4999_99, 13, 13], // Visa
  [4000_00, 4999_99, 16, 16],
  [4000_00, 4999_99, 19, 19],
  [5018_00, 5018_99, 13, 19], // Maestro
  [5020_00, 5020_99, 13, 19],
  [5038_00, 5038_99, 13, 19],
  [5080_00, 5089_99, 16, 16], // RuPay
  [5100_00, 5599_99, 16, 16], // Mastercard
  [5610_00, 5610_99, 16, 16],
  [5893_00, 5893_99, 13, 19], // Maestro
  [6011_00, 6011_99, 16, 19], // Discover
  [6200_00, 6299_99, 16, 19], // UnionPay
  [6304_00, 6304_99, 13, 19], // Maestro
  [6390_00, 6390_99, 13, 19],
  [6440_00, 6599_99, 16, 19], // Discover
  [6759_00, 6763_99, 13, 19], // Maestro
  [8100_00, 8171_99, 16, 19], // UnionPay
  [9792_00, 9792_99, 16, 16], // Troy
]

function isIssued(digits: string): boolean {
  const prefix = Number(digits.slice(0, 6))
  return issuers.some(
    ([from, to, shortest, longest]) =>
      prefix >= from && prefix <= to && digits.length >= shortest && digits.length <= longest,
  )
}

/** Where a card number (ISO/IEC 7812) that begins with this chain ends, else -1. */
export function matchCard(window: Window, chain: NumberChain): number {
  const first = chain.length(0)
  if (first >= 13) {
    // One group; with a decimal point behind it is an amount.
    if (first > 19 || (chain.groups > 1 && chain.separators[1] === 0x2e) || (chain.goesOn && chain.groups === 1))
      return -1
    const digits = chain.text(window, 1)
    return isIssued(digits) && passesLuhn(digits) ? chain.end(0) : -1
  }
  if (first !== 4 || chain.groups < 3) return -1
  const separator = chain.separators[1]
  if (separator !== 0x20 && separator !== 0x2d) return -1
  let digits = 4
  for (let group = 1; group < Math.min(chain.groups, 5); group++) {
    if (chain.separators[group] !== separator) return -1
    digits += chain.length(group)
    const isLast = group === chain.groups - 1
    // 4-4-4-4, 4-4-4-4-3, 4-6-5, 4-6-4
    if (digits < 14 || digits > 19 || (isLast && chain.goesOn)) continue
    const text = chain.text(window, group + 1)
    if (isIssued(text) && passesLuhn(text)) return chain.end(group)
  }
  return -1
}
