import { lookBehindBytes, type DetectorName, type Finding, type Scanner } from './detectors/scanner.ts'

/** What is to stand for a finding. `bytes` holds it at `finding.start`. */
export type Replace = (finding: Finding, bytes: Buffer) => Buffer

const empty = Buffer.alloc(0)

/** The bytes from `start` to `end` with findings replaced; a view of them where there are none. */
export function replaceFindings(
  bytes: Buffer,
  start: number,
  end: number,
  findings: readonly Finding[],
  replace: Replace,
): Buffer {
  if (findings.length === 0) return bytes.subarray(start, end)
  const parts: Buffer[] = []
  let at = start
  for (const finding of findings) {
    parts.push(bytes.subarray(at, finding.start), replace(finding, bytes))
    at = finding.end
  }
  parts.push(bytes.subarray(at, end))
  return Buffer.concat(parts)
}

/**
 * Replaces what a scanner finds in a text that comes in pieces, wherever it is cut. Holds back only what may still
 * become a finding: mostly a word, at most a private key's length.
 */
export class Redactor {
  readonly #scanner: Scanner
  readonly #replace: Replace
  readonly #found = new Set<DetectorName>()
  /** Bytes that have been given out, for matchers that look back, and behind `#start` those that are held. */
  #bytes: Buffer = empty
  #start = 0
  #inside = false

  constructor(scanner: Scanner, replace: Replace) {
    this.#scanner = scanner
    this.#replace = replace
  }

  get found(): ReadonlySet<DetectorName> {
    return this.#found
  }

  push(chunk: Buffer): Buffer {
    const bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    const { findings, decided, inside } = this.#scanner.findInPiece(bytes, this.#start, this.#inside)
    const out = this.#replaced(bytes, decided, findings)
    const kept = Math.max(0, decided - lookBehindBytes)
    this.#bytes = bytes.subarray(kept)
    this.#start = decided - kept
    this.#inside = inside
    return out
  }

  end(): Buffer {
    const bytes = this.#bytes
    const out = this.#replaced(bytes, bytes.length, this.#scanner.findInLast(bytes, this.#start, this.#inside))
    this.#bytes = empty
    this.#start = 0
    return out
  }

  #replaced(bytes: Buffer, end: number, findings: readonly Finding[]): Buffer {
    for (const { detector } of findings) this.#found.add(detector)
    return replaceFindings(bytes, this.#start, end, findings, this.#replace)
  }
}
