import { classOf, joint, type Window, word } from './window.ts'

/** Longer ones would not fit into a request's headers anywhere. */
export const maxJwtBytes = 16_384
const dot = 0x2e

/** Where a JSON Web Token in compact form (RFC 7519 §3, RFC 7516 §3.1) that begins at `start` ends, else -1. */
export function matchJwt(window: Window, start: number): number {
  const header = endOfPart(window, start, start)
  if (header - start < 16 || window.peek(header, start) !== dot) return -1
  const claims = endOfPart(window, header + 1, start)
  if (window.peek(claims, start) !== dot) return -1
  if (!/"alg"/.test(Buffer.from(window.text(start, header), 'base64url').toString('latin1'))) return -1
  let end = endOfPart(window, claims + 1, start)
  for (let parts = 3; parts < 5 && window.peek(end, start) === dot; parts++) {
    const next = endOfPart(window, end + 1, start)
    if (next === end + 1) break
    end = next
  }
  return end
}

function endOfPart(window: Window, from: number, start: number): number {
  let at = from
  while (at - start < maxJwtBytes) {
    const byte = window.peek(at, start)
    // base64url: `_` and `-` of the joints
    if (byte < 0 || ((classOf[byte] ?? 0) & (word | joint)) === 0 || byte === 0x2b || byte === 0x2f) break
    at++
  }
  return at
}
