import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { privateFolder, readState, writePrivateFile } from '../config/private-file.ts'
import type { AuditPlan } from '../policy/audit-settings.ts'
import { claim, heartbeat, heartbeatMilliseconds, ownerAlive, release } from '../recording/owner.ts'

/**
 * Events that wait for their receivers, on disk. Each process appends to files of its own, in a folder of its own, so that
 * no writer ever waits for another or for a receiver:
 *
 *     OUTBOX/settings.json          where they go, as the policy says it: references, no secrets
 *     OUTBOX/w-…/owner.json         the process that writes here
 *     OUTBOX/w-…/000001.jsonl       events, one a line; a next file follows one that is large enough
 *     OUTBOX/w-…/lost.json          events for which there was no room
 *     OUTBOX/cursor-SINK.N.json     how far a sink has come
 */
const maxFileBytes = 4 << 20
/** A file is removed as a whole, so a small outbox needs small ones. */
const filesOfOutbox = 16
/** How much may be written before it is looked again at how much the others have written. */
const measureEvery = 256 << 10
const measureMilliseconds = 1000
const lostWriteMilliseconds = 1000

export const lostSchema = z.object({ count: z.number(), bytes: z.number(), from: z.number(), to: z.number() })
export type Lost = z.output<typeof lostSchema>
const nothingLost: Lost = { count: 0, bytes: 0, from: 0, to: 0 }

/** The outbox of these settings, made if need be. `folder`: where the policy's relative references start. */
export function openOutboxFolder(root: string, plan: AuditPlan, folder: string): string {
  const text = JSON.stringify({ sinks: plan.sinks, folder })
  const outbox = privateFolder(path.join(root, createHash('sha256').update(text).digest('hex').slice(0, 16)))
  const file = path.join(outbox, 'settings.json')
  if (!fs.existsSync(file)) writePrivateFile(file, JSON.stringify({ plan, folder }))
  return outbox
}

const settingsSchema = z.object({ plan: z.custom<AuditPlan>(value => typeof value === 'object'), folder: z.string() })

export function readSettings(outbox: string): { readonly plan: AuditPlan; readonly folder: string } | null {
  return readState(path.join(outbox, 'settings.json'), settingsSchema.nullable(), null)
}

export const writerName = /^w-[0-9a-z-]+$/
export const fileName = (count: number) => `${String(count).padStart(6, '0')}.jsonl`

export interface OutboxOptions {
  readonly folder: string
  readonly maxBytes: number
  /** Said once when it begins, and once when it is over. */
  readonly onFull: (lost: Lost | null) => void
}

