/** What of a text is constants that the grammar cannot tell apart, and what is the rest. */
export interface Outline {
  /** The text with each constant replaced by its kind: two texts with one outline give the parser the same tokens. */
  readonly shape: string
  /** Where each constant begins and ends, in characters, which are bytes here. */
  readonly starts: readonly number[]
  readonly ends: readonly number[]
}

const longest = 16 * 1024
const most = 200

// Of each ASCII character what it may begin or be part of.
const other = 0
const letter = 1
const digit = 2
/** Whatever this lexer leaves to the real one: dollar quotes, backslashes, control characters. */
const foreign = 3
const classes = new Uint8Array(128).fill(foreign)
for (let code = 0x20; code < 0x7f; code++) classes[code] = other
for (const code of [0x09, 0x0a, 0x0d, 0x0c]) classes[code] = other
for (const char of 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_') classes[char.charCodeAt(0)] = letter
for (const char of '0123456789') classes[char.charCodeAt(0)] = digit
classes[0x5c] = foreign // \

const quote = 0x27
const doubleQuote = 0x22
const dollar = 0x24
const ampersand = 0x26
const dot = 0x2e

/**
 * The outline of a plain text, read as PostgreSQL's lexer does (src/backend/parser/scan.l); undefined for one with
 * comments, dollar quotes, escapes, or anything else of which the lexer has more to say. Only plain strings and plain
 * decimal numbers are taken for constants; whatever else is one stays part of the shape.
 */
export function outlineOf(text: string): Outline | undefined {
  const { length } = text
  if (length > longest) return undefined
  const starts: number[] = []
  const ends: number[] = []
  let shape = ''
  let from = 0
  let at = 0
  while (at < length) {
    const code = text.charCodeAt(at)
    const kind = code < 128 ? classes[code] : foreign
    if (kind === foreign) return undefined
    const start = at
    if (kind === letter) {
      at = wordEnd(text, at)
      // e'…', b'…', x'…', n'…'
      if (text.charCodeAt(at) === quote) return undefined
      continue
    }
    if (kind === digit) {
      at = digitsEnd(text, at)
      let token = at - start
      if (text.charCodeAt(at) === dot) {
        const end = digitsEnd(text, at + 1)
        if (end === at + 1) return undefined
        at = end
        token = 0
      }
      // .5, 1e5, 0x1f, 1_000, 1.2.3
      if (text.charCodeAt(start - 1) === dot || text.charCodeAt(at) === dot || isWord(text.charCodeAt(at)))
        return undefined
      // An integer of ten digits may be one for the grammar or not.
      if (token === 10) return undefined
      shape += `${text.slice(from, start)}${token > 0 && token < 10 ? '\u0001' : '\u0002'}`
    } else if (code === quote || code === doubleQuote) {
      if (text.charCodeAt(start - 1) === ampersand) return undefined // u&'…', u&"…"
      at = quotedEnd(text, at, code)
      if (at < 0) return undefined
      if (code === doubleQuote) continue
      // Two strings with a line's end between them are one.
      if (starts.length > 0 && text.charCodeAt(from - 1) === quote && text.slice(from, start).trim() === '')
        return undefined
      shape += `${text.slice(from, start)}\u0003`
    } else {
      at += 1
      const next = text.charCodeAt(at)
      if (code === dollar) {
        if (classes[next] !== digit) return undefined
        at = digitsEnd(text, at)
        if (isWord(text.charCodeAt(at))) return undefined
      } else if ((code === 0x2d && next === 0x2d) || (code === 0x2f && next === 0x2a)) return undefined // -- and /*
      continue
    }
    if (starts.length === most) return undefined
    starts.push(start)
    ends.push(at)
    from = at
  }
  return { shape: shape + text.slice(from), starts, ends }
}

function isWord(code: number): boolean {
  return code === dollar || classes[code] === letter || classes[code] === digit
}

function wordEnd(text: string, from: number): number {
  let at = from
  while (isWord(text.charCodeAt(at))) at += 1
  return at
}

function digitsEnd(text: string, from: number): number {
  let at = from
  while (classes[text.charCodeAt(at)] === digit) at += 1
  return at
}

/** Behind the closing quote; -1 where there is none, or something in between is left to the real lexer. */
function quotedEnd(text: string, from: number, mark: number): number {
  for (let at = from + 1; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === mark) {
      if (text.charCodeAt(at + 1) !== mark) return at + 1
      at += 1
    } else if (code > 127 || classes[code] === foreign) return -1
  }
  return -1
}
