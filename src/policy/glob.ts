/** Names with `*` for any run of characters, alone or several. Linear in the name: nothing backtracks further than one `*`. */
export interface Glob {
  readonly pattern: string
  /** It has no `*`: it names one thing. */
  readonly literal: boolean
  matches(name: string): boolean
}

export function glob(pattern: string): Glob {
  if (!pattern.includes('*')) return { pattern, literal: true, matches: name => name === pattern }
  if (pattern === '*') return { pattern, literal: false, matches: () => true }
  const parts = pattern.split('*')
  const first = parts[0] ?? ''
  const last = parts.at(-1) ?? ''
  const middle = parts.slice(1, -1)
  return {
    pattern,
    literal: false,
    matches: name => {
      if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false
      let at = first.length
      const end = name.length - last.length
      for (const part of middle) {
        const found = name.indexOf(part, at)
        if (found === -1 || found + part.length > end) return false
        at = found + part.length
      }
      return true
    },
  }
}

export function anyMatches(globs: readonly Glob[], name: string): boolean {
  for (const one of globs) if (one.matches(name)) return true
  return false
}
