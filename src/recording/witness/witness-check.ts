import type { Manifest } from '../manifest.ts'
import { certificateHolds, certificateSchema, receiptHolds, type Certificate, type Receipt } from './receipt.ts'
import type { FoundReceipts } from './receipts-file.ts'

/** Whose word counts. */
export interface Trust {
  /** Raw public keys of brokers, in base64. */
  readonly keys: readonly string[]
  /** Receipts from elsewhere than the recording's own folder: the broker, or its prefix in a bucket. */
  readonly receipts: readonly Receipt[]
  /** What no broker of `keys` has certified is not believed. */
  readonly required: boolean
}

export const noTrust: Trust = { keys: [], receipts: [], required: false }

/** What is witnessed later than this after it was recorded is named: receipts come each few seconds and are kept one a minute. */
const lateMilliseconds = 90_000
const maxLate = 20

/** From when to when, in milliseconds since 1970. */
export interface Stretch {
  readonly from: number
  readonly until: number
}

export interface WitnessVerification {
  /** The broker's public key, as the recording's certificate names it. */
  readonly key: string
  /** That key is one that whoever verifies trusts. */
  readonly trusted: boolean
  readonly principal: string
  /** Those that are of this recording and fit it. */
  readonly receipts: number
  /** The last event that the witness has seen, and when by its own clock. */
  readonly through: { readonly sequence: number; readonly at: number } | null
  /** It has seen the session's end: nothing can be missing after it. */
  readonly complete: boolean
  /** Recorded after the last receipt. Nobody but the recorder can say that this is all, or how it was. */
  readonly unproven: (Stretch & { readonly events: number }) | null
  /** Seen by the witness only long after they were recorded. */
  readonly late: readonly Stretch[]
}

export interface WitnessProblem {
  readonly sequence: number | null
  readonly at: number | null
  readonly text: string
}

/** Holds a recording against what a witness says that it has seen: give it each event, then ask. */
export class WitnessCheck {
  readonly problems: WitnessProblem[] = []
  readonly #trust: Trust
  readonly #receipts: readonly Receipt[]
  readonly #keys = new Set<string>()
  #next = 0
  #fitting = 0
  #through: { readonly sequence: number; readonly at: number; readonly final: boolean } | null = null
  /** The first event that no receipt speaks for yet. */
  #pendingFrom: number | null = null
  #pendingEvents = 0
  #lastSequence = 0
  #lastAt = 0
  readonly #late: Stretch[] = []
  #broken = false

