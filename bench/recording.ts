/**
 * What recording costs, without a network: `npm run build && node bench/run.js recording`. Beside each number stands what the
 * machine itself takes for the bare minimum, the same bytes handed to the operating system.
 */
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { newSessionId, connectionId, type PolicyDigest } from '../src/ids.ts'
import { ContentKey, newContentKey } from '../src/recording/encryption/content-key.ts'
import type { RecordedEvent } from '../src/recording/event.ts'
import { parseManifest } from '../src/recording/manifest.ts'
import { openRecorder, type Recorder, type RecorderLimits } from '../src/recording/recorder.ts'
import { readRecording } from '../src/recording/reader.ts'
import { searchRecording } from '../src/recording/search.ts'
import { WorkerSealer } from '../src/recording/sealer.ts'
import { verifyRecording } from '../src/recording/verify.ts'
import { keepResult, median, quantile } from './result.ts'

const rounds = Number(process.argv[2] ?? 5)
const statements = 100_000
const bulkBytes = 512 * 1024 * 1024
const recipient = await identityToRecipient(await generateIdentity())
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'agentgate-bench-'))
const workerFile = path.resolve('dist/seal-worker.js')
if (!fs.existsSync(workerFile)) throw new Error('no bundle: run npm run build first')

const c1 = connectionId(1)
const rowOf = (id: number) =>
  `${id}\t${(id * 7919) % 100003}\tuser${(id * 31337) % 100003}@example.com\t${(id * 17) % 1000}.${id % 10}5\t2026-11-0${(id % 9) + 1} 12:3${id % 10}:56+00\tshipped\n`

let encrypted: { readonly key: ContentKey; readonly wrapped: Buffer } | null = null

function open(limits: Partial<RecorderLimits> = {}): { recorder: Recorder; sealer: WorkerSealer } {
  const sealer = new WorkerSealer(pathToFileURL(workerFile))
  const session = newSessionId()
  const recorder = openRecorder({
    folder,
    limits,
    encryption:
      encrypted === null
        ? undefined
        : {
            key: new ContentKey(session, encrypted.key.secret),
            wrapped: encrypted.wrapped,
            liveKeyFile: path.join(folder, 'live', `${session}.key`),
          },
    sealer,
    onWarning: text => {
      throw new Error(text)
    },
    start: {
      kind: 'session-start',
      session,
      subject: {
        principal: { name: 'bench', groups: [], source: 'os-user' },
        actor: null,
        confined: false,
        purpose: null,
        ticket: null,
      },
      resources: [{ name: 'db', kind: 'postgres', scope: 'read', address: '127.0.0.1:5432' }],
      policyDigest: `sha256:${'00'.repeat(32)}` as PolicyDigest,
      placement: 'local',
      command: ['bench'],
      host: 'bench',
      version: '0',
    },
  })
  return { recorder, sealer }
}

interface Closed {
  readonly raw: number
  readonly disk: number
  readonly path: string
}

async function close({ recorder, sealer }: ReturnType<typeof open>): Promise<Closed> {
  await recorder.close('done', 0)
  await sealer.close()
  const read = parseManifest(fs.readFileSync(path.join(recorder.path, 'manifest.json')))
  if (read.kind !== 'read') throw new Error('no manifest')
  const sum = (key: 'raw' | 'bytes') => read.manifest.segments.reduce((total, segment) => total + segment[key], 0)
  return { raw: sum('raw'), disk: sum('bytes'), path: recorder.path }
}

function actionOf(id: number): RecordedEvent {
  return {
    kind: 'action',
    connection: c1,
    resource: 'db',
    view: {
      kind: 'postgres',
      summary: 'SELECT pgbench_accounts',
      text: `SELECT abalance FROM pgbench_accounts WHERE aid = ${(id * 7919) % 100003};`,
      effect: 'read',
      verbs: ['select'],
      reads: ['public.pgbench_accounts'],
      writes: [],
      attributes: { where: 'present', functions: [] },
    },
    decision: { outcome: 'allowed', rule: null },
  }
}

/** One simple statement with one row, as the tunnel records it; microseconds of each. */
async function statementCost(
  fsync: RecorderLimits['fsync'],
  count: number,
): Promise<{ us: Float64Array; closed: Closed }> {
  const session = open({ fsync })
  const { recorder } = session
  const us = new Float64Array(count)
  const row = Buffer.from('D\0\0\0\x1f\0\x01\0\0\0\x15the balance is 184101C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I', 'latin1')
  for (let id = 0; id < count; id++) {
    const began = process.hrtime.bigint()
    const action = recorder.append(actionOf(id))
    recorder.commit()
    void recorder.result({ kind: 'result', connection: c1, action, bytes: row })
    recorder.append({
      kind: 'outcome',
      connection: c1,
      action,
      status: 'ok',
      tag: 'SELECT 1',
      rows: 1,
      milliseconds: 0.4,
      masked: [],
    })
    us[id] = Number(process.hrtime.bigint() - began) / 1000
    // As a server does: whatever else there is to do comes in between.
    if (id % 64 === 0) await new Promise(setImmediate)
  }
  return { us, closed: await close(session) }
}

