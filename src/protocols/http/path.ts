/** Why a request's target cannot be decided on: two servers could read it differently. */
export class AmbiguousTarget extends Error {}

/** A request target in origin form (RFC 9112 §3.2.1), made one of all its spellings. */
export interface Target {
  /** Decoded, for rules and people: starts with `/`, no empty, `.` or `..` segment; a slash at the end is kept. */
  readonly path: string
  /** As it goes to the upstream: the same path, encoded anew, and the query as it came. */
  readonly sent: string
  /** Without the `?`; empty where there is none. */
  readonly query: string
}

const maxTargetBytes = 16_384

/**
 * Percent-encoding is taken off, dot segments and double slashes are resolved, and what servers are known to disagree
 * on is refused: encoded slashes, backslashes, doubly encoded octets, controls. @throws AmbiguousTarget
 */
export function readTarget(text: string): Target {
  if (!text.startsWith('/')) throw new AmbiguousTarget('the target must be a path')
  if (text.length > maxTargetBytes) throw new AmbiguousTarget('the target is too long')
  if (!/^[!-~]*$/.test(text) || text.includes('#'))
    throw new AmbiguousTarget('the target has characters that need encoding')
  const mark = text.indexOf('?')
  const rawPath = mark < 0 ? text : text.slice(0, mark)
  const query = mark < 0 ? '' : text.slice(mark + 1)
  if (/\\|%(?:2f|5c|00|0a|0d)/i.test(rawPath))
    throw new AmbiguousTarget('the path has an encoded slash, a backslash or a control')
  if (/%25[0-9a-f]{2}/i.test(rawPath)) throw new AmbiguousTarget('the path is encoded twice')
  if (/%(?![0-9a-f]{2})/i.test(rawPath)) throw new AmbiguousTarget('the path has a percent sign that encodes nothing')
  const decoded = decode(rawPath)
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(decoded)) throw new AmbiguousTarget('the path has an encoded control')
  const segments: string[] = []
  const all = decoded.split('/')
  for (const segment of all) {
    // Servers that know path parameters resolve `..;x` as `..`.
    if (/^\.\.?;/.test(segment)) throw new AmbiguousTarget('the path has parameters on a dot segment')
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  const last = all.at(-1)
  const isFolder = segments.length > 0 && (last === '' || last === '.' || last === '..')
  const join = (parts: readonly string[]) => `/${parts.join('/')}${isFolder ? '/' : ''}`
  const sent = join(segments.map(encode))
  return { path: join(segments), sent: query === '' ? sent : `${sent}?${query}`, query }
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    throw new AmbiguousTarget('the path is not UTF-8')
  }
}

/** Everything but `pchar` (RFC 3986 §3.3) is encoded. */
function encode(segment: string): string {
  return encodeURIComponent(segment).replace(/%(?:24|26|2B|2C|3A|3B|3D|40)/g, decodeURIComponent)
}

/**
 * Whether a path is one that `glob` means: `*` is any part of one segment, `**` any number of segments. A slash at the
 * end counts for nothing, as most servers ignore it.
 */
export function matchesPath(glob: string, path: string): boolean {
  const wanted = segmentsOf(glob)
  const actual = segmentsOf(path)
  // The usual two-pointer walk: on a mismatch the last `**` takes one segment more, so the time is at most wanted × actual.
  let at = 0
  let back = -1
  let taken = 0
  let want = 0
  while (at < actual.length) {
    const segment = wanted[want]
    if (segment === '**') {
      back = want++
      taken = at
    } else if (segment !== undefined && matchesSegment(segment, actual[at] ?? '')) {
      want++
      at++
    } else if (back >= 0) {
      want = back + 1
      at = ++taken
    } else return false
  }
  return wanted.slice(want).every(segment => segment === '**')
}

function segmentsOf(path: string): string[] {
  return path.split('/').filter(segment => segment !== '')
}

function matchesSegment(glob: string, segment: string): boolean {
  const [first = '', ...rest] = glob.split('*')
  if (rest.length === 0) return glob === segment
  const last = rest.pop() ?? ''
  if (segment.length < first.length + last.length || !segment.startsWith(first) || !segment.endsWith(last)) return false
  let at = first.length
  const end = segment.length - last.length
  for (const part of rest) {
    const found = segment.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}
