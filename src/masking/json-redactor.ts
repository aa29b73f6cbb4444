import { lookBehindBytes, type DetectorName, type Finding, type Scanner } from './detectors/scanner.ts'
import { cutEscapeBytes, UnescapedJson } from './json-escapes.ts'
import type { Replace } from './redactor.ts'

const quote = 0x22
const backslash = 0x5c
const newline = 0x0a
const empty = Buffer.alloc(0)

/** What is found in a JSON text from `start` to `end`, replaced so that it stays JSON; null where nothing is. */
export function redactJson(
  scanner: Scanner,
  replace: Replace,
  bytes: Buffer,
  start: number,
  end: number,
): Buffer | null {
  const json = UnescapedJson.read(bytes, start, end)
  const findings = scanner.find(json.text)
  return findings.length === 0 ? null : new Rewriter().rewrite(bytes, start, end, json, findings, replace)
}

/** As Redactor, for JSON (also lines of it, and events with it): sees through escapes, and leaves valid JSON. */
export class JsonRedactor {
  readonly #scanner: Scanner
  readonly #replace: Replace
  readonly #found = new Set<DetectorName>()
  readonly #rewriter = new Rewriter()
  /** Bytes that have been given out, then those held, then an escape that is not whole. */
  #raw: Buffer = empty
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
    const raw = this.#raw.length === 0 ? chunk : Buffer.concat([this.#raw, chunk])
    const json = UnescapedJson.read(raw, 0, raw.length - cutEscapeBytes(raw))
    const start = json.toText(this.#start)
    const { findings, decided, inside } = this.#scanner.findInPiece(json.text, start, this.#inside)
    const decidedRaw = json.toRaw(decided)
    const out = this.#rewrite(raw, decidedRaw, json, findings)
    const kept = json.toRaw(Math.max(0, decided - lookBehindBytes))
    this.#raw = raw.subarray(kept)
    this.#start = decidedRaw - kept
    this.#inside = inside
    return out
  }

  end(): Buffer {
    const raw = this.#raw
    const json = UnescapedJson.read(raw, 0, raw.length)
    const findings = this.#scanner.findInLast(json.text, json.toText(this.#start), this.#inside)
    const out = this.#rewrite(raw, raw.length, json, findings)
    this.#raw = empty
    this.#start = 0
    return out
  }

  #rewrite(raw: Buffer, end: number, json: UnescapedJson, findings: readonly Finding[]): Buffer {
    for (const { detector } of findings) this.#found.add(detector)
    return this.#rewriter.rewrite(raw, this.#start, end, json, findings, this.#replace)
  }
}

/** Follows what is within quotes, as a number outside of them has to stay one. */
class Rewriter {
  #inString = false

  rewrite(
    raw: Buffer,
    start: number,
    end: number,
    json: UnescapedJson,
    findings: readonly Finding[],
    replace: Replace,
  ): Buffer {
    const parts: Buffer[] = []
    let at = start
    for (const finding of findings) {
      const from = json.toRaw(finding.start)
      const to = json.toRaw(finding.end)
      this.#follow(raw, at, from)
      parts.push(raw.subarray(at, from))
      parts.push(
        !this.#inString && isNumber(raw, from, to)
          ? Buffer.from(standsFree(raw, from, to) ? 'null' : '0')
          : escaped(replace(finding, json.text)),
      )
      at = to
    }
    this.#follow(raw, at, end)
    if (parts.length === 0) return raw.subarray(at, end)
    parts.push(raw.subarray(at, end))
    return Buffer.concat(parts)
  }

  #follow(raw: Buffer, start: number, end: number): void {
    let inString = this.#inString
    for (let at = start; at < end; at++) {
      const byte = raw[at]
      if (byte === quote) inString = !inString
      else if (byte === backslash) at++
      // No string goes over the end of a line: what was no JSON before cannot mislead any further.
      else if (byte === newline) inString = false
    }
    this.#inString = inString
  }
}

function isNumber(raw: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if ((raw[at] ?? 0) < 0x30 || (raw[at] ?? 0) > 0x39) return false
  return true
}

/** Whether a number has no sign, fraction or exponent around it that would have to go too. */
function standsFree(raw: Buffer, start: number, end: number): boolean {
  return (
    !'+-.eE'.includes(raw.toString('latin1', start - 1, start) || ' ') &&
    !'.eE'.includes(raw.toString('latin1', end, end + 1) || ' ')
  )
}

function escaped(text: Buffer): Buffer {
  for (const byte of text)
    if (byte < 0x20 || byte === quote || byte === backslash)
      return Buffer.from(JSON.stringify(text.toString('utf8')).slice(1, -1))
  return text
}
