import { createHash } from 'node:crypto'
import { canonicalJson } from './canonical-json.ts'

// docs/recording-format.md says all of this byte by byte; whoever changes a number here writes a new version there.

export const formatVersion = 1

/** Length and head length before a record's head. */
export const recordPrefixBytes = 8
/** First bytes of the chain value that close a record: they find a torn or altered record where it stands. */
export const checkBytes = 8
/** What a record's length field may say. */
export const maxRecordBytes = 64 * 1024 * 1024
/** No file is begun larger than this by whoever writes. */
export const maxSegmentBytes = 16 * 1024 * 1024
/** What the records of one journal or segment may come to: a segment's size, a batch, and one record of the greatest size. */
export const maxRawBytes = maxRecordBytes + 32 * 1024 * 1024
/** First line and header line of a journal or segment. */
export const maxFileHeadBytes = 4096

/** `age`: the records are encrypted, with a key that age recipients can open. */
export const features = ['age'] as const
export type Feature = (typeof features)[number]

export type FileKind = 'journal' | 'segment'

/** What stands in clear before the records of a journal: enough to check that it follows from the file before. */
export interface JournalHeader {
  readonly session: string
  /** Counts from 1, across journals and the segments they become. */
  readonly number: number
  /** Sequence number of the first record. */
  readonly first: number
  /** Chain value before the first record, in hexadecimal digits. */
  readonly previous: string
  /** Features without which the rest would be read wrongly. */
  readonly needs?: readonly Feature[] | undefined
}

export const codecs = ['zstd', 'brotli'] as const
export type Codec = (typeof codecs)[number]

export interface SegmentHeader extends JournalHeader {
  readonly count: number
  /** Chain value after the last record. */
  readonly head: string
  /** Bytes of the records before compression. */
  readonly raw: number
  readonly codec: Codec
  /** SHA-256 of the payload, in hexadecimal digits. */
  readonly digest: string
  /** Where the payload is encrypted, in hexadecimal digits. */
  readonly nonce?: string | undefined
  /** Bytes of an incomplete record after the last, dropped when a crashed session was sealed. */
  readonly torn?: number
}

export function fileName(kind: FileKind, number: number): string {
  return `${String(number).padStart(6, '0')}.${kind}`
}

/** The number and kind that a file's name says, or undefined where it is none of ours. */
export function parseFileName(name: string): { readonly kind: FileKind; readonly number: number } | undefined {
  const match = /^([0-9]{6,9})\.(journal|segment)$/.exec(name)
  if (!match?.[1]) return undefined
  const number = Number(match[1])
  const kind = match[2] === 'journal' ? 'journal' : 'segment'
  return number >= 1 && fileName(kind, number) === name ? { kind, number } : undefined
}

/** The first two lines of a file: what it is, and its header as canonical JSON. */
export function fileHead(kind: FileKind, header: JournalHeader | SegmentHeader): Buffer {
  return Buffer.from(`agentgate-${kind} ${formatVersion}\n${canonicalJson(header)}\n`)
}

/** The chain value before a session's first event: it binds the chain to the session. */
export function genesis(session: string): Buffer {
  return createHash('sha256').update(`agentgate recording ${formatVersion}\n${session}\n`).digest()
}