/** The same number of writes of the same size, and nothing else. */
function writeFloor(bytes: number): number {
  const file = path.join(folder, 'floor')
  const descriptor = fs.openSync(file, 'w')
  const buffer = Buffer.alloc(bytes, 'x')
  const us = new Float64Array(statements)
  for (let id = 0; id < statements; id++) {
    const began = process.hrtime.bigint()
    fs.writeSync(descriptor, buffer)
    us[id] = Number(process.hrtime.bigint() - began) / 1000
  }
  fs.closeSync(descriptor)
  fs.rmSync(file)
  return quantile([...us], 0.5)
}

let chunks: readonly Buffer[] = []

async function bulk(keepResultBytes: number): Promise<{ mbps: number; rss: number; closed: Closed }> {
  const session = open({ keepResultBytes })
  const { recorder } = session
  const action = recorder.append(actionOf(1))
  const before = process.memoryUsage.rss()
  let peak = before
  const began = performance.now()
  for (let sent = 0, next = 0; sent < bulkBytes; next = (next + 1) % chunks.length) {
    const bytes = chunks[next] ?? Buffer.alloc(0)
    await recorder.result({ kind: 'result', connection: c1, action, bytes })
    sent += bytes.length
    if (next === 0) peak = Math.max(peak, process.memoryUsage.rss())
  }
  const seconds = (performance.now() - began) / 1000
  return { mbps: bulkBytes / 1e6 / seconds, rss: (peak - before) / 1e6, closed: await close(session) }
}

/** As `cp` would, in the pieces that a socket brings. */
function bulkFloor(): number {
  const file = path.join(folder, 'floor')
  const descriptor = fs.openSync(file, 'w')
  const began = performance.now()
  for (let sent = 0, next = 0; sent < bulkBytes; next = (next + 1) % chunks.length) {
    const bytes = chunks[next] ?? Buffer.alloc(0)
    fs.writeSync(descriptor, bytes)
    sent += bytes.length
  }
  const seconds = (performance.now() - began) / 1000
  fs.closeSync(descriptor)
  fs.rmSync(file)
  return bulkBytes / 1e6 / seconds
}

async function verifySpeed(closed: Closed): Promise<number> {
  const began = performance.now()
  const { result } = await verifyRecording(closed.path, Date.now())
  if (result !== 'whole') throw new Error(`verify: ${result}`)
  return closed.raw / 1e6 / ((performance.now() - began) / 1000)
}

/** For a word that is nowhere in it, results as they are. */
async function searchSpeed(closed: Closed): Promise<number> {
  const began = performance.now()
  const plain = () => (bytes: Buffer) => bytes.toString('latin1')
  const decoder = () => ({
    push: (bytes: Buffer) => [{ kind: 'text' as const, text: bytes.toString('latin1') }],
    end: () => [],
  })
  const found = await searchRecording(readRecording(closed.path), decoder, plain, 'no such word', problem => {
    throw new Error(problem.text)
  })
  if (found !== undefined) throw new Error('found what is not there')
  return closed.raw / 1e6 / ((performance.now() - began) / 1000)
}

/** The journal's own bytes through the command-line zstd, where there is one. */
function zstdBytes(raw: Buffer): number | undefined {
  try {
    return execFileSync('zstd', ['-3', '-c', '-q'], { input: raw, maxBuffer: 1 << 30 }).length
  } catch {
    return undefined
  }
}

