import { hash } from 'node:crypto'
import { csvRow } from '../csv-row.ts'
import { html } from '../html-text.ts'
import { paintFor } from '../paint.ts'
import { table } from '../table.ts'
import { escapeLine, escapeLines } from '../ui/escape.ts'
import type { Cell, Period, Report, ReportFormat } from './report.ts'

/** Rows that a table for people has at most: their widths have to be known before the first is shown. */
const tableRows = 1000
const cellWidth = 60

/** A report as pieces of one text; all but the table in flat memory. */
export async function* rendered(
  report: Report,
  format: ReportFormat,
  period: Period,
  width: number,
): AsyncGenerator<string, void, void> {
  switch (format) {
    case 'csv':
      yield csvRow(report.columns)
      for await (const row of report.rows) yield csvRow(row)
      return
    case 'json':
      for await (const row of report.rows)
        yield `${JSON.stringify({ event: report.name, ...Object.fromEntries(report.columns.map((name, index) => [name, row[index] ?? null])) })}\n`
      return
    case 'html':
      yield* page(report, period)
      return
    case 'table':
      yield await people(report, width)
      return
    default:
      return format satisfies never
  }
}

async function people(report: Report, width: number): Promise<string> {
  const rows: string[][] = []
  let more = 0
  for await (const row of report.rows)
    if (rows.length < tableRows) rows.push(row.map(short))
    else more += 1
  if (rows.length === 0) return 'nothing of the kind in that time\n'
  // Columns that say nothing here are left to the other formats.
  const used = report.columns.map((_, index) => rows.some(row => row[index] !== ''))
  const columns = report.columns.filter((_, index) => used[index]).map(title => ({ title: title.toUpperCase() }))
  const shown = rows.map(row => row.filter((_, index) => used[index]))
  const rest = more === 0 ? '' : `… and ${more} more: --format csv, json or html\n`
  return `${table(columns, shown, width, paintFor(false))}${rest}`
}

function short(cell: Cell): string {
  const text = cell === null ? '' : escapeLine(String(cell))
  return text.length <= cellWidth ? text : `${text.slice(0, cellWidth - 1)}…`
}

const style = `
:root { color-scheme: light dark } body { font: 14px/1.45 system-ui, sans-serif; margin: 1rem } h1 { font-size: 1.2rem }
table { border-collapse: collapse; font: 13px/1.4 ui-monospace, monospace } th, td { border: 1px solid #8884; padding: 0 .4rem; text-align: left; vertical-align: top }
thead th { position: sticky; top: 0; background: Canvas } td { max-width: 40rem; overflow-wrap: anywhere; white-space: pre-wrap }
`

/** It runs nothing and refers to nothing; what was recorded is only ever text in it. */
async function* page(report: Report, { from, to }: Period): AsyncGenerator<string, void, void> {
  yield `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-${hash('sha256', style, 'base64')}'; base-uri 'none'; form-action 'none'">
<title>${html(report.title)}</title>
<style>${style}</style>
</head>
<body>
<h1>${html(report.title)}</h1>
<p>${from.toISOString()} to ${to.toISOString()}, made ${new Date().toISOString()} by agentgate from its recordings</p>
<table><thead><tr>${report.columns.map(name => `<th>${html(name)}</th>`).join('')}</tr></thead><tbody>
`
  let count = 0
  for await (const row of report.rows) {
    count += 1
    yield `<tr>${row.map(cell => `<td>${cell === null ? '' : escapeLines(String(cell)).map(html).join('\n')}</td>`).join('')}</tr>\n`
  }
  yield `</tbody></table>\n<p>${count} rows</p>\n</body>\n</html>\n`
}
