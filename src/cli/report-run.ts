import path from 'node:path'
import { AgentgateError, errorCodes } from '../errors.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { write } from './output.ts'
import { keyIfAny } from './recorded-key.ts'
import { recordingsFolder } from './recorded.ts'
import { withCopies } from './recorded-copies.ts'
import { accessReport, approvalsReport, denialsReport, maskingReport } from './report/recorded-reports.ts'
import { rendered } from './report/render.ts'
import {
  reportNames,
  type Period,
  type Report,
  type ReportFormat,
  type ReportName,
  type ReportSource,
} from './report/report.ts'
import { escapeLine } from './ui/escape.ts'
import { writeWhole } from './whole-output.ts'

export interface ReportOptions {
  readonly from?: Date
  readonly to?: Date
  readonly format?: ReportFormat
  readonly output?: string
  readonly out?: string
  /** A file with the broker's public key. */
  readonly key?: string
  readonly recordings?: string
  /** `s3://bucket/prefix` or `file:///folder`: read there instead of here. */
  readonly copies?: string
}

const byExtension: Readonly<Record<string, ReportFormat>> = {
  '.csv': 'csv',
  '.json': 'json',
  '.jsonl': 'json',
  '.html': 'html',
  '.htm': 'html',
}

export async function runReport(
  what: ReportName | 'evidence',
  options: ReportOptions,
  globals: Globals,
  io: Io,
): Promise<void> {
  const { recordings, copies } = options
  await withCopies(
    { ...(recordings === undefined ? {} : { recordings }), ...(copies === undefined ? {} : { from: copies }) },
    { all: 'content' },
    io,
    async folder => {
      await reportOn(what, recordingsFolder(folder, io), options, globals, io)
    },
  )
}

async function reportOn(
  what: ReportName | 'evidence',
  recordings: string,
  options: ReportOptions,
  globals: Globals,
  io: Io,
): Promise<void> {
  const period: Period = { from: options.from ?? new Date(0), to: options.to ?? new Date() }
  if (period.from > period.to) throw new AgentgateError('USAGE', '--from is later than --to')
  const damaged = new Set<string>()
  const unread = new Set<string>()
  const source: ReportSource = {
    recordings,
    period,
    unread,
    keyOf: async ({ folder, session }) => {
      const { key, why } = await keyIfAny(folder, io)
      if (why !== undefined && !unread.has(session)) {
        unread.add(session)
        io.stderr.write(`warning: what was asked in it is not reported: ${escapeLine(why)}\n`)
      }
      return key
    },
    onDamaged: session => {
      if (damaged.has(session)) return
      damaged.add(session)
      io.stderr.write(
        `warning: ${escapeLine(session)} cannot be read whole: agentgate sessions verify ${escapeLine(session)}\n`,
      )
      io.exitCode = errorCodes.VERIFICATION_FAILED
    },
  }
  if (what === 'evidence') {
    if (options.out === undefined)
      throw new AgentgateError('USAGE', 'evidence is a folder, or a file that ends in .zip: which?', {
        hint: 'agentgate report evidence --from 90d --out q4.zip',
      })
    const { writeEvidence } = await import('./report/evidence.ts')
    await writeEvidence(path.resolve(io.cwd, options.out), source, options.key, io)
    return
  }
  const report = what === 'coverage' ? await coverage(source, globals, io) : recordedReport(what, source)
  if (report === undefined)
    throw new AgentgateError('USAGE', `no report "${what}"; there is ${reportNames.join(', ')} and evidence`)
  const format =
    options.format ??
    (options.output === undefined ? undefined : byExtension[path.extname(options.output).toLowerCase()]) ??
    (globals.json ? 'json' : io.stdout.isTTY && options.output === undefined ? 'table' : 'csv')
  const pieces = rendered(report, format, period, io.stdout.columns)
  if (options.output === undefined || options.output === '-') {
    for await (const piece of pieces) await write(io.stdout, piece)
    return
  }
  await writeWhole(path.resolve(io.cwd, options.output), pieces)
}

export function recordedReport(name: string, source: ReportSource): Report | undefined {
  switch (name) {
    case 'access':
      return accessReport(source)
    case 'approvals':
      return approvalsReport(source)
    case 'denials':
      return denialsReport(source)
    case 'masking':
      return maskingReport(source)
    default:
      return undefined
  }
}

async function coverage(source: ReportSource, globals: Globals, io: Io): Promise<Report> {
  const { coverageReport } = await import('./report/coverage.ts')
  return await coverageReport(source, globals, io)
}
