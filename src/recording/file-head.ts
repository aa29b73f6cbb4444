import { z } from 'zod'
import { parseJson } from './bounded-json.ts'
import { canonicalJson } from './canonical-json.ts'
import { codecs, features, formatVersion, maxFileHeadBytes, maxRawBytes, type FileKind } from './format.ts'
import type { JournalHeader, SegmentHeader } from './format.ts'

const hex = z.string().regex(/^[0-9a-f]{64}$/)
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const journalHeader = z.object({
  session: z.string().max(64),
  number: count,
  first: count.min(1),
  previous: hex,
  needs: z.array(z.enum(features)).length(1).optional(),
})
const segmentHeader = journalHeader.extend({
  count: count.min(1),
  head: hex,
  raw: count.max(maxRawBytes),
  codec: z.enum(codecs),
  digest: hex,
  nonce: z
    .string()
    .regex(/^[0-9a-f]{24}$/)
    .optional(),
})

/** A file whose first two lines are not those of this version. */
export class BadFileHead extends Error {
  readonly reason: 'foreign' | 'newer' | 'damaged' | 'short'
  constructor(reason: BadFileHead['reason']) {
    super(`the file's head is ${reason}`)
    this.reason = reason
  }
}

export type FileHead =
  | { readonly kind: 'journal'; readonly header: JournalHeader; readonly bytes: number }
  | { readonly kind: 'segment'; readonly header: SegmentHeader; readonly bytes: number }

/** Reads the first two lines of a file from its first bytes. @throws BadFileHead */
export function parseFileHead(kind: FileKind, start: Buffer): FileHead {
  const first = start.indexOf(10)
  const expected = `agentgate-${kind} `
  if (first < 0 || first > 64) {
    const so = start.toString('latin1')
    const line = `${expected}${formatVersion}\n`
    throw new BadFileHead(start.length < line.length && line.startsWith(so) ? 'short' : 'foreign')
  }
  const title = start.toString('latin1', 0, first)
  if (!title.startsWith(expected)) throw new BadFileHead('foreign')
  const version = title.slice(expected.length)
  if (version !== String(formatVersion)) throw new BadFileHead(/^[1-9][0-9]{0,5}$/.test(version) ? 'newer' : 'foreign')
  const second = start.indexOf(10, first + 1)
  if (second < 0 || second > maxFileHeadBytes)
    throw new BadFileHead(start.length < maxFileHeadBytes ? 'short' : 'damaged')
  const line = start.subarray(first + 1, second)
  const json = parseJson(line)
  // A feature that changes how the rest is read names itself here, so that it is not read wrongly.
  if (typeof json === 'object' && json !== null && 'needs' in json && !needsKnown(json.needs))
    throw new BadFileHead('newer')
  // Exactly the canonical form, so that no two files say the same.
  if (json === undefined || !line.equals(canonical(json))) throw new BadFileHead('damaged')
  const bytes = second + 1
  if (kind === 'journal') {
    const header = journalHeader.safeParse(json)
    if (!header.success) throw new BadFileHead('damaged')
    return { kind, header: header.data, bytes }
  }
  const header = segmentHeader.safeParse(json)
  if (!header.success) throw new BadFileHead('damaged')
  return { kind, header: header.data, bytes }
}

function needsKnown(needs: unknown): boolean {
  return Array.isArray(needs) && needs.length === 1 && needs[0] === features[0]
}

function canonical(json: unknown): Buffer {
  try {
    return Buffer.from(canonicalJson(json))
  } catch {
    return Buffer.alloc(0)
  }
}
