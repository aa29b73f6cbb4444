import { createHash, hash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { AgentgateError, hasErrno } from '../errors.ts'
import { ownCodec } from './compress.ts'
import { ContentKey } from './encryption/content-key.ts'
import { parseFileHead } from './file-head.ts'
import { fileHead, fileName, maxFileHeadBytes, maxRawBytes, type JournalHeader, type SegmentHeader } from './format.ts'
import { RecordCutter } from './record-cutter.ts'
import { writeWhole } from './whole-file.ts'

/** A segment as the manifest lists it. */
export interface SegmentEntry {
  readonly number: number
  readonly first: number
  readonly count: number
  readonly head: string
  readonly raw: number
  /** Size and SHA-256 (hexadecimal digits) of the whole file. */
  readonly bytes: number
  readonly sha256: string
}

export interface SealJob {
  readonly folder: string
  readonly number: number
  readonly fsync: boolean
  /** A crashed session's last journal may end in an incomplete record, which is dropped. */
  readonly torn: 'refused' | 'dropped'
  /** The secret of its content, where it is encrypted. */
  readonly key?: Uint8Array | undefined
}

export interface Sealed {
  /** null: there was no complete record in the journal. */
  readonly segment: SegmentEntry | null
  /** Bytes of an incomplete record that were dropped. */
  readonly torn: number
}

/**
 * Makes a segment of a journal that nobody writes any more, then removes the journal. Until the segment is there whole
 * the journal stays; done again after a crash it comes to the same end.
 */
export async function seal(job: SealJob, compress: (raw: Buffer) => Buffer | Promise<Buffer>): Promise<Sealed> {
  const { folder, number } = job
  const segmentFile = path.join(folder, fileName('segment', number))
  const journalFile = path.join(folder, fileName('journal', number))
  const { size } = await fs.stat(journalFile)
  if (size > maxRawBytes + maxFileHeadBytes) throw new AgentgateError('RECORDING_FAILED', `${journalFile} is too large`)
  const bytes = await fs.readFile(journalFile)
  const { header, bytes: headBytes } = parseFileHead('journal', bytes)
  const key = header.needs === undefined ? undefined : keyOf(header.session, job, journalFile)
  const stored = bytes.subarray(headBytes)
  const raw = key === undefined ? stored : key.journalDecipher(number).update(stored)
  const cutter = new RecordCutter(header.first, Buffer.from(header.previous, 'hex'))
  cutter.push(raw)
  while (cutter.next() !== undefined);
  const torn = cutter.left
  if (torn > 0 && job.torn === 'refused')
    throw new AgentgateError('RECORDING_FAILED', `${journalFile} ends in the middle of an event`)
  const count = cutter.sequence - header.first + 1
  let segment: SegmentEntry | null = null
  const head = cutter.chain.toString('hex')
  if (count > 0) segment = await existing(segmentFile, { ...header, count, head })
  if (count > 0 && segment === null) {
    const kept = raw.subarray(0, raw.length - torn)
    const compressed = await compress(kept)
    const encrypted = key?.sealPayload(header, compressed)
    const payload = encrypted?.payload ?? compressed
    const segmentHeader: SegmentHeader = {
      session: header.session,
      number,
      first: header.first,
      previous: header.previous,
      count,
      head,
      raw: kept.length,
      codec: ownCodec,
      digest: hash('sha256', payload),
      needs: header.needs,
      nonce: encrypted?.nonce,
    }
    const start = fileHead('segment', segmentHeader)
    await writeWhole(segmentFile, [start, payload], job.fsync)
    segment = {
      number,
      first: header.first,
      count,
      head,
      raw: kept.length,
      bytes: start.length + payload.length,
      sha256: createHash('sha256').update(start).update(payload).digest('hex'),
    }
  }
  try {
    await fs.unlink(journalFile)
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error // another one that recovers has been faster
  }
  return { segment, torn }
}

function keyOf(session: string, { key }: SealJob, file: string): ContentKey {
  if (key === undefined) throw new AgentgateError('RECORDING_FAILED', `${file} is encrypted, and its key is not here`)
  return new ContentKey(session, key)
}

/** A segment that was sealed just before a crash: it stays as it is, as a copy of it may be elsewhere already. */
async function existing(
  file: string,
  journal: JournalHeader & { readonly count: number; readonly head: string },
): Promise<SegmentEntry | null> {
  try {
    const bytes = await fs.readFile(file)
    const start = parseFileHead('segment', bytes)
    if (start.kind !== 'segment') return null
    const { header } = start
    const same = (['session', 'number', 'first', 'previous', 'count', 'head'] as const).every(
      name => header[name] === journal[name],
    )
    if (!same || hash('sha256', bytes.subarray(start.bytes)) !== header.digest) return null
    const { number, first, count, head, raw } = header
    return { number, first, count, head, raw, bytes: bytes.length, sha256: hash('sha256', bytes) }
  } catch {
    return null // none, or none that can be read: it is made again from the journal
  }
}
