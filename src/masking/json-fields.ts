import { hashTextBytes, type Hasher } from './hasher.ts'
import { redactedText, type Strategy, maxPartialBytes, writePartial } from './strategies.ts'

export interface FieldMask {
  /** As the policy writes it; see FieldMasker. */
  readonly path: string
  readonly with: Strategy
}

/** The bytes are no JSON (RFC 8259), so nothing says which of them a mask hides. */
export class NotJson extends Error {}

interface Pattern {
  readonly path: string
  readonly parts: readonly string[]
  /** `$.a` is a at the root; `a` is a wherever it is. */
  readonly anchored: boolean
  readonly with: Strategy
}

/** Deeper than anything people make; paths are matched by recursion. */
const maxDepth = 1000
const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const colon = 0x3a
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d

/**
 * Hides fields of JSON texts by their paths: `email`, `customer.email` (at any depth), `$.data.email` (from the root),
 * `*` for any one name, `**` for any number. Arrays count for nothing: `items.price` is the price of each item. What is
 * not hidden stays byte for byte.
 */
export class FieldMasker {
  readonly #patterns: readonly Pattern[]
  readonly #hasher: Hasher | null
  readonly #hidden = new Set<string>()

  constructor(masks: readonly FieldMask[], hasher: Hasher | null) {
    this.#patterns = masks.map(mask => {
      const anchored = mask.path.startsWith('$')
      const parts = mask.path
        .replace(/^\$\.?/, '')
        .replace(/\[(?:\*|\d*)\]/g, '')
        .split('.')
        .filter(part => part !== '')
      return { path: mask.path, parts, anchored, with: mask.with }
    })
    this.#hasher = hasher
  }

  /** Paths, as the policy writes them, of which something was hidden. */
  get hidden(): ReadonlySet<string> {
    return this.#hidden
  }

  /** The same buffer where nothing is hidden. @throws NotJson */
  mask(bytes: Buffer): Buffer {
    const text = bytes.toString('utf8')
    try {
      JSON.parse(text)
    } catch {
      throw new NotJson()
    }
    // A client that reads the bytes more strictly than we do must not see another structure.
    if (!Buffer.from(text).equals(bytes)) throw new NotJson()
    return this.#rewrite(bytes)
  }

  /** One walk over what is known to be JSON. */
  #rewrite(bytes: Buffer): Buffer {
    const parts: Buffer[] = []
    const names: string[] = [] // of the objects we are in
    const opened: number[] = []
    let copied = 0
    let at = 0
    while (at < bytes.length) {
      const byte = bytes[at] ?? 0
      if (byte === openBrace || byte === openBracket) {
        opened.push(byte)
        if (byte === openBrace) names.push('')
        if (opened.length > maxDepth) throw new NotJson()
        at++
      } else if (byte === closeBrace || byte === closeBracket) {
        if (opened.pop() === openBrace) names.pop()
        at++
      } else if (byte === quote) {
        const end = endOfString(bytes, at)
        const value = skipSpace(bytes, end)
        if (bytes[value] !== colon) {
          at = end
          continue
        }
        names[names.length - 1] = nameOf(bytes, at, end)
        at = skipSpace(bytes, value + 1)
        const pattern = this.#patterns.find(each => matches(each, names))
        if (pattern === undefined) continue
        const behind = endOfValue(bytes, at)
        const marker = this.#marker(bytes, at, behind, pattern)
        if (marker !== null) {
          parts.push(bytes.subarray(copied, at), marker)
          copied = behind
        }
        at = behind
      } else at++
    }
    if (parts.length === 0) return bytes
    parts.push(bytes.subarray(copied))
    return Buffer.concat(parts)
  }

  /** null: the value is null and stays so. */
  #marker(bytes: Buffer, start: number, end: number, pattern: Pattern): Buffer | null {
    const first = bytes[start]
    if (first === 0x6e) return null
    this.#hidden.add(pattern.path)
    const isText = first === quote
    switch (pattern.with.kind) {
      case 'null':
        return nothing
      case 'redact':
        return isText ? marker : nothing
      case 'constant':
        return constantFor(pattern.with.value, isText)
      case 'partial':
      case 'hash': {
        // Numbers and structures would have to become text, which those who read them do not expect.
        if (!isText) return nothing
        const text = Buffer.from(JSON.parse(bytes.toString('utf8', start, end)) as string)
        const out = Buffer.alloc(Math.max(maxPartialBytes, hashTextBytes))
        if (pattern.with.kind === 'partial') return quoted(out.subarray(0, writePartial(text, 0, text.length, out, 0)))
        if (this.#hasher === null) return marker
        return quoted(out.subarray(0, this.#hasher.writeText(text, 0, text.length, out, 0)))
      }
      default:
        return pattern.with satisfies never
    }
  }
}

const nothing = Buffer.from('null')
const marker = Buffer.from(JSON.stringify(redactedText))

function quoted(text: Buffer): Buffer {
  return Buffer.from(JSON.stringify(text.toString('utf8')))
}

/** As a number or truth value where it stands for one and is one, else as text. */
function constantFor(value: string, isText: boolean): Buffer {
  return Buffer.from(
    !isText && /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?|true|false|null)$/.test(value) ? value : JSON.stringify(value),
  )
}

function matches(pattern: Pattern, names: readonly string[]): boolean {
  const { parts, anchored } = pattern
  const matchesFrom = (part: number, name: number): boolean => {
    if (part === parts.length) return name === names.length
    if (parts[part] === '**') return matchesFrom(part + 1, name) || (name < names.length && matchesFrom(part, name + 1))
    return (
      name < names.length && (parts[part] === '*' || parts[part] === names[name]) && matchesFrom(part + 1, name + 1)
    )
  }
  if (parts.length === 0) return false
  if (anchored || parts[0] === '**') return matchesFrom(0, 0)
  if (!parts.includes('**')) {
    // As most are: only the last names count.
    const from = names.length - parts.length
    return from >= 0 && parts.every((part, index) => part === '*' || part === names[from + index])
  }
  return names.some((_, from) => matchesFrom(0, from))
}

function nameOf(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString('utf8', start, end)
  return text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1)
}

function skipSpace(bytes: Buffer, at: number): number {
  while (at < bytes.length && (bytes[at] ?? 0) <= 0x20) at++
  return at
}

function endOfString(bytes: Buffer, start: number): number {
  let at = start + 1
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1
  return at + 1
}

function endOfValue(bytes: Buffer, start: number): number {
  let depth = 0
  let at = start
  while (at < bytes.length) {
    const byte = bytes[at] ?? 0
    if (byte === quote) {
      at = endOfString(bytes, at)
      if (depth === 0) return at
      continue
    }
    if (byte === openBrace || byte === openBracket) depth++
    else if (byte === closeBrace || byte === closeBracket) {
      // Of a number or word: what it stands in ends.
      if (depth === 0) return at
      if (--depth === 0) return at + 1
    } else if (depth === 0 && (byte === comma || byte <= 0x20)) return at
    at++
  }
  return at
}
