import { StringDecoder } from 'node:string_decoder'
import { AgentgateError } from '../../errors.ts'
import { readRecording } from '../../recording/reader.ts'
import type { Exporting } from '../sessions-export.ts'
import { who } from '../sessions-list.ts'
import { TerminalFilter } from '../ui/terminal-filter.ts'

/** Where a recording tells of no size before the first output. */
const usualSize = { columns: 80, rows: 24 }

/**
 * The recorded terminal as an asciicast v2 (docs.asciinema.org/manual/asciicast/v2), less what would act on the terminal
 * that plays it: titles, clipboard, questions that a terminal answers.
 * @throws AgentgateError USAGE where no terminal was recorded
 */
export async function* asciicast({ folder, key, listed, onProblem }: Exporting): AsyncGenerator<string, void, void> {
  const filter = new TerminalFilter('screen')
  const input = new StringDecoder('utf8')
  const startedAt = listed.start?.at ?? 0
  let begun = false
  for await (const item of readRecording(folder, key)) {
    if (item.kind === 'problem') onProblem(item.problem)
    if (item.kind !== 'event' || item.placed.event.kind !== 'terminal') continue
    const { at, event } = item.placed
    const size = event.direction === 'resize' ? sizeOf(event.bytes) : undefined
    if (!begun) {
      begun = true
      const { columns, rows } = size ?? usualSize
      yield `${JSON.stringify({
        version: 2,
        width: columns,
        height: rows,
        timestamp: Math.floor(startedAt / 1000),
        title: `${listed.session} · ${who(listed)}`,
      })}\n`
      if (size !== undefined) continue
    }
    // Seconds since the session began: a clock that was set back must not make time run backwards.
    const seconds = Math.max(0, at - startedAt) / 1000
    const line = (code: string, data: string) => (data === '' ? '' : `${JSON.stringify([seconds, code, data])}\n`)
    switch (event.direction) {
      case 'output':
        yield line('o', filter.push(event.bytes))
        break
      case 'input':
        yield line('i', input.write(event.bytes))
        break
      case 'resize':
        if (size !== undefined) yield line('r', `${size.columns}x${size.rows}`)
        break
      default:
        event.direction satisfies never
    }
  }
  if (!begun)
    throw new AgentgateError('USAGE', `${listed.session} has no recorded terminal`, {
      hint: `agentgate sessions export ${listed.session} --format html`,
    })
}

function sizeOf(bytes: Buffer): { readonly columns: number; readonly rows: number } | undefined {
  const match = /^([1-9]\d{0,3})x([1-9]\d{0,3})$/.exec(bytes.toString('latin1', 0, 16))
  return match ? { columns: Number(match[1]), rows: Number(match[2]) } : undefined
}
