// Writes docs/benchmarks.md from the newest result of each benchmark in bench/results/: node bench/run.js report
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { BenchResult, Machine } from './result.ts'

type Kept = BenchResult & { readonly date: string; readonly machine: Machine }

const folder = path.join(process.cwd(), 'bench', 'results')
const newest = new Map<string, { file: string; kept: Kept }>()
for (const file of readdirSync(folder)
  .filter(name => name.endsWith('.json'))
  .sort()) {
  const kept = JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as Partial<Kept>
  if (kept.name === undefined || !Array.isArray(kept.tables) || kept.date === undefined) continue
  newest.set(kept.name, { file, kept: kept as Kept })
}

const order = (name: string) => (name === 'postgres' ? '' : name)
const sections = [...newest.values()]
  .sort((a, b) => order(a.kept.name).localeCompare(order(b.kept.name)))
  .map(({ file, kept }) => section(file, kept))
writeFileSync(
  path.join(process.cwd(), 'docs', 'benchmarks.md'),
  `# Benchmarks

Made by \`node bench/run.js report\` from the newest files in \`bench/results/\`; nothing here is typed by hand. To measure
on your machine: \`npm run build && node bench/run.js postgres\`, then \`node bench/run.js report\`. In each run all are
measured in turn, round by round, so that ratios hold where absolute numbers differ from machine to machine.

${sections.join('\n')}`,
)
console.log(`docs/benchmarks.md, from ${newest.size} results`)

function section(file: string, { title, tables, machine, date }: Kept): string {
  const where = `${machine.processor}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, node ${machine.node}, commit ${machine.commit}`
  return [
    `## ${title}\n`,
    `${date.slice(0, 10)} · ${where} · \`bench/results/${file}\`\n`,
    ...tables.map(table => `### ${table.title}\n\n${table.note}\n\n${markdown(table.columns, table.rows)}`),
  ].join('\n')
}

// As prettier would lay it out, so that the file is stable.
function markdown(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((column, n) => Math.max(3, column.length, ...rows.map(row => (row[n] ?? '').length)))
  const line = (cells: readonly string[], pad = ' ') =>
    `| ${cells.map((cell, n) => cell.padEnd(widths[n] ?? 0, pad)).join(' | ')} |`
  return `${[
    line(columns),
    line(
      columns.map(() => ''),
      '-',
    ),
    ...rows.map(row => line(row)),
  ].join('\n')}\n`
}