/** Where a process puts its events. Never throws and never waits: what finds no place is counted. */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #folder: string
  readonly #beat: NodeJS.Timeout
  #descriptor: number | null = null
  #count = 0
  #size = 0
  #buffered: string[] = []
  #total = 0
  #sinceMeasure = Infinity
  #measuredAt = 0
  #lost: Lost = nothingLost
  #lostWrittenAt = 0
  #told = false

  constructor(options: OutboxOptions) {
    this.#options = options
    this.#folder = privateFolder(
      path.join(options.folder, `w-${Date.now().toString(36)}-${process.pid}-${randomBytes(4).toString('hex')}`),
    )
    claim(this.#folder)
    this.#beat = setInterval(() => {
      try {
        heartbeat(this.#folder)
      } catch {
        // Only for those who cannot look at this process.
      }
    }, heartbeatMilliseconds)
    this.#beat.unref()
  }

  /** `line` is JSON without a line break. It is on its way to the disk with the next `commit`. */
  append(line: string): void {
    this.#buffered.push(`${line}\n`)
  }

  /** Hands what was appended to the operating system. Whether there was room for it. */
  commit(): boolean {
    if (this.#buffered.length === 0) return true
    const lines = this.#buffered
    this.#buffered = []
    const bytes = Buffer.from(lines.join(''))
    if (!this.#hasRoom(bytes.length) || !this.#write(bytes)) {
      this.#lose(lines.length, bytes.length)
      return false
    }
    if (this.#told) this.#roomAgain()
    return true
  }

  /** Puts lines there at once, all or none; false where there is no room: whoever has them keeps them, and nothing is lost. */
  offer(lines: readonly string[]): boolean {
    const bytes = Buffer.from(lines.map(line => `${line}\n`).join(''))
    return this.#hasRoom(bytes.length) && this.#write(bytes)
  }

  /** What found no place so far; it stands in `lost.json` until `forgetLost`. */
  get lost(): Lost | null {
    return this.#lost.count === 0 ? null : this.#lost
  }

  #roomAgain(): void {
    this.#told = false
    this.#options.onFull(null)
  }

  /** The loss has become an event of its own, which is appended and committed. */
  forgetLost(): void {
    this.#lost = nothingLost
    fs.rmSync(path.join(this.#folder, 'lost.json'), { force: true })
  }

  #hasRoom(bytes: number): boolean {
    const now = Date.now()
    if (this.#sinceMeasure > measureEvery || now - this.#measuredAt > measureMilliseconds) {
      this.#total = measure(this.#options.folder)
      this.#sinceMeasure = 0
      this.#measuredAt = now
    }
    return this.#total + bytes <= this.#options.maxBytes
  }

  #write(bytes: Buffer): boolean {
    try {
      if (this.#descriptor === null || this.#size >= Math.min(maxFileBytes, this.#options.maxBytes / filesOfOutbox))
        this.#nextFile()
      const descriptor = this.#descriptor
      if (descriptor === null) return false
      let at = 0
      try {
        while (at < bytes.length) at += fs.writeSync(descriptor, bytes, at)
      } catch (error) {
        // A disk that is full may have taken a part: half a line must not stand before the next.
        fs.ftruncateSync(descriptor, this.#size)
        throw error
      }
      this.#size += bytes.length
      this.#total += bytes.length
      this.#sinceMeasure += bytes.length
      return true
    } catch {
      return false // counted, and said
    }
  }

  #nextFile(): void {
    if (this.#descriptor !== null) fs.closeSync(this.#descriptor)
    this.#descriptor = null
    this.#count += 1
    this.#size = 0
    this.#descriptor = fs.openSync(path.join(this.#folder, fileName(this.#count)), 'ax', 0o600)
  }

  #lose(count: number, bytes: number): void {
    const now = Date.now()
    this.#lost = {
      count: this.#lost.count + count,
      bytes: this.#lost.bytes + bytes,
      from: this.#lost.count === 0 ? now : this.#lost.from,
      to: now,
    }
    if (now - this.#lostWrittenAt > lostWriteMilliseconds) this.#writeLost()
    if (this.#told) return
    this.#told = true
    this.#options.onFull(this.#lost)
  }

  #writeLost(): void {
    this.#lostWrittenAt = Date.now()
    try {
      writePrivateFile(path.join(this.#folder, 'lost.json'), JSON.stringify(this.#lost))
    } catch {
      // The disk is full, too; said by onFull.
    }
  }

  /** Whoever delivers removes the folder once all of it has arrived. */
  close(): void {
    clearInterval(this.#beat)
    this.commit()
    if (this.#lost.count > 0) this.#writeLost()
    if (this.#descriptor !== null) fs.closeSync(this.#descriptor)
    this.#descriptor = null
    release(this.#folder)
  }
}

/** Bytes of all events in an outbox. */
export function measure(outbox: string): number {
  let total = 0
  for (const writer of writersOf(outbox))
    for (const file of filesOf(path.join(outbox, writer))) {
      try {
        total += fs.statSync(path.join(outbox, writer, file)).size
      } catch {
        continue // delivered meanwhile
      }
    }
  return total
}

/** In the order in which they began. */
export function writersOf(outbox: string): string[] {
  return listed(outbox).filter(name => writerName.test(name))
}

export function filesOf(writer: string): string[] {
  return listed(writer).filter(name => /^\d{6}\.jsonl$/.test(name))
}

function listed(folder: string): string[] {
  try {
    return fs.readdirSync(folder).sort()
  } catch {
    return []
  }
}

/** Whether more may still come from a writer. */
export function writerAlive(outbox: string, writer: string): boolean {
  // An owner that has closed has no file of its own any more; one that is just beginning has none yet.
  const folder = path.join(outbox, writer)
  return fs.existsSync(path.join(folder, 'owner.json')) && ownerAlive(folder, Date.now())
}
