import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** A table as docs/benchmarks.md shows it. The first column names the row. */
export interface ResultTable {
  readonly title: string
  /** What a cell is, and how it was measured. */
  readonly note: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export interface BenchResult {
  /** The benchmark's file. */
  readonly name: string
  readonly title: string
  readonly tables: readonly ResultTable[]
  /** Every single measurement behind them. */
  readonly measurements: unknown
}

/** Keeps a result under bench/results/ with machine and date. Returns the file. */
export function keepResult(result: BenchResult): string {
  const folder = path.join(process.cwd(), 'bench', 'results')
  mkdirSync(folder, { recursive: true })
  const date = new Date().toISOString()
  const file = path.join(folder, `${result.name}-${date.slice(0, 19).replace(/[:T]/g, '')}.json`)
  writeFileSync(file, `${JSON.stringify({ ...result, date, machine: machine() }, null, 1)}\n`)
  return file
}

export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  readonly node: string
  readonly commit: string
}

function machine(): Machine {
  const cpus = os.cpus()
  return {
    processor: cpus[0]?.model.trim() ?? 'unknown',
    cores: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()}`,
    node: process.version,
    commit: commit(),
  }
}

function commit(): string {
  try {
    const hash = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
    const changed = execFileSync('git', ['status', '--porcelain', 'src'], { encoding: 'utf8' }) !== ''
    return changed ? `${hash} and changes` : hash
  } catch {
    return 'unknown'
  }
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Of all values: nearest rank. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? NaN
}
