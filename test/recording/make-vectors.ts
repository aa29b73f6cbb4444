// Writes test/recording/vectors/, from which someone else's reader can be tested (docs/recording-format.md):
//   npx esbuild test/recording/make-vectors.ts --bundle --platform=node --format=esm --outfile=/tmp/make-vectors.mjs
//   node /tmp/make-vectors.mjs test/recording/vectors
// On Node.js ≥ 22.15, for segments in zstd; then on 20, which adds one in brotli. What it writes depends on the compressor's
// version, and on nothing else.
import crypto, { createPrivateKey, createPublicKey } from 'node:crypto'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import zlib from 'node:zlib'
import type { SessionId } from '../../src/ids.ts'
import { recover } from '../../src/recording/recover.ts'
import type { Recorder } from '../../src/recording/recorder.ts'
import type { SessionKey } from '../../src/recording/session-key.ts'
import { verifyRecording } from '../../src/recording/verify.ts'

let clock = Date.UTC(2026, 10, 21, 14, 7, 12)
Date.now = () => (clock += 250)
let random = 1
crypto.randomBytes = (size: number) => Buffer.alloc(size, random++)
syncBuiltinESMExports()

// After the clock and randomness have been fixed.
const { c1, recordStatement, sampleAction, sampleRecorder, sampleStart } = await import('./sample.ts')

const target = process.argv[2] ?? ''
const session = 's_VECTOR0001' as SessionId
const seed = Buffer.alloc(32, 7)
// RFC 8410 §7: the seed after the fixed start of a PKCS #8 Ed25519 key.
const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
  format: 'der',
  type: 'pkcs8',
})
const key: SessionKey = {
  publicKey: Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url').toString('base64'),
  sign: bytes => crypto.sign(null, bytes, privateKey).toString('base64'),
}

type Files = Map<string, Buffer>

async function record(
  fill: (recorder: Recorder) => void,
  options: Parameters<typeof sampleRecorder>[1] = {},
): Promise<Files> {
  const folder = fs.mkdtempSync('/tmp/vector-')
  const recorder = sampleRecorder(folder, { start: sampleStart(session), ...options })
  fill(recorder)
  await recorder.close('client went away', 0)
  const files = read(recorder.path)
  fs.rmSync(folder, { recursive: true })
  return files
}

/** What a process that was killed leaves. */
function crashed(fill: (recorder: Recorder) => void): Files {
  const folder = fs.mkdtempSync('/tmp/vector-')
  const recorder = sampleRecorder(folder, { start: sampleStart(session) })
  fill(recorder)
  recorder.commit()
  const files = read(recorder.path)
  fs.rmSync(folder, { recursive: true })
  files.delete('owner.json')
  return files
}

function read(folder: string): Files {
  return new Map(fs.readdirSync(folder).map(name => [name, fs.readFileSync(path.join(folder, name))]))
}

function statements(recorder: Recorder): void {
  recorder.append({ kind: 'connection', connection: c1, resource: 'db-prod', peer: '127.0.0.1:50432' })
  recorder.append({ kind: 'client', connection: c1, process: { pid: 4411, program: 'psql', ancestry: ['bash'] } })
  recordStatement(
    recorder,
    'select id from orders',
    Buffer.from('D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0', 'latin1'),
  )
  recorder.commit()
  recorder.append(
    sampleAction('delete from orders', {
      outcome: 'denied',
      rule: { name: 'no unbounded writes', place: 'agentgate.yaml:41' },
      message: 'a DELETE needs a WHERE',
    }),
  )
  recorder.commit()
}

const flip = (bytes: Buffer, position: number) => {
  const copy = Buffer.from(bytes)
  copy[position] = (copy[position] ?? 0) ^ 1
  return copy
}
const get = (files: Files, name: string) => files.get(name) ?? Buffer.alloc(0)
const without = (files: Files, ...names: string[]) => new Map([...files].filter(([name]) => !names.includes(name)))
const withFile = (files: Files, name: string, bytes: Buffer) => new Map(files).set(name, bytes)
const replaced = (bytes: Buffer, from: string, to: string) =>
  Buffer.from(bytes.toString('latin1').replace(from, to), 'latin1')

