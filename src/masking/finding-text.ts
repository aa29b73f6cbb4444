import { detectorNames, type DetectorName, type Finding } from './detectors/scanner.ts'
import { hashTextBytes, type Hasher } from './hasher.ts'
import { maxPartialBytes, type Strategy, writePartial } from './strategies.ts'

const markers = Object.fromEntries(
  detectorNames.map(name => [name, Buffer.from(`[masked:${name}]`)] as const),
) as Readonly<Record<DetectorName, Buffer>>

/** Of these a part may be shown; the others are secrets, or too short. */
const showsPart: ReadonlySet<DetectorName> = new Set<DetectorName>(['email', 'phone', 'card-number', 'national-id'])

/**
 * What stands for a finding within a text. `null` cannot: there it is the marker that `redact` gives. Without a hasher
 * (where a view is made outside of any session) neither can `hash`.
 */
export function findingText(strategy: Strategy, finding: Finding, bytes: Buffer, hasher: Hasher | null): Buffer {
  const { detector, start, end } = finding
  switch (strategy.kind) {
    case 'redact':
    case 'null':
      return markers[detector]
    case 'constant':
      return Buffer.from(strategy.value)
    case 'partial': {
      if (!showsPart.has(detector)) return markers[detector]
      const out = Buffer.alloc(maxPartialBytes)
      return out.subarray(0, writePartial(bytes, start, end, out, 0))
    }
    case 'hash': {
      if (hasher === null) return markers[detector]
      const out = Buffer.alloc(hashTextBytes)
      hasher.writeText(bytes, start, end, out, 0)
      return out
    }
    default:
      return strategy satisfies never
  }
}
