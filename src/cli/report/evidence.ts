import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { AgentgateError, errorCodes } from '../../errors.ts'
import { manifestName, maxManifestBytes } from '../../recording/manifest.ts'
import { readRegular } from '../../recording/regular-file.ts'
import { sessionIds } from '../../recording/session-ids.ts'
import { verificationText } from '../../recording/verification-text.ts'
import { verifyRecording } from '../../recording/verify.ts'
import { readReceipts } from '../../recording/witness/receipts-file.ts'
import type { Io } from '../command.ts'
import { counted } from '../counted.ts'
import { keyIfAny } from '../recorded-key.ts'
import { recordedReport } from '../report-run.ts'
import { Witnesses } from '../sessions-trust.ts'
import { escapeLine } from '../ui/escape.ts'
import { version } from '../version.ts'
import { writeWhole } from '../whole-output.ts'
import { evidenceVerifier } from './evidence-verifier.ts'
import { rendered } from './render.ts'
import type { ReportSource } from './report.ts'
import { sessionsOf } from './sessions.ts'
import { writeZip } from './zip.ts'

/** Criteria of the AICPA's Trust Services Criteria (TSP 100, 2017 with the 2022 points of focus), and what here speaks to each. */
const criteria = [
  [
    'CC6.1',
    'logical access is restricted',
    ['access', 'denials'],
    'who opened which resource with which scope, and what the policy refused',
  ],
  [
    'CC6.3',
    'access is authorised, changed and removed by role and need',
    ['access', 'approvals'],
    'when each access began and ended, under which policy, and who approved what in it',
  ],
  [
    'CC7.2',
    'anomalies are monitored and recorded',
    ['denials', 'approvals', 'masking'],
    'what was refused, asked about and masked, from recordings that are verified below',
  ],
] as const

const reports = ['access', 'approvals', 'denials', 'masking'] as const

/**
 * A folder for an auditor, or the same as one zip: reports, the verification of every recording that they come from, its
 * manifest and receipts, and what verifies all that again. @throws AgentgateError USAGE
 */
export async function writeEvidence(
  out: string,
  source: ReportSource,
  keyFile: string | undefined,
  io: Io,
): Promise<void> {
  const witnesses = new Witnesses(keyFile, null, io)
  if (!out.endsWith('.zip')) {
    makeFolder(out)
    await fill(out, out, source, witnesses, io)
    return
  }
  if (fs.existsSync(out)) throw new AgentgateError('USAGE', `${out} cannot be made, or is there already`)
  const folder = `${out}.${randomBytes(6).toString('hex')}.tmp`
  makeFolder(folder)
  const clean = () => fs.rmSync(folder, { recursive: true, force: true })
  process.once('exit', clean)
  try {
    await fill(folder, out, source, witnesses, io)
    await writeZip(out, folder, path.basename(out, '.zip'))
  } finally {
    process.off('exit', clean)
    clean()
  }
}

function makeFolder(folder: string): void {
  try {
    fs.mkdirSync(folder, { mode: 0o700 })
  } catch (cause) {
    throw new AgentgateError('USAGE', `${folder} cannot be made, or is there already`, { cause })
  }
}

/** @param out what a person is told */
async function fill(folder: string, out: string, source: ReportSource, witnesses: Witnesses, io: Io): Promise<void> {
  for (const name of ['manifests', 'receipts']) fs.mkdirSync(path.join(folder, name), { mode: 0o700 })
  const written: string[] = []
  const put = async (name: string, pieces: AsyncIterable<string> | Iterable<string>) => {
    await writeWhole(path.join(folder, name), pieces)
    written.push(name)
  }
  for (const name of reports)
    for (const format of ['csv', 'html'] as const) {
      const report = recordedReport(name, source)
      if (report !== undefined) await put(`${name}.${format}`, rendered(report, format, source.period, 0))
    }
  const counts = { whole: 0, other: 0, altered: 0 }
  await put('verification.jsonl', verifications(source, witnesses, counts, put, io))
  await put('verify.mjs', [evidenceVerifier])
  await put('README.md', [readme(source, counts)])
  const sums: string[] = []
  for (const name of written) sums.push(`${await sha256(path.join(folder, name))}  ${name}\n`)
  await writeWhole(path.join(folder, 'SHA256SUMS'), sums)
  if (counts.altered > 0) io.exitCode = errorCodes.VERIFICATION_FAILED
  io.stdout.write(
    `${escapeLine(out)}  ${counted(written.length + 1, 'file')}, ${counted(counts.whole + counts.other + counts.altered, 'session')}: ${counts.whole} whole, ${counts.other} open or unfinished, ${counts.altered} altered\n`,
  )
}

