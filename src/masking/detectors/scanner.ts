import { AgentgateError } from '../../errors.ts'
import { keyBeginnings, matchApiKey } from './api-key.ts'
import { matchCard } from './card-number.ts'
import { isLocal, matchEmail, maxLocalBytes } from './email.ts'
import { isAwsSecret, isSecretToken, maxTokenBytes, minTokenBytes } from './high-entropy.ts'
import { matchIban } from './iban.ts'
import { matchJwt } from './jwt.ts'
import { matchNationalNumber, matchNationalWord } from './national-id.ts'
import { isSeparator, NumberChain, standsAlone } from './number-chain.ts'
import { matchInternational, matchNational } from './phone.ts'
import { matchPrivateKey } from './private-key.ts'
import { classOf, digit, joint, opening, sign, Window, word } from './window.ts'

/** What can be looked for: the names that `detect` takes in a policy. */
export const detectorNames = [
  'email',
  'phone',
  'card-number',
  'iban',
  'national-id',
  'api-key',
  'private-key',
  'jwt',
  'high-entropy',
] as const

export type DetectorName = (typeof detectorNames)[number]

export interface Finding {
  readonly start: number
  readonly end: number
  readonly detector: DetectorName
}

export interface PieceFindings {
  readonly findings: readonly Finding[]
  readonly decided: number
  readonly inside: boolean
}

/** The bytes before a piece that its findings may depend on: words that say what follows. */
export const lookBehindBytes = 64

const none: readonly Finding[] = []
const dash = 0x2d
const underscore = 0x5f
const plus = 0x2b

export function isDetectorName(name: string): name is DetectorName {
  return (detectorNames as readonly string[]).includes(name)
}

/** @throws AgentgateError POLICY_INVALID for a name that is none of detectorNames */
export function createScanner(detectors: readonly string[]): Scanner {
  const unknown = detectors.find(name => !isDetectorName(name))
  if (unknown !== undefined)
    throw new AgentgateError('POLICY_INVALID', `unknown detector "${unknown}"`, {
      hint: `there are ${detectorNames.join(', ')}`,
    })
  return new Scanner(new Set(detectors.filter(isDetectorName)))
}

/**
 * Finds personal data and secrets in text: one walk over the bytes by their classes, which stops at what could be the
 * beginning of something, and exact matchers that look at a bounded number of bytes from there. Linear in every case.
 * Keeps nothing between calls.
 */
export class Scanner {
  readonly #email: boolean
  readonly #phone: boolean
  readonly #card: boolean
  readonly #iban: boolean
  readonly #national: boolean
  readonly #apiKey: boolean
  readonly #privateKey: boolean
  readonly #jwt: boolean
  readonly #entropy: boolean
  readonly #numbers: boolean
  /** By a hash of the first three bytes of a run: whether a key's or token's prefix may begin so. */
  readonly #beginnings = new Uint8Array(1 << 13)
  readonly #window = new Window()
  readonly #chain = new NumberChain()
  #found: Finding[] | null = null