async function main(): Promise<void> {
  let text = ''
  for (let id = 0; text.length < 64 << 20; id++) text += rowOf(id)
  const stream = Buffer.from(text)
  chunks = Array.from({ length: stream.length >> 16 }, (_, n) => stream.subarray(n << 16, (n + 1) << 16))
  const measured: Record<string, number[]> = {}
  const note = (name: string, value: number) => (measured[name] ??= []).push(value)
  for (let round = 0; round < rounds; round++) {
    const { us, closed } = await statementCost('segment', statements)
    note('statement p50', quantile([...us], 0.5))
    note('statement p99', quantile([...us], 0.99))
    note('write floor', writeFloor(Math.round(closed.raw / statements)))
    note('statement raw', closed.raw / statements)
    note('statement disk', closed.disk / statements)
    note('verify statements', await verifySpeed(closed))
    note('search statements', await searchSpeed(closed))
    fs.rmSync(closed.path, { recursive: true })
    const synced = await statementCost('event', 2000)
    note('fsync p50', quantile([...synced.us], 0.5))
    fs.rmSync(synced.closed.path, { recursive: true })

    const all = await bulk(Infinity)
    note('bulk kept', all.mbps)
    note('bulk memory', all.rss)
    note('bulk raw', all.closed.raw)
    note('bulk disk', all.closed.disk)
    note('verify bulk', await verifySpeed(all.closed))
    note('search bulk', await searchSpeed(all.closed))
    fs.rmSync(all.closed.path, { recursive: true })
    const digested = await bulk(1 << 20)
    note('bulk digested', digested.mbps)
    fs.rmSync(digested.closed.path, { recursive: true })
    const none = await bulk(0)
    note('bulk not kept', none.mbps)
    fs.rmSync(none.closed.path, { recursive: true })
    note('bulk floor', bulkFloor())
    encrypted = await newContentKey('bench', [recipient])
    const secret = await statementCost('segment', statements)
    note('statement p50 encrypted', quantile([...secret.us], 0.5))
    fs.rmSync(secret.closed.path, { recursive: true })
    const secretBulk = await bulk(Infinity)
    note('bulk encrypted', secretBulk.mbps)
    fs.rmSync(secretBulk.closed.path, { recursive: true })
    encrypted = null
    console.error(`round ${round + 1} of ${rounds}`)
  }
  const zstd = zstdBytes(stream)
  const of = (name: string) => median(measured[name] ?? [])
  const spread = (name: string, digits: number) => {
    const values = measured[name] ?? []
    return `${of(name).toFixed(digits)} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`
  }
  const percent = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`
  const load = `The machine’s load at the end: ${os.loadavg()[0]?.toFixed(1) ?? '?'} on ${os.cpus().length} cores.`
  const tables = [
    {
      title: 'A statement',
      note: `${load} Action appended and committed, one row of result, outcome appended: ${statements.toLocaleString('en-GB')} a round, median of ${rounds} rounds (least–most), in µs. The bare write is one write(2) of as many bytes.`,
      columns: ['', 'µs'],
      rows: [
        ['p50', spread('statement p50', 1)],
        ['p99', spread('statement p99', 1)],
        ['p50, encrypted', spread('statement p50 encrypted', 1)],
        ['a bare write, p50', spread('write floor', 1)],
        ['p50 with fsync at each commit', spread('fsync p50', 0)],
      ],
    },
    {
      title: 'Bulk results',
      note: '512 MiB in pieces of 64 KiB, in MB/s; sealing goes on in its thread meanwhile. Beyond `results.keep` bytes are counted and digested.',
      columns: ['', 'MB/s'],
      rows: [
        ['all kept', spread('bulk kept', 0)],
        ['all kept, encrypted', spread('bulk encrypted', 0)],
        ['beyond 1 MiB that is kept', spread('bulk digested', 0)],
        ['none kept', spread('bulk not kept', 0)],
        ['bare writes of the same pieces', spread('bulk floor', 0)],
        ['memory it grows by, MB', spread('bulk memory', 0)],
      ],
    },
    {
      title: 'Bytes on disk',
      note: 'Segments beside the events they hold.',
      columns: ['', 'bytes', 'of raw'],
      rows: [
        ['a statement, raw', of('statement raw').toFixed(0), ''],
        ['a statement, sealed', of('statement disk').toFixed(0), percent(of('statement disk'), of('statement raw'))],
        ['512 MiB of rows, sealed', of('bulk disk').toFixed(0), percent(of('bulk disk'), of('bulk raw'))],
        ...(zstd === undefined
          ? []
          : [['64 MiB of the same rows, zstd -3', zstd.toFixed(0), percent(zstd, stream.length)]]),
      ],
    },
    {
      title: 'Verify and search',
      note: 'Chain, hashes and manifest computed again; a word looked for that is nowhere. In MB/s of events.',
      columns: ['', 'verify', 'search'],
      rows: [
        ['many small events', spread('verify statements', 0), spread('search statements', 0)],
        ['bulk results', spread('verify bulk', 0), spread('search bulk', 0)],
      ],
    },
  ]
  for (const table of tables) {
    console.log(`\n${table.title}`)
    for (const row of table.rows) console.log(`  ${row.join('  ')}`)
  }
  console.log(`\n${keepResult({ name: 'recording', title: 'Recording', tables, measurements: measured })}`)
}

try {
  await main()
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