  constructor(session: string | null, own: FoundReceipts, trust: Trust) {
    this.#trust = trust
    if (own.damaged > 0) this.#add(`${own.damaged} of the receipts cannot be read`)
    const good: Receipt[] = []
    const seen = new Set<string>()
    for (const receipt of [...own.receipts, ...trust.receipts]) {
      if (seen.has(receipt.signature)) continue
      seen.add(receipt.signature)
      if (session !== null && receipt.session !== session)
        this.#add(`has a receipt of another session, ${receipt.session}`)
      else if (!receiptHolds(receipt)) this.#add(`has a receipt for event ${receipt.sequence} that no broker signed`)
      else {
        this.#keys.add(receipt.key)
        good.push(receipt)
      }
    }
    this.#receipts = good.sort((a, b) => a.sequence - b.sequence || a.at - b.at)
    let before: Receipt | undefined
    for (const receipt of this.#receipts) {
      if (before !== undefined && receipt.at < before.at)
        this.#add(
          `has receipts that go back in time: event ${receipt.sequence} was seen before event ${before.sequence}`,
          receipt.sequence,
          receipt.at,
        )
      if (before?.final === true && receipt.sequence > before.sequence)
        this.#add(`has a receipt for event ${receipt.sequence}, after the end that was witnessed`, receipt.sequence)
      before = receipt
    }
  }

  /** Each event in order, with the chain value after it. */
  take(sequence: number, at: number, chain: Buffer): void {
    this.#lastSequence = sequence
    this.#lastAt = at
    this.#pendingFrom ??= at
    this.#pendingEvents += 1
    this.boundary(sequence, chain)
  }

  /** A chain value that is known, also where the events before it cannot be read. */
  boundary(sequence: number, chain: Buffer): void {
    while (this.#pass(sequence)) this.#next += 1
    for (; this.#receipts[this.#next]?.sequence === sequence; this.#next += 1) {
      const receipt = this.#receipts[this.#next]
      if (receipt === undefined) return
      if (receipt.head === chain.toString('hex')) this.#fits(receipt)
      else this.#differs(receipt)
    }
  }

  /** Receipts for events that were not given: they lie in what cannot be read. */
  #pass(sequence: number): boolean {
    return (this.#receipts[this.#next]?.sequence ?? Infinity) < sequence
  }

  #fits(receipt: Receipt): void {
    this.#fitting += 1
    this.#through = receipt
    const from = this.#pendingFrom
    if (from !== null && receipt.at - from > lateMilliseconds && this.#late.length < maxLate)
      this.#late.push({ from, until: receipt.at })
    this.#pendingFrom = null
    this.#pendingEvents = 0
  }

  #differs(receipt: Receipt): void {
    if (this.#broken) return
    this.#broken = true
    const since = this.#through === null ? 'the beginning' : `event ${this.#through.sequence}`
    this.#add(
      `is not what the broker saw: it was altered somewhere between ${since} and here`,
      receipt.sequence,
      receipt.at,
    )
  }

  /**
   * @param start the recording's first event, or null where it could not be read
   * @param read whether all that is there could be read: what is missing is otherwise said elsewhere
   */
  finish(start: Manifest['start'], events: number, read: boolean): WitnessVerification | null {
    const certificate = this.#certificate(start)
    const beyond = this.#receipts.find(receipt => receipt.sequence > events)
    const last = this.#receipts.at(-1)
    if (read && beyond !== undefined && last !== undefined)
      this.#add(
        `ends at event ${events}, but the broker saw ${last.sequence}: the end was cut off`,
        last.sequence,
        last.at,
      )
    if (certificate === undefined) {
      if (this.#trust.required)
        this.#add('has no certificate of this broker: it was invented, replaced, or recorded without the broker')
      else if (this.#receipts.length > 0) this.#add('has receipts, but no certificate of a broker')
      return null
    }
    const { key, principal } = certificate
    const trusted = this.#trust.keys.includes(key)
    if (this.#trust.required && !trusted) this.#add('is certified with a key that is not this broker’s')
    for (const each of this.#keys)
      if (each !== key && !this.#trust.keys.includes(each))
        this.#add('has receipts that are signed with a key that is not the broker’s')
    const through = this.#through
    const unproven =
      this.#pendingEvents === 0 || through?.final === true
        ? null
        : { from: through?.at ?? this.#pendingFrom ?? this.#lastAt, until: this.#lastAt, events: this.#pendingEvents }
    if (through?.final === true && this.#lastSequence > through.sequence)
      this.#add(`goes on after event ${through.sequence}, which the broker saw as its end`, through.sequence)
    return {
      key,
      trusted,
      principal,
      receipts: this.#fitting,
      through: through === null ? null : { sequence: through.sequence, at: through.at },
      complete: through?.final ?? false,
      unproven: unproven === null ? null : { ...unproven, until: Math.max(unproven.from, unproven.until) },
      late: this.#late,
    }
  }

  #certificate(start: Manifest['start']): Certificate | undefined {
    const given: unknown = start?.certificate
    if (start === null || given === undefined || given === null) return undefined
    const parsed = certificateSchema.safeParse(given)
    if (!parsed.success || !certificateHolds(parsed.data)) {
      this.#add('has a certificate that no broker signed')
      return undefined
    }
    const certificate = parsed.data
    const { principal, actor } = start.subject
    const differs: readonly (readonly [boolean, string])[] = [
      [certificate.session === start.session, `the session ${certificate.session}`],
      [certificate.recordingKey === start.key, 'another recording key'],
      [certificate.principal === principal.name, `another principal, ${certificate.principal}`],
      [certificate.actor === (actor?.name ?? null), `another actor, ${certificate.actor ?? 'none'}`],
    ]
    for (const [same, what] of differs) if (!same) this.#add(`has a certificate for ${what}`)
    return differs.every(([same]) => same) ? certificate : undefined
  }

  #add(text: string, sequence: number | null = null, at: number | null = null): void {
    if (this.problems.length < 100) this.problems.push({ sequence, at, text })
  }
}