  constructor(detectors: ReadonlySet<DetectorName>) {
    this.#email = detectors.has('email')
    this.#phone = detectors.has('phone')
    this.#card = detectors.has('card-number')
    this.#iban = detectors.has('iban')
    this.#national = detectors.has('national-id')
    this.#apiKey = detectors.has('api-key')
    this.#privateKey = detectors.has('private-key')
    this.#jwt = detectors.has('jwt')
    this.#entropy = detectors.has('high-entropy')
    this.#numbers = this.#phone || this.#card || this.#national
    const beginnings = [...(this.#apiKey ? keyBeginnings : []), ...(this.#jwt ? ['eyJ'] : [])]
    for (const text of beginnings)
      this.#beginnings[hashOf(text.charCodeAt(0), text.charCodeAt(1), text.charCodeAt(2))] = 1
  }

  /** What is found between `start` and `end`, in order, none overlapping another. */
  find(bytes: Buffer, start = 0, end = bytes.length): readonly Finding[] {
    return this.#scan(bytes, start, start, end, false)
  }

  /**
   * The same for a piece of a longer text. Before `start` there may be up to lookBehindBytes that have been looked at;
   * `inside`: `start` lies within a run too long to hold anything. Findings end at or before `decided`; what lies behind
   * is to be given again, with what follows it.
   */
  findInPiece(bytes: Buffer, start: number, inside: boolean): PieceFindings {
    const found = this.#scan(bytes, Math.max(0, start - lookBehindBytes), start, bytes.length, inside)
    if (this.#email) this.#endInLocal(start, bytes.length)
    let decided = this.#window.undecided
    let count = found.length
    for (;;) {
      while (count > 0 && (found[count - 1]?.start ?? 0) >= decided) count--
      const last = found[count - 1]
      if (last !== undefined && last.end > decided) {
        decided = last.start
        continue
      }
      // What follows a finding begins anew; elsewhere a cut within a token would make another of its rest.
      const token = last?.end === decided ? decided : startOfToken(bytes, decided, start)
      const isTooLong = decided - token > maxTokenBytes || (token === start && inside && token < decided)
      if (token === decided || isTooLong) {
        const isInside = isTooLong || (decided === start && inside)
        return { findings: count === found.length ? found : found.slice(0, count), decided, inside: isInside }
      }
      decided = token
    }
  }

  /** What is found in the last piece, behind which nothing comes. */
  findInLast(bytes: Buffer, start: number, inside: boolean): readonly Finding[] {
    return this.#scan(bytes, Math.max(0, start - lookBehindBytes), start, bytes.length, inside)
  }

  #scan(bytes: Buffer, floor: number, start: number, end: number, inside: boolean): readonly Finding[] {
    const window = this.#window
    window.set(bytes, floor, start, end)
    this.#found = null
    const beginnings = this.#beginnings
    let at = start
    // The rest of a run that began before is no beginning of anything.
    const isRest = inside && window.is(start - 1, word)
    let inToken = inside
    let token = inside ? start - maxTokenBytes - 1 : start
    while (at < end) {
      const kind = classOf[bytes[at] ?? 0] ?? 0
      if ((kind & word) !== 0) {
        const run = at
        let kinds = kind
        at++
        for (let next: number; at < end && ((next = classOf[bytes[at] ?? 0] ?? 0) & word) !== 0; at++) kinds |= next
        if (isRest && run === start) continue
        if (!inToken) {
          inToken = true
          token = run
        }
        let found = -1
        if (at - run > 1 && beginnings[hashOf(bytes[run] ?? 0, bytes[run + 1] ?? 0, bytes[run + 2] ?? 0)] === 1)
          found = this.#secretAt(run)
        if (found < 0 && (kinds & digit) !== 0) found = this.#numberAt(run, at, kinds)
        if (found >= 0) {
          at = found
          inToken = false
        }
        continue
      }
      if ((kind & joint) !== 0) {
        if (!inToken) {
          inToken = true
          token = at
        }
        const found = this.#jointAt(at)
        if (found >= 0) {
          at = found
          inToken = false
        } else at++
        continue
      }
      if ((kind & sign) !== 0 && this.#email) {
        const found = this.#signAt(at)
        if (found >= 0) {
          at = found
          inToken = false
          continue
        }
      }
      if (inToken) {
        inToken = false
        if (at - token >= minTokenBytes) {
          const next = this.#token(token, at)
          if (next > at) {
            at = next
            continue
          }
        }
      }
      if (kind === opening && this.#phone) {
        const found = this.#bracketAt(at)
        if (found >= 0) {
          at = found
          continue
        }
      }
      at++
    }
    if (inToken) this.#endInToken(token, end)
    return this.#result
  }

  get #result(): readonly Finding[] {
    return this.#found ?? none
  }

  /** The token may go on behind the end; as far as it is known, it ends there. */
  #endInToken(token: number, end: number): void {
    if (end - token > maxTokenBytes) return
    this.#window.peek(end, token)
    if (end - token >= minTokenBytes) this.#token(token, end)
  }

