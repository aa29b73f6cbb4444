import { classOf, digit, joint, lower, upper, type Window, word } from './window.ts'

/** Longer runs are data (images, certificates), which detectors of text do not judge. */
export const maxTokenBytes = 256
export const minTokenBytes = 12
const contextBytes = 40
/** A word that says what follows is secret, and a sign that something follows. */
const contextPattern =
  /(?:secret|passw(?:or)?d|passwd|pwd|passphrase|token|api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|account[_-]?key|credential|auth(?:orization)?|bearer)["'\w-]{0,12}(?:["']?\s{0,3}(?:=>|:=|[:=])\s{0,3}["']?(?:bearer |basic )?|\s)$/i

/** Whether the token from `start` to `end`, letters and digits and joints, can only be a generated secret. */
export function isSecretToken(window: Window, start: number, end: number): boolean {
  const length = end - start
  if (length > maxTokenBytes || length < minTokenBytes) return false
  let upperCount = 0
  let lowerCount = 0
  let digitCount = 0
  let joints = 0
  let turns = 0
  let run = 0
  let longestRun = 0
  let longestWord = 0
  let wordLength = 0
  let isHex = true
  let before = 0
  for (let index = start; index < end; index++) {
    const byte = window.at(index)
    const kind = classOf[byte] ?? 0
    if (kind === upper) upperCount++
    else if (kind === lower) lowerCount++
    else if (kind === digit) digitCount++
    else joints++
    if ((kind & word) === 0) wordLength = 0
    else if (++wordLength > longestWord) longestWord = wordLength
    if ((kind & (upper | lower)) !== 0 && (byte & 0xdf) > 0x46) isHex = false
    run = kind === before ? run + 1 : 1
    if (run > longestRun) longestRun = run
    if (kind !== before && before !== 0) turns++
    before = kind
  }
  if (digitCount < 2 || upperCount + lowerCount < 2) return false
  if ((!isHex || length >= 16) && isNamed(window, start) && entropy(window, start, end) >= 2.9) return true
  // Digests, ids in hexadecimal and UUIDs are everywhere and mostly no secret.
  if (isHex || longestRun > 8) return false
  const looksDrawn =
    upperCount >= 3 && lowerCount >= 3
      ? length >= 24 && turns >= 0.4 * length && joints <= length / 8
      : longestWord >= 30 && digitCount >= longestWord / 8 && turns >= 0.25 * length && joints <= 2
  return looksDrawn && entropy(window, start, end) >= 3.9
}

function isNamed(window: Window, start: number): boolean {
  // `=`, `:`, `>`, a quote or white space, or there is no word to look for.
  const before = window.at(start - 1)
  if (before !== 0x3d && before !== 0x3a && before !== 0x20 && before !== 0x22 && before !== 0x27 && before !== 0x3e)
    return false
  return contextPattern.test(window.before(start, contextBytes))
}

/** Shannon's, in bits a character. */
function entropy(window: Window, start: number, end: number): number {
  const counts = new Uint16Array(128)
  for (let index = start; index < end; index++) {
    const byte = window.at(index) & 127
    counts[byte] = (counts[byte] ?? 0) + 1
  }
  let sum = 0
  for (const count of counts) if (count > 1) sum += count * Math.log2(count)
  return Math.log2(end - start) - sum / (end - start)
}

/** AWS secret keys have no prefix: 40 characters of base64 behind a word that names them. */
export function isAwsSecret(window: Window, start: number, end: number): boolean {
  return (
    end - start === 40 &&
    /aws.{0,24}(?:secret|key).{0,16}$/is.test(window.before(start, 48)) &&
    hasBothCases(window, start, end)
  )
}

function hasBothCases(window: Window, start: number, end: number): boolean {
  let classes = 0
  for (let index = start; index < end; index++) classes |= classOf[window.at(index)] ?? 0
  return (classes & upper) !== 0 && (classes & lower) !== 0 && (classes & ~(word | joint)) === 0
}
