// Writes the vectors that need keys of their own: witnessed and encrypted ones. As make-vectors.ts, but what it writes differs each time:
//   npx esbuild test/recording/make-witnessed-vectors.ts --bundle --platform=node --format=esm --outfile=/tmp/make.mjs
//   node /tmp/make.mjs test/recording/vectors
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import type { SessionId } from '../../src/ids.ts'
import { newContentKey } from '../../src/recording/encryption/content-key.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { signCertificate, signReceipt, type Receipt } from '../../src/recording/witness/receipt.ts'
import { recordStatement, sampleRecorder, sampleStart } from './sample.ts'

const target = process.argv[2] ?? ''
const session = 's_VECTOR0001' as SessionId
const broker = newSessionKey()
const key = newSessionKey()
const identity = await generateIdentity()
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'vector-'))
const content = { session, recordingKey: key.publicKey, principal: 'maria', actor: 'claude', host: 'laptop' }
const certificate = signCertificate({ ...content, at: Date.now() }, broker)

/** A recording of four statements in several parts, with the receipts of its witness. */
async function record(encrypted: boolean): Promise<{ readonly folder: string; readonly receipts: readonly Receipt[] }> {
  const root = fs.mkdtempSync(path.join(scratch, 'recording-'))
  const encryption = encrypted
    ? {
        ...(await newContentKey(session, [await identityToRecipient(identity)])),
        liveKeyFile: path.join(root, 'live', 'key'),
      }
    : undefined
  const recorder = sampleRecorder(root, { start: sampleStart(session), key, certificate, encryption })
  const receipts: Receipt[] = []
  const receipt = (final: boolean) =>
    receipts.push(
      signReceipt({ session, ...(final ? recorder.head() : recorder.boundary()), final, at: Date.now() }, broker),
    )
  for (let count = 1; count <= 4; count++) {
    recordStatement(recorder, `select ${count}`, Buffer.from(`row ${count}`))
    receipt(false)
  }
  await recorder.close('done', 0)
  receipt(true)
  return { folder: recorder.path, receipts }
}

async function write(
  name: string,
  folder: string,
  receipts: readonly object[],
  beside: Readonly<Record<string, string>>,
): Promise<void> {
  const at = path.join(target, name, session)
  fs.rmSync(path.dirname(at), { recursive: true, force: true })
  fs.cpSync(folder, at, { recursive: true })
  fs.writeFileSync(path.join(at, 'receipts.jsonl'), receipts.map(each => `${JSON.stringify(each)}\n`).join(''))
  for (const [file, text] of Object.entries(beside)) fs.writeFileSync(path.join(path.dirname(at), file), text)
  const { result, events, head, torn, signedBy, problems } = await verifyRecording(at, Date.now() + 1e12)
  const found = problems.map(({ kind, place, number, sequence }) => ({ kind, place, number, sequence }))
  const expected = { result, events, head, torn, signedBy, problems: found }
  fs.writeFileSync(path.join(path.dirname(at), 'expect.json'), `${JSON.stringify(expected, undefined, 2)}\n`)
}

const plain = await record(false)
const keys = { 'broker-key.txt': `${broker.publicKey}\n` }
const [first, second] = plain.receipts
await write('whole-witnessed', plain.folder, plain.receipts, keys)
const encrypted = await record(true)
await write('whole-encrypted', encrypted.folder, encrypted.receipts, { ...keys, 'identity.txt': `${identity}\n` })
const other = signReceipt({ ...first!, session: 's_VECTOR0002' }, broker)
await write('altered-receipt-of-another', plain.folder, [...plain.receipts, other], keys)
await write('altered-receipt-forged', plain.folder, [{ ...second!, at: second!.at + 1 }], keys)
const beyond = signReceipt({ ...first!, sequence: 1000, at: Date.now() }, broker)
await write('altered-cut-after-receipt', plain.folder, [first!, beyond], keys)
const differs = signReceipt({ ...second!, head: first!.head }, broker)
await write('altered-since-receipt', plain.folder, [first!, differs], keys)
fs.rmSync(scratch, { recursive: true })