  /** A sign behind the end would make an address of what stands before it. */
  #endInLocal(start: number, end: number): void {
    const { bytes } = this.#window
    let first = end
    while (first > start && end - first < maxLocalBytes && isLocal(bytes[first - 1] ?? 0)) first--
    if (first < end) this.#window.peek(end, first)
  }

  #add(detector: DetectorName, start: number, end: number): number {
    ;(this.#found ??= []).push({ start, end, detector })
    return end
  }

  #secretAt(run: number): number {
    if (this.#jwt && this.#window.at(run) === 0x65) {
      const end = matchJwt(this.#window, run)
      if (end >= 0) return this.#add('jwt', run, end)
    }
    if (!this.#apiKey) return -1
    const end = matchApiKey(this.#window, run)
    return end < 0 ? -1 : this.#add('api-key', run, end)
  }

  /** At a run of letters and digits with at least one digit. */
  #numberAt(run: number, end: number, kinds: number): number {
    const window = this.#window
    if (!window.is(run, digit)) {
      if (end - run < 4 || !window.is(run + 2, digit) || !window.is(run + 3, digit)) return this.#wordAt(run, end)
      if (this.#iban) {
        const found = matchIban(window, run)
        if (found >= 0) return this.#add('iban', run, found)
      }
      return this.#wordAt(run, end)
    }
    if (kinds !== digit) return this.#wordAt(run, end)
    if (!this.#numbers || !standsAlone(window, run)) return -1
    // Most numbers are short and alone: passed over at once.
    if (end - run < 7 && end < window.end && !isSeparator(window.at(end))) return -1
    const chain = this.#chain
    chain.read(window, run)
    if (chain.digits < 7 || (this.#email && window.peek(chain.end(0), run) === 0x40)) return -1
    if (this.#card) {
      const found = matchCard(window, chain)
      if (found >= 0) return this.#add('card-number', run, found)
    }
    if (this.#national) {
      const found = matchNationalNumber(window, chain)
      if (found >= 0) return this.#add('national-id', run, found)
    }
    if (this.#phone) {
      const found = matchNational(window, chain, run)
      if (found >= 0) return this.#add('phone', run, found)
    }
    return -1
  }

  #wordAt(run: number, end: number): number {
    const window = this.#window
    const length = end - run
    if (!this.#national || (length !== 9 && length !== 16 && length !== 18)) return -1
    // Part of a longer name: `SKU-AB123456C`
    if ((window.is(run - 1, joint) && window.is(run - 2, word)) || window.peekIs(end, joint, run)) return -1
    const found = matchNationalWord(window, run, end)
    return found < 0 ? -1 : this.#add('national-id', run, found)
  }

  #jointAt(at: number): number {
    const byte = this.#window.at(at)
    if (byte === dash) {
      if (!this.#privateKey || this.#window.peek(at + 1, at) !== dash) return -1
      const end = matchPrivateKey(this.#window, at)
      return end < 0 ? -1 : this.#add('private-key', at, end)
    }
    if (byte !== plus || !this.#phone) return -1
    const end = matchInternational(this.#window, at)
    return end < 0 ? -1 : this.#add('phone', at, end)
  }

  #bracketAt(at: number): number {
    const window = this.#window
    if (!window.peekIs(at + 1, digit, at) || window.is(at - 1, word)) return -1
    const chain = this.#chain
    chain.read(window, at + 1)
    // What the chain could not tell it could not tell from the bracket on.
    if (window.undecided === at + 1) window.peek(window.end, at)
    if (chain.digits < 7) return -1
    const end = matchNational(window, chain, at)
    return end < 0 ? -1 : this.#add('phone', at, end)
  }

  #signAt(at: number): number {
    const window = this.#window
    let behind = at + 1
    if (window.at(at) === 0x25) {
      // `%40`
      if (window.peek(at + 1, at) !== 0x34 || window.peek(at + 2, at) !== 0x30) return -1
      behind = at + 3
    }
    const last = this.#found?.at(-1)
    const found = matchEmail(window, at, behind, Math.max(window.start, last?.end ?? 0))
    if (found === null) return -1
    // A `%40` in the name: what was found before it lies within.
    return this.#add('email', found[0], found[1])
  }

  /** A token has ended at `end`; returns where to go on. */
  #token(token: number, end: number): number {
    const window = this.#window
    let start = token
    while (start < end && (window.at(start) === dash || window.at(start) === underscore)) start++
    if (this.#apiKey && isAwsSecret(window, start, end)) return this.#add('api-key', start, end)
    if (!this.#entropy || !isSecretToken(window, start, end)) return end
    let last = end
    while (last - end < 2 && window.peek(last, start) === 0x3d) last++
    return this.#add('high-entropy', start, last)
  }
}

function hashOf(first: number, second: number, third: number): number {
  return ((first << 7) ^ (second << 3) ^ third) & 0x1fff
}

/** Where the token that goes on at `at` begins, no further back than it takes to know that it is too long. */
function startOfToken(bytes: Buffer, at: number, start: number): number {
  if (at < bytes.length && !isTokenByte(bytes[at] ?? 0)) return at
  let first = at
  while (first > start && at - first <= maxTokenBytes && isTokenByte(bytes[first - 1] ?? 0)) first--
  return first
}

function isTokenByte(byte: number): boolean {
  return ((classOf[byte] ?? 0) & (word | joint)) !== 0
}
