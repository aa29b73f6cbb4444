import { createHash } from 'node:crypto'
import { appendFileSync, closeSync, fstatSync, openSync, readSync } from 'node:fs'
import path from 'node:path'
import { privateFolder } from '../config/private-file.ts'
import type { Paths } from '../config/paths.ts'

/** Beyond this no further shape is remembered: each stays one that was not seen. */
const mostShapes = 200_000
const keyChars = 22
const lineBytes = keyChars + 1

/**
 * The shapes of actions that were let run on one resource, by whomever, through this user's agentgate. One line each in a file that
 * only grows, so that sessions side by side see each other's.
 */
export class SeenShapes {
  readonly #file: string | null
  readonly #known = new Set<string>()
  #read = 0

  /** Without a place nothing outlives the process. */
  constructor(file: string | null) {
    this.#file = file
  }

  static of(paths: Paths, resource: string, address: string): SeenShapes {
    const name = createHash('sha256').update(`${resource}\0${address}`).digest('hex').slice(0, 24)
    return new SeenShapes(path.join(privateFolder(path.join(paths.stateDir(), 'seen')), name))
  }

  has(shape: string): boolean {
    const key = keyOf(shape)
    if (this.#known.has(key)) return true
    this.#follow()
    return this.#known.has(key)
  }

  add(shape: string): void {
    const key = keyOf(shape)
    if (this.#known.has(key) || this.#known.size >= mostShapes) return
    this.#known.add(key)
    if (this.#file === null) return
    try {
      appendFileSync(this.#file, `${key}\n`, { mode: 0o600 })
    } catch {
      // Not remembered, so it is asked about again: the safe side.
    }
  }

  /** Takes in what other sessions have added. */
  #follow(): void {
    if (this.#file === null) return
    let descriptor: number
    try {
      descriptor = openSync(this.#file, 'r')
    } catch {
      return // none yet, or not to be read: nothing more is known, and so it is asked about
    }
    try {
      const end = Math.min(fstatSync(descriptor).size, mostShapes * lineBytes)
      const bytes = Buffer.alloc(Math.max(0, end - this.#read))
      const count = readSync(descriptor, bytes, 0, bytes.length, this.#read)
      const whole = count - (count % lineBytes)
      this.#read += whole
      for (const line of bytes.toString('latin1', 0, whole).split('\n'))
        if (line.length === keyChars) this.#known.add(line)
    } finally {
      closeSync(descriptor)
    }
  }
}

function keyOf(shape: string): string {
  return createHash('sha256').update(shape).digest('base64url').slice(0, keyChars)
}
