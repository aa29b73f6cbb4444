import fc from 'fast-check'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { appendReceipt, parseReceipts } from '../../src/recording/witness/receipts-file.ts'
import { receiptHolds, signCertificate, signReceipt } from '../../src/recording/witness/receipt.ts'
import { recordStatement, sampleRecorder, sampleStart, temporaryFolder } from './sample.ts'

const runs = process.env['SLOW'] === '1' ? 5000 : 300

describe('receipts of whatever origin', () => {
  it('are parsed or counted as damaged, whatever the bytes are', () => {
    const broker = newSessionKey()
    const good = signReceipt({ session: 's_1', sequence: 1, head: '0'.repeat(64), final: false, at: 1 }, broker)
    const line = Buffer.from(`${JSON.stringify(good)}\n`)
    const piece = fc.oneof(
      fc.constant(line),
      fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes)),
      fc.json().map(text => Buffer.from(`${text}\n`)),
      fc.constant(Buffer.from(`${'['.repeat(4000)}\n`)),
      fc.nat(line.length).map(length => line.subarray(0, length)),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), pieces => {
        const { receipts, damaged } = parseReceipts(Buffer.concat(pieces))
        expect(damaged).toBeGreaterThanOrEqual(0)
        for (const receipt of receipts) expect(() => receiptHolds(receipt)).not.toThrow()
      }),
      { numRuns: runs },
    )
  })

  it('never make an altered recording whole, nor prove more than the broker signed', async () => {
    using folder = temporaryFolder()
    const [broker, own] = [newSessionKey(), newSessionKey()]
    const start = sampleStart()
    const { session } = start
    const at = Date.now()
    const certificate = signCertificate(
      { session, recordingKey: own.publicKey, principal: 'maria', actor: 'claude', host: 'laptop', at },
      broker,
    )
    const recorder = sampleRecorder(folder.path, { start, key: own, certificate })
    recordStatement(recorder, 'select 1', Buffer.from('row'))
    await recorder.close('done', 0)
    const end = recorder.head()
    await appendReceipt(recorder.path, signReceipt({ session, ...end, final: true, at: at + 1 }, broker))
    const file = path.join(recorder.path, 'receipts.jsonl')
    const receipts = fs.readFileSync(file)
    const trust = { keys: [broker.publicKey], receipts: [], required: true }
    const verified = async () => await verifyRecording(recorder.path, at + 3_600_000, trust)
    expect(await verified()).toMatchObject({ result: 'whole', witness: { complete: true, trusted: true } })
    await fc.assert(
      fc.asyncProperty(fc.nat(receipts.length - 2), fc.integer({ min: 1, max: 255 }), async (index, mask) => {
        const bytes = Buffer.from(receipts)
        bytes[index] = (bytes[index] ?? 0) ^ mask
        fs.writeFileSync(file, bytes)
        const { result, witness } = await verified()
        // What is left unsigned proves nothing: altered, or whole and not witnessed to its end.
        if (result === 'whole') expect(witness?.complete).toBe(false)
        else expect(result).toBe('altered')
      }),
      { numRuns: Math.min(runs, 500) },
    )
    fs.writeFileSync(file, receipts)
    const segment = path.join(recorder.path, '000001.segment')
    const sealed = fs.readFileSync(segment)
    sealed[sealed.length - 3] = (sealed[sealed.length - 3] ?? 0) ^ 1
    fs.writeFileSync(segment, sealed)
    expect((await verified()).result).toBe('altered')
  }, 60_000)
})
