import fs from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { readState } from '../config/private-file.ts'
import type { Json } from './ocsf-parts.ts'
import { readCursor, type CursorContent } from './cursor.ts'
import { fileName, filesOf, lostSchema, writerAlive, writersOf, type Lost } from './outbox.ts'

/** An event on its way. */
export interface Queued {
  readonly uid: string
  readonly kind: string
  /** Milliseconds since 1970. */
  readonly at: number
  readonly event: { readonly [key: string]: Json }
}

const queuedSchema = z.object({
  uid: z.string(),
  kind: z.string(),
  at: z.number(),
  event: z.custom<Queued['event']>(value => typeof value === 'object' && value !== null),
})

export interface Batch {
  readonly events: readonly Queued[]
  /** How far a sink has come that has taken them. */
  readonly next: CursorContent
  /** Whether `next` is further than where it was read from. */
  readonly moved: boolean
  /** Lines that are none: a writer was killed in the middle, or the file was damaged. */
  readonly unreadable: number
}

const chunkBytes = 1 << 20

/** What comes next for a sink; at least one event where there is one. */
export function readBatch(
  outbox: string,
  cursor: CursorContent,
  limits: { readonly events: number; readonly bytes: number },
): Batch {
  const events: Queued[] = []
  const positions: Record<string, { file: string; offset: number }> = {}
  let [bytes, unreadable, moved] = [0, 0, false]
  for (const writer of writersOf(outbox)) {
    const folder = path.join(outbox, writer)
    const before = cursor.positions[writer]
    // Asked for first: what it writes after that is seen next time.
    const alive = writerAlive(outbox, writer)
    const files = filesOf(folder).filter(file => before === undefined || file >= before.file)
    let position = before ?? { file: files[0] ?? fileName(1), offset: 0 }
    for (const [index, file] of files.entries()) {
      if (file !== position.file) position = { file, offset: 0 }
      const last = index === files.length - 1
      for (;;) {
        if (events.length >= limits.events || bytes >= limits.bytes) break
        const read = lines(path.join(folder, file), position.offset, !last || !alive)
        if (read.length === 0) break
        for (const { text, end } of read) {
          if (events.length >= limits.events || (events.length > 0 && bytes + text.length > limits.bytes)) {
            bytes = limits.bytes
            break
          }
          position = { file, offset: end }
          const queued = parse(text)
          if (queued === undefined) {
            if (text !== '') unreadable += 1
            continue
          }
          events.push(queued)
          bytes += text.length
        }
      }
      if (events.length >= limits.events || bytes >= limits.bytes) break
    }
    positions[writer] = position
    moved ||= before?.file !== position.file || before.offset !== position.offset
  }
  return { events, next: { positions, delivered: cursor.delivered + events.length }, moved, unreadable }
}

/** Whole lines from an offset on, some of them; with `toEnd` also a last one that was never ended. */
function lines(file: string, offset: number, toEnd: boolean): { readonly text: string; readonly end: number }[] {
  let descriptor: number
  try {
    descriptor = fs.openSync(file, 'r')
  } catch {
    return [] // delivered to all, and removed
  }
  try {
    let buffer = Buffer.alloc(0)
    for (let at = offset; ;) {
      const chunk = Buffer.allocUnsafe(chunkBytes)
      const read = fs.readSync(descriptor, chunk, 0, chunkBytes, at)
      at += read
      buffer = Buffer.concat([buffer, chunk.subarray(0, read)])
      if (read < chunkBytes || buffer.includes(10)) {
        const ended = read < chunkBytes
        return cut(buffer, offset, ended && toEnd)
      }
    }
  } finally {
    fs.closeSync(descriptor)
  }
}

function cut(buffer: Buffer, offset: number, withRest: boolean): { readonly text: string; readonly end: number }[] {
  const found: { text: string; end: number }[] = []
  let from = 0
  for (let to = buffer.indexOf(10); to >= 0; to = buffer.indexOf(10, from)) {
    found.push({ text: buffer.toString('utf8', from, to), end: offset + to + 1 })
    from = to + 1
  }
  // More of it may be in the next chunk; only where nothing else was found is it the end.
  if (withRest && from < buffer.length && found.length === 0)
    found.push({ text: buffer.toString('utf8', from), end: offset + buffer.length })
  return found
}

function parse(text: string): Queued | undefined {
  try {
    return queuedSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/** Bytes that a sink has not had yet. */
export function pendingBytes(outbox: string, sink: string): number {
  const { content } = readCursor(outbox, sink)
  let total = 0
  for (const writer of writersOf(outbox)) {
    const position = content.positions[writer]
    for (const file of filesOf(path.join(outbox, writer))) {
      if (position !== undefined && file < position.file) continue
      try {
        const { size } = fs.statSync(path.join(outbox, writer, file))
        total += Math.max(0, size - (file === position?.file ? position.offset : 0))
      } catch {
        continue // delivered meanwhile
      }
    }
  }
  return total
}

/**
 * Removes what every sink has had, and the folders of writers that are gone. What such a writer had lost is handed to
 * `onLost`, once: its file is taken away first, by renaming it, which only one process can. Where nobody could tell it on
 * (null) it stays.
 */
export function sweep(outbox: string, sinks: readonly string[], onLost: ((lost: Lost) => void) | null): void {
  const cursors = sinks.map(sink => readCursor(outbox, sink).content)
  for (const writer of writersOf(outbox)) {
    const folder = path.join(outbox, writer)
    const alive = writerAlive(outbox, writer)
    const files = filesOf(folder)
    let left = 0
    for (const [index, file] of files.entries()) {
      const last = index === files.length - 1
      const size = sizeOf(path.join(folder, file))
      const had = cursors.every(({ positions }) => {
        const position = positions[writer]
        return position !== undefined && (position.file > file || (position.file === file && position.offset >= size))
      })
      if (had && (!last || !alive)) fs.rmSync(path.join(folder, file), { force: true })
      else left += 1
    }
    if (left > 0 || alive || isYoung(folder)) continue
    if (onLost === null) {
      if (fs.existsSync(path.join(folder, 'lost.json'))) continue
    } else {
      const lost = takeLost(folder)
      if (lost !== undefined) onLost(lost)
    }
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

const youngMilliseconds = 5_000

/** One that has just been made has no owner yet. */
function isYoung(folder: string): boolean {
  try {
    return Date.now() - fs.statSync(folder).mtimeMs < youngMilliseconds
  } catch {
    return true
  }
}

function sizeOf(file: string): number {
  try {
    return fs.statSync(file).size
  } catch {
    return 0
  }
}

function takeLost(folder: string): Lost | undefined {
  const file = path.join(folder, 'lost.json')
  const taken = `${file}.taken`
  try {
    fs.renameSync(file, taken)
  } catch {
    return undefined
  }
  return readState(taken, lostSchema.nullable(), null) ?? undefined
}
