import path from 'node:path'
import { describeSession, type ListedSession } from '../recording/catalogue.ts'
import type { ContentKey } from '../recording/encryption/content-key.ts'
import type { Problem } from '../recording/read-item.ts'
import { replay } from '../recording/replay.ts'
import type { Io } from './command.ts'
import { write } from './output.ts'
import { writeWhole } from './whole-output.ts'
import { loadProtocols } from './protocols.ts'
import { keyFor } from './recorded-key.ts'
import { findRecorded, reportProblem } from './recorded.ts'
import { listedJson } from './sessions-list.ts'
import { replayJson } from './sessions-replay.ts'

export const exportFormats = ['jsonl', 'csv', 'asciicast', 'html'] as const
export type ExportFormat = (typeof exportFormats)[number]

export interface ExportOptions {
  readonly format?: ExportFormat
  readonly output?: string
  /** Rows of each result in HTML; 0 for all. */
  readonly rows?: number
}

/** What a format makes of a recording: pieces of one file, in order, in flat memory. */
export interface Exporting {
  readonly folder: string
  readonly key: ContentKey | null
  readonly listed: ListedSession
  /** Rows of each result; null for all. */
  readonly rows: number | null
  readonly onProblem: (problem: Problem) => void
}

/** Rows of each result in HTML where nothing else is asked for: a browser holds all of the page. */
const pageRows = 1000

const byExtension: Readonly<Record<string, ExportFormat>> = {
  '.jsonl': 'jsonl',
  '.json': 'jsonl',
  '.csv': 'csv',
  '.cast': 'asciicast',
  '.html': 'html',
  '.htm': 'html',
}

export async function exportSession(
  name: string,
  recordings: string | undefined,
  options: ExportOptions,
  io: Io,
): Promise<void> {
  const { folder, name: session } = await findRecorded(name, recordings, io)
  const format = options.format ?? byExtension[path.extname(options.output ?? '').toLowerCase()] ?? 'jsonl'
  const key = await keyFor(folder, io)
  const exporting: Exporting = {
    folder,
    key,
    listed: await describeSession(folder, session, Date.now(), key),
    rows: options.rows === 0 ? null : (options.rows ?? pageRows),
    onProblem: problem => reportProblem(problem, io),
  }
  const pieces = await piecesOf(format, exporting)
  if (options.output === undefined || options.output === '-') {
    for await (const piece of pieces) await write(io.stdout, piece)
    return
  }
  await writeWhole(path.resolve(io.cwd, options.output), pieces)
}

async function piecesOf(format: ExportFormat, exporting: Exporting): Promise<AsyncIterable<string>> {
  switch (format) {
    case 'jsonl':
      return jsonLines(exporting)
    case 'csv': {
      const { csv } = await import('./export/csv.ts')
      return csv(exporting)
    }
    case 'asciicast': {
      const { asciicast } = await import('./export/asciicast.ts')
      return asciicast(exporting)
    }
    case 'html': {
      const { page } = await import('./export/page.ts')
      return page(exporting)
    }
    default:
      return format satisfies never
  }
}

/** The same as `sessions replay --json`. */
async function* jsonLines({ folder, key, listed, onProblem }: Exporting): AsyncGenerator<string, void, void> {
  const protocols = await loadProtocols()
  yield `${JSON.stringify(listedJson(listed))}\n`
  for await (const item of replay(folder, kind => protocols.get(kind)?.decoder(), key)) {
    if (item.kind === 'problem') onProblem(item.problem)
    yield `${JSON.stringify(replayJson(item))}\n`
  }
}
