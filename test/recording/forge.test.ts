import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { decompress } from '../../src/recording/compress.ts'
import { parseFileHead } from '../../src/recording/file-head.ts'
import { fileHead, fileName, genesis } from '../../src/recording/format.ts'
import { manifestName, readManifest, writeManifest } from '../../src/recording/manifest.ts'
import { RecordCutter, type ChainedRecord } from '../../src/recording/record-cutter.ts'
import { recover } from '../../src/recording/recover.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { recordStatement, sampleRecorder, temporaryFolder } from './sample.ts'

// Someone who can write to the folder and knows the format: chain, hashes, headers and manifest are all made anew, and fit.
// What they do not have is the session's key.

const later = () => Date.now() + 3_600_000

type Part = Pick<ChainedRecord, 'head' | 'body'>

function partsOf(folder: string): Part[] {
  const bytes = fs.readFileSync(path.join(folder, fileName('segment', 1)))
  const start = parseFileHead('segment', bytes)
  if (start.kind !== 'segment') throw new Error('no segment')
  const { header } = start
  const cutter = new RecordCutter(1, Buffer.from(header.previous, 'hex'))
  cutter.push(decompress(header.codec, bytes.subarray(start.bytes), header.raw))
  const parts: Part[] = []
  for (let record = cutter.next(); record !== undefined; record = cutter.next())
    parts.push({ head: Buffer.from(record.head), body: Buffer.from(record.body) })
  return parts
}

/** docs/recording-format.md, "Record" and "The chain". */
function journalOf(session: string, parts: readonly Part[]): Buffer {
  let chain = genesis(session)
  const header = { session, number: 1, first: 1, previous: chain.toString('hex') }
  const records = parts.map(({ head, body }) => {
    const start = Buffer.alloc(8)
    start.writeUInt32BE(4 + head.length + body.length + 8, 0)
    start.writeUInt32BE(head.length, 4)
    const record = Buffer.concat([start, head, body])
    chain = createHash('sha256').update(record).update(chain).digest()
    return Buffer.concat([record, chain.subarray(0, 8)])
  })
  return Buffer.concat([fileHead('journal', header), ...records])
}

/** Each way to change one place of a recording, at each place but its first event, which has the key. */
function* changes(parts: readonly Part[]): Generator<readonly [name: string, changed: Part[]]> {
  for (let at = 1; at < parts.length; at++) {
    const [part, next] = [parts[at], parts[at + 1]]
    if (part === undefined) continue
    yield [`event ${at + 1} dropped`, parts.toSpliced(at, 1)]
    yield [`event ${at + 1} twice`, parts.toSpliced(at, 0, part)]
    if (next !== undefined) yield [`events ${at + 1} and ${at + 2} swapped`, parts.toSpliced(at, 2, next, part)]
    yield [`all after event ${at} cut off`, parts.slice(0, at)]
    const text = part.head.toString().replace(/(?<="at":\d+)\d(?=,)/, last => String((Number(last) + 1) % 10))
    const head = Buffer.from(text)
    yield [`event ${at + 1} at another time`, parts.toSpliced(at, 1, { ...part, head })]
    if (part.body.length > 0)
      yield [`another result in event ${at + 1}`, parts.toSpliced(at, 1, { ...part, body: Buffer.from('forged') })]
  }
}

describe('a recording made anew by someone without its key', () => {
  it('is never whole, whatever was changed and wherever', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { key: newSessionKey() })
    for (let count = 1; count <= 3; count++) recordStatement(recorder, `select ${count}`, Buffer.from(`row ${count}`))
    await recorder.close('done', 0)
    const session = path.basename(recorder.path)
    const parts = partsOf(recorder.path)
    expect(parts).toHaveLength(11)
    expect(await verifyRecording(recorder.path, later())).toMatchObject({ result: 'whole' })

    let tried = 0
    for (const [name, changed] of changes(parts)) {
      using place = temporaryFolder()
      const forged = path.join(place.path, session)
      fs.mkdirSync(forged)
      fs.writeFileSync(path.join(forged, fileName('journal', 1)), journalOf(session, changed))
      // As a crashed session, which is the one way to have none of the session's key in the manifest.
      await recover(place.path, later())
      const asCrashed = await verifyRecording(forged, later())
      expect([name, asCrashed.result]).not.toEqual([name, 'whole'])
      const read = await readManifest(forged)
      if (read.kind !== 'read') continue
      for (const key of [null, newSessionKey()]) {
        fs.rmSync(path.join(forged, manifestName))
        await writeManifest(forged, { ...read.manifest, state: 'closed' }, key, false)
        const { result } = await verifyRecording(forged, later())
        expect([name, result]).toEqual([name, 'altered'])
      }
      // The manifest of the true one beside them.
      fs.copyFileSync(path.join(recorder.path, manifestName), path.join(forged, manifestName))
      expect([name, (await verifyRecording(forged, later())).result]).toEqual([name, 'altered'])
      tried += 1
    }
    expect(tried).toBeGreaterThan(40)
  })
})
