/**
 * Whether a text nests, or chains operators, more deeply than a parser should be asked to follow. PostgreSQL's own
 * parser stops at its stack limit with an error; in WASM the stack is the process's, and an overflow breaks the parser.
 * Counts too much rather than too little: a text that is refused here is one that nobody writes.
 */
export function nestsTooDeeply(text: string, limits: { readonly depth: number; readonly chain: number }): boolean {
  const { length } = text
  let depth = 0
  let words = 0 // prefix words and operators since the last place where a chain ends
  const chains: number[] = []
  let i = 0
  while (i < length) {
    const c = text.charCodeAt(i)
    if (c <= 32) {
      i++
    } else if (isWordStart(c)) {
      const start = i
      i++
      while (i < length && isWordPart(text.charCodeAt(i))) i++
      const next = text.charCodeAt(i)
      const size = i - start
      if (next === 39 && (size === 1 || size === 2)) {
        const first = text.charCodeAt(start) | 32
        i = size === 1 && first === 101 ? skipEscaped(text, i + 1) : skipTo(text, i + 1, "'")
      } else if (chainWords.has(text.slice(start, i).toLowerCase())) {
        if (++words > limits.chain) return true
      } else if (size <= 3 && endWords.has(text.slice(start, i).toLowerCase())) {
        words = 0
      }
    } else if (c === 39) {
      i = skipTo(text, i + 1, "'")
    } else if (c === 34) {
      i = skipTo(text, i + 1, '"')
    } else if (c === 36) {
      i = skipDollar(text, i)
    } else if (c === 45 && text.charCodeAt(i + 1) === 45) {
      while (i < length && text.charCodeAt(i) !== 10 && text.charCodeAt(i) !== 13) i++
    } else if (c === 47 && text.charCodeAt(i + 1) === 42) {
      i = skipComment(text, i + 2)
    } else if (c === 40 || c === 91) {
      if (++depth > limits.depth) return true
      chains.push(words)
      i++
    } else if (c === 41 || c === 93) {
      if (depth > 0) depth--
      words = (chains.pop() ?? 0) + (c === 93 ? 1 : 0)
      i++
    } else if (c === 44 || c === 59) {
      words = 0
      i++
    } else {
      // a digit or a dot is no operator, but costs nothing to count as none
      if (!(c >= 48 && c <= 57) && c !== 46 && ++words > limits.chain) return true
      i++
    }
  }
  return false
}

const chainWords = new Set(
  'union except intersect join not case is isnull notnull collate at operator select like ilike similar between in'.split(
    ' ',
  ),
)
const endWords = new Set(['and', 'or'])

const isWordStart = (c: number) => (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || c >= 128
const isWordPart = (c: number) => isWordStart(c) || (c >= 48 && c <= 57) || c === 36

function skipTo(text: string, from: number, quote: string): number {
  const end = text.indexOf(quote, from)
  return end < 0 ? text.length : end + 1 // a doubled quote just starts the next string
}

function skipEscaped(text: string, from: number): number {
  let i = from
  while (i < text.length) {
    const c = text.charCodeAt(i)
    if (c === 92) i += 2
    else if (c === 39) return i + 1
    else i++
  }
  return text.length
}

function skipDollar(text: string, from: number): number {
  let i = from + 1
  if (i < text.length && isWordStart(text.charCodeAt(i)))
    while (i < text.length && isWordPart(text.charCodeAt(i)) && text.charCodeAt(i) !== 36) i++
  if (text.charCodeAt(i) !== 36) return from + 1
  const tag = text.slice(from, i + 1)
  const end = text.indexOf(tag, i + 1)
  return end < 0 ? text.length : end + tag.length
}

function skipComment(text: string, from: number): number {
  let depth = 1
  let i = from
  while (i < text.length && depth > 0) {
    const c = text.charCodeAt(i)
    const next = text.charCodeAt(i + 1)
    if (c === 42 && next === 47) {
      depth--
      i += 2
    } else if (c === 47 && next === 42) {
      depth++
      i += 2
    } else i++
  }
  return i
}
