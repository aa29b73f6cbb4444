import { classOf, digit, type Window, wide, word } from './window.ts'

/** RFC 5321 §4.5.3.1 */
export const maxLocalBytes = 64
const maxDomainBytes = 255
const dot = 0x2e
const dash = 0x2d

const inLocal = new Uint8Array(256)
const inDomain = new Uint8Array(256)
for (let byte = 0; byte < 256; byte++) {
  const plain = ((classOf[byte] ?? 0) & (word | wide)) !== 0
  inLocal[byte] = plain || '.%+-_'.includes(String.fromCharCode(byte)) ? 1 : 0
  inDomain[byte] = plain || byte === dot || byte === dash ? 1 : 0
}

/** Whether a byte may stand before the `@`. */
export function isLocal(byte: number): boolean {
  return inLocal[byte] === 1
}

/** Where an address around the sign from `at` to `behind` begins and ends; null: none. Nothing before `from` belongs to it. */
export function matchEmail(window: Window, at: number, behind: number, from: number): readonly [number, number] | null {
  let start = at
  const lowest = Math.max(from, at - maxLocalBytes)
  while (start > lowest && isLocal(window.at(start - 1))) start--
  while (start < at && !window.is(start, word | wide) && window.at(start) !== 0x5f) start++
  if (start === at) return null
  let end = behind
  let label = behind // where the last label begins
  let dots = 0
  while (end - behind < maxDomainBytes) {
    const byte = window.peek(end, start)
    if (byte < 0 || inDomain[byte] !== 1) break
    if (byte === dot) {
      // Two dots, or one at the end of a sentence.
      if (end === label || !window.peekIs(end + 1, word | wide, start)) break
      label = end + 1
      dots++
    }
    end++
  }
  while (end > label && window.at(end - 1) === dash) end--
  if (dots === 0 || end - label < 2) return null
  for (let index = label; index < end; index++)
    if (!window.is(index, word | wide) && window.text(label, label + 4) !== 'xn--') return null
  // `react@18.2.0`, `icon@2x.png`, `git@github.com:team/repository`
  if (!window.is(label, word & ~digit) && !window.is(label, wide)) return null
  if (window.is(behind, digit) && window.at(behind + 1) === 0x78 && window.at(behind + 2) === dot) return null
  if (at - start === 3 && window.text(start, at) === 'git' && window.peek(end, start) === 0x3a) return null
  return [start, end]
}