async function* verifications(
  source: ReportSource,
  witnesses: Witnesses,
  counts: { whole: number; other: number; altered: number },
  put: (name: string, pieces: Iterable<string>) => Promise<void>,
  io: Io,
): AsyncGenerator<string, void, void> {
  const wanted = new Set<string>()
  for await (const { session } of sessionsOf(source)) wanted.add(session)
  for (const session of await sessionIds(source.recordings)) {
    if (!wanted.has(session)) continue
    const folder = path.join(source.recordings, session)
    const trust = await witnesses.trustFor(session, folder)
    // Each part of it holds without a key; with one each event is held, too.
    const { key } = await keyIfAny(folder, io)
    const found = await verifyRecording(folder, Date.now(), trust, key)
    if (found.result === 'altered') counts.altered += 1
    else if (found.result === 'whole') counts.whole += 1
    else counts.other += 1
    const { result, events, segments, head, signedBy } = found
    const manifest = await readRegular(path.join(folder, manifestName), maxManifestBytes)
    // Byte by byte what was sealed: JSON in ASCII or UTF-8, or it is none.
    if (manifest.kind === 'read') await put(`manifests/${session}.json`, [manifest.bytes.toString('utf8')])
    const receipts = [...(await readReceipts(folder)).receipts, ...trust.receipts].filter(
      each => each.session === session,
    )
    const lines = new Set(receipts.map(each => `${JSON.stringify(each)}\n`))
    if (lines.size > 0) await put(`receipts/${session}.jsonl`, lines)
    const text = verificationText(found, at => new Date(at).toISOString())
    yield `${JSON.stringify({ session, result, events, segments, head, signedBy, text })}\n`
  }
}

function readme(
  source: ReportSource,
  counts: { readonly whole: number; readonly other: number; readonly altered: number },
): string {
  const { from, to } = source.period
  const unread =
    source.unread.size === 0
      ? ''
      : `\n**Not all of it was read.** What was asked in ${counted(source.unread.size, 'session')} is in no report but \`access\`, as it is encrypted to
others, or was erased: ${[...source.unread].join(', ')}.\n`
  const rows = criteria.map(
    ([id, about, files, says]) => `| ${id} | ${about} | ${files.map(file => `${file}.csv`).join(', ')} | ${says} |\n`,
  )
  return `# Evidence of access, ${from.toISOString()} to ${to.toISOString()}

Made ${new Date().toISOString()} by agentgate ${version} from ${counts.whole + counts.other + counts.altered} recorded sessions.

| criterion | about | file | what it says |
| --- | --- | --- | --- |
${rows.join('')}
Each report is there as CSV and as HTML with the same rows. An empty report says that there was nothing of the kind, in the sessions
recorded; what went around agentgate is in none of them (\`agentgate report coverage\` looks for that at the target itself).
${unread}
## What was verified
\`verification.jsonl\`: ${counts.whole} sessions are whole and unaltered, ${counts.other} are open, unfinished or deleted as it says, ${counts.altered} were altered.
For each: its result, the number of its events, the last value of its hash chain (\`head\`) and the key that signed it.

## How to verify it again
1. \`node verify.mjs broker.pem\`, with Node.js 20 or later and the broker's public key (\`agentgate broker key\`, from a place that you trust),
   and nothing else: that no file here has changed, that each recording's manifest is as it was sealed, and that the broker certified who
   recorded it and countersigned its last chain value. Without a key it holds the folder against itself. It is short; read it first.
   \`sha256sum -c SHA256SUMS\` does the first part. Write down the SHA-256 of \`SHA256SUMS\` itself where nobody who could change this folder can.
2. That the recordings are what they were: \`agentgate sessions verify --all --recordings FOLDER\`, and compare \`head\`. The
   recordings' format is public (docs/recording-format.md), so that another program can do it.
3. That the reports say what the recordings say: \`agentgate report access --from ${from.toISOString()} --to ${to.toISOString()} --format csv\`,
   and so on, give the same rows for as long as the recordings are kept.
`
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(fs.createReadStream(file), hash)
  return hash.digest('hex')
}
