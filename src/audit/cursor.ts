import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { hasErrno } from '../errors.ts'

/** For each writer the file that is being read, and how many of its bytes have arrived. */
const cursorSchema = z.object({
  positions: z.record(z.string(), z.object({ file: z.string(), offset: z.number().int().min(0) })),
  delivered: z.number().int().min(0),
})
export type CursorContent = z.output<typeof cursorSchema>

export interface Cursor {
  readonly generation: number
  readonly content: CursorContent
}

const empty: CursorContent = { positions: {}, delivered: 0 }

/** How far a sink has come. A cursor that cannot be read counts from the beginning: twice is better than never. */
export function readCursor(outbox: string, sink: string): Cursor {
  let generation = 0
  for (const name of names(outbox, sink)) generation = Math.max(generation, generationOf(name, sink) ?? 0)
  if (generation === 0) return { generation, content: empty }
  try {
    const text = fs.readFileSync(path.join(outbox, cursorName(sink, generation)), 'utf8')
    return { generation, content: cursorSchema.parse(JSON.parse(text)) }
  } catch {
    return { generation, content: empty }
  }
}

/**
 * Compare and set: the next generation's file can be made only once (link(2) does not replace), so that of two processes
 * that deliver, one learns that the other has gone on. Returns undefined for that one.
 */
export function advanceCursor(outbox: string, sink: string, from: Cursor, content: CursorContent): Cursor | undefined {
  const generation = from.generation + 1
  const file = path.join(outbox, cursorName(sink, generation))
  const draft = path.join(outbox, `.${cursorName(sink, generation)}.${randomBytes(6).toString('hex')}`)
  const descriptor = fs.openSync(draft, 'wx', 0o600)
  try {
    fs.writeFileSync(descriptor, JSON.stringify(content))
    fs.fsyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
  try {
    fs.linkSync(draft, file)
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return undefined
    throw error
  } finally {
    fs.rmSync(draft, { force: true })
  }
  for (const name of names(outbox, sink)) {
    const other = generationOf(name, sink) ?? 0
    // Its own generation had been made and removed before: the other is more than one ahead.
    if (other > generation) return undefined
    if (other < generation) fs.rmSync(path.join(outbox, name), { force: true })
  }
  return { generation, content }
}

function cursorName(sink: string, generation: number): string {
  return `cursor-${sink}.${generation}.json`
}

function generationOf(name: string, sink: string): number | undefined {
  const prefix = `cursor-${sink}.`
  if (!name.startsWith(prefix)) return undefined
  const match = /^(\d{1,15})\.json$/.exec(name.slice(prefix.length))
  return match === null ? undefined : Number(match[1])
}

function names(outbox: string, sink: string): string[] {
  try {
    return fs.readdirSync(outbox).filter(name => generationOf(name, sink) !== undefined)
  } catch {
    return []
  }
}
