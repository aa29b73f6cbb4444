import fs from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'

/** Where a person is told: this much of what may be used has been used. */
const warnAt = 0.8
const checkMilliseconds = 1000

/** Watches what recordings take up: a quota on their folder, and the disk it is on. */
export class Space {
  readonly #folder: string
  readonly #quota: number | null
  readonly #onWarning: (text: string) => void
  /** Bytes of all recordings when this one began; known once they have been counted. */
  #others = 0
  readonly #freeAtStart: number
  #checkedAt = 0
  #warned = false

  constructor(folder: string, quota: number | null, onWarning: (text: string) => void) {
    this.#folder = folder
    this.#quota = quota
    this.#onWarning = onWarning
    this.#freeAtStart = free(folder)
    if (quota !== null) this.#others = sizeOf(folder)
  }

  /** Warns when it gets tight. @throws RECORDING_FAILED where the quota is used up; a full disk says so itself. */
  check(own: number, now: number): void {
    if (this.#quota !== null && this.#others + own >= this.#quota)
      throw new AgentgateError(
        'RECORDING_FAILED',
        `recordings have used up their ${megabytes(this.#quota)} in ${this.#folder}`,
        { hint: 'remove recordings that are not needed any more, or raise the quota' },
      )
    if (Math.abs(now - this.#checkedAt) < checkMilliseconds) return
    this.#checkedAt = now
    const left = free(this.#folder)
    const tight =
      this.#quota !== null && this.#others + own >= this.#quota * warnAt
        ? `recordings have used ${megabytes(this.#others + own)} of ${megabytes(this.#quota)}`
        : left <= this.#freeAtStart * (1 - warnAt)
          ? `${megabytes(left)} are left on the disk of the recordings`
          : undefined
    if (tight !== undefined && !this.#warned)
      this.#onWarning(`${tight} (${this.#folder}); once it is full nothing is forwarded`)
    this.#warned = tight !== undefined
  }
}

function free(folder: string): number {
  try {
    const { bavail, bsize } = fs.statfsSync(folder)
    return bavail * bsize
  } catch {
    return Infinity // a disk that does not tell is found out by writing
  }
}

function sizeOf(folder: string): number {
  let bytes = 0
  for (const entry of fs.readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    try {
      bytes += fs.statSync(path.join(entry.parentPath, entry.name)).size
    } catch {
      // Gone in between: sealed, or pruned.
    }
  }
  return bytes
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0)} MB`
}
