import { lookBehindBytes, type DetectorName, type Finding, type Scanner } from './detectors/scanner.ts'

/** What is to stand for a finding. `bytes` holds it at `finding.start`. */
export type Replace = (finding: Finding, bytes: Buffer) => Buffer

const empty = Buffer.alloc(0)
const loopBytes = 40

/** The bytes from `start` to `end` with findings replaced; a view of them where there are none. */
export function replaceFindings(
  bytes: Buffer,
  start: number,
  end: number,
  findings: readonly Finding[],
  replace: Replace,
): Buffer {
  if (findings.length === 0) return bytes.subarray(start, end)
  const replacements = findings.map(finding => replace(finding, bytes))
  let length = end - start
  for (const [index, finding] of findings.entries())
    length += (replacements[index]?.length ?? 0) - (finding.end - finding.start)
  const out = Buffer.allocUnsafe(length)
  let at = start
  let offset = 0
  for (const [index, finding] of findings.entries()) {
    const replacement = replacements[index] ?? empty
    offset = copy(bytes, at, finding.start, out, offset)
    offset = copy(replacement, 0, replacement.length, out, offset)
    at = finding.end
  }
  copy(bytes, at, end, out, offset)
  return out
}

/** Buffer.copy makes a view each time: a loop is faster for few bytes. Returns the offset behind. */
function copy(from: Buffer, start: number, end: number, out: Buffer, offset: number): number {
  if (end - start > loopBytes) return offset + from.copy(out, offset, start, end)
  for (let index = start; index < end; index++) out[offset++] = from[index] ?? 0
  return offset
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