/** The segment with one of its records altered, and all that does not need the chain put right again. */
function forgedRecord(segment: Buffer): Buffer {
  const end = segment.indexOf(10, segment.indexOf(10) + 1) + 1
  const lines = segment.toString('utf8', 0, end).split('\n')
  const header = JSON.parse(lines[1] ?? '') as Record<string, unknown>
  const raw = replaced(unpack(header, segment.subarray(end)), 'select id from orders', 'select no from orders')
  const payload = zlib.brotliCompressSync(raw)
  const digest = crypto.hash('sha256', payload)
  const changed = JSON.stringify({ ...header, codec: 'brotli', digest }, Object.keys(header).sort())
  return Buffer.concat([Buffer.from(`${lines[0]}\n${changed}\n`), payload])
}

function unpack(header: Record<string, unknown>, payload: Buffer): Buffer {
  return header['codec'] === 'brotli'
    ? zlib.brotliDecompressSync(payload)
    : (zlib as unknown as { zstdDecompressSync(bytes: Buffer): Buffer }).zstdDecompressSync(payload)
}

async function recovered(files: Files): Promise<Files> {
  const folder = fs.mkdtempSync('/tmp/vector-')
  const inner = path.join(folder, session)
  write(inner, files)
  await recover(folder, Date.now() + 1e12)
  const result = read(inner)
  fs.rmSync(folder, { recursive: true })
  return result
}

function write(folder: string, files: Files): void {
  fs.mkdirSync(folder, { recursive: true })
  for (const [name, bytes] of files) fs.writeFileSync(path.join(folder, name), bytes)
}

const whole = await record(statements)
const several = await record(statements, { limits: { segmentBytes: 900 } })
const signed = await record(statements, { key })
const journal = crashed(statements)
const half = withFile(journal, '000001.journal', get(journal, '000001.journal').subarray(0, -20))
const first = get(several, '000001.segment')
const journalBytes = get(journal, '000001.journal')

const hasZstd = 'zstdCompressSync' in zlib
const vectors: Record<string, Files> = !hasZstd
  ? { 'whole-brotli': whole }
  : {
      whole,
      'whole-several-segments': several,
      'whole-signed': signed,
      'whole-result-cut': await record(statements, { limits: { keepResultBytes: 5 } }),
      'unfinished-journal': journal,
      'unfinished-torn': half,
      'unfinished-recovered': await recovered(half),
      'unfinished-no-manifest': without(whole, 'manifest.json'),
      'altered-event': withFile(several, '000001.segment', forgedRecord(first)),
      'altered-journal': withFile(journal, '000001.journal', flip(journalBytes, journalBytes.indexOf('select id') + 7)),
      'altered-payload': withFile(
        whole,
        '000001.segment',
        flip(get(whole, '000001.segment'), get(whole, '000001.segment').length - 1),
      ),
      'altered-header': withFile(several, '000001.segment', replaced(first, '"count":', '"count": ')),
      'altered-swapped': withFile(
        withFile(several, '000001.segment', get(several, '000002.segment')),
        '000002.segment',
        first,
      ),
      'altered-manifest': withFile(
        signed,
        'manifest.json',
        replaced(get(signed, 'manifest.json'), '"denied":1', '"denied":0'),
      ),
      'missing-middle': without(several, '000002.segment'),
      'missing-tail': without(
        several,
        [...several.keys()]
          .filter(name => name.endsWith('.segment'))
          .sort()
          .at(-1) ?? '',
      ),
      'missing-first': without(several, '000001.segment'),
      'foreign-segment': withFile(several, '000001.segment', Buffer.from('PK\x03\x04 not ours')),
      'newer-segment': withFile(
        several,
        '000001.segment',
        replaced(first, 'agentgate-segment 1', 'agentgate-segment 2'),
      ),
      'newer-needs': withFile(
        several,
        '000001.segment',
        replaced(first, '"number":', '"needs":["encryption"],"number":'),
      ),
      empty: new Map(),
    }

if (hasZstd) fs.rmSync(target, { recursive: true, force: true })
fs.mkdirSync(target, { recursive: true })
fs.writeFileSync(path.join(target, '.gitattributes'), '* -text\n')
for (const [name, files] of Object.entries(vectors)) {
  const folder = path.join(target, name)
  const inner = path.join(folder, session)
  write(inner, files)
  if (files.size === 0) fs.writeFileSync(path.join(inner, '.keep'), '')
  const { result, events, head, torn, signedBy, problems } = await verifyRecording(inner, Date.now() + 1e12)
  const expected = {
    result,
    events,
    head,
    torn,
    signedBy,
    problems: problems.map(({ kind, place, number, sequence }) => ({ kind, place, number, sequence })),
  }
  fs.writeFileSync(path.join(folder, 'expect.json'), `${JSON.stringify(expected, null, 2)}\n`)
  console.log(name.padEnd(24), result, problems.map(({ text }) => text).join('; '))
}
