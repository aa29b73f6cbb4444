import { createScanner } from './detectors/scanner.ts'
import { findingText } from './finding-text.ts'
import { replaceFindings } from './redactor.ts'
import type { Strategy } from './strategies.ts'

/** `found` is told the names of the detectors that something was hidden by. */
export type TextMask = (text: string, found?: (detector: string) => void) => string

/** Hides in a text what masks with detectors hide; what goes by columns and fields is none of a plain text's. */
export function textMask(masks: readonly { readonly detect: readonly string[]; readonly with: Strategy }[]): TextMask {
  // The first mask that names a detector says how it shows.
  const strategies = new Map<string, Strategy>()
  for (const mask of masks) for (const name of mask.detect) if (!strategies.has(name)) strategies.set(name, mask.with)
  if (strategies.size === 0) return text => text
  const scanner = createScanner([...strategies.keys()])
  return (text, found) => {
    const bytes = Buffer.from(text)
    return replaceFindings(bytes, 0, bytes.length, scanner.find(bytes), (finding, all) => {
      found?.(finding.detector)
      return findingText(strategies.get(finding.detector) ?? { kind: 'redact' }, finding, all, null)
    }).toString()
  }
}
