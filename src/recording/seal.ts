import { createHash, hash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { AgentgateError, hasErrno } from '../errors.ts'
import { ownCodec } from './compress.ts'
import { parseFileHead } from './file-head.ts'
import { fileHead, fileName, maxFileHeadBytes, maxRawBytes, type SegmentHeader } from './format.ts'
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
  const raw = bytes.subarray(headBytes)
  const cutter = new RecordCutter(header.first, Buffer.from(header.previous, 'hex'))
  cutter.push(raw)
  while (cutter.next() !== undefined);
  const torn = cutter.left
  if (torn > 0 && job.torn === 'refused')
    throw new AgentgateError('RECORDING_FAILED', `${journalFile} ends in the middle of an event`)
  const count = cutter.sequence - header.first + 1
  let segment: SegmentEntry | null = null
  if (count > 0) {
    const kept = raw.subarray(0, raw.length - torn)
    const payload = await compress(kept)
    const segmentHeader: SegmentHeader = {
      session: header.session,
      number,
      first: header.first,
      previous: header.previous,
      count,
      head: cutter.chain.toString('hex'),
      raw: kept.length,
      codec: ownCodec,
      digest: hash('sha256', payload),
    }
    const head = fileHead('segment', segmentHeader)
    await writeWhole(segmentFile, [head, payload], job.fsync)
    segment = {
      number,
      first: header.first,
      count,
      head: segmentHeader.head,
      raw: kept.length,
      bytes: head.length + payload.length,
      sha256: createHash('sha256').update(head).update(payload).digest('hex'),
    }
  }
  try {
    await fs.unlink(journalFile)
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error // another one that recovers has been faster
  }
  return { segment, torn }
}
