import fs from 'node:fs/promises'
import path from 'node:path'
import { fileName, parseFileName } from './format.ts'

/** The journals and segments of a session's folder. Asked anew each time, as a live session makes more. */
export class NumberedFiles {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** The least number from `from` on that has a file. */
  async least(from: number): Promise<number | undefined> {
    if (await this.has(from)) return from
    let least: number | undefined
    for (const name of await this.#names()) {
      const parsed = parseFileName(name)
      if (parsed && parsed.number >= from && (least === undefined || parsed.number < least)) least = parsed.number
    }
    return least
  }

  async greatest(): Promise<number> {
    return (await this.#names()).reduce((most, name) => Math.max(most, parseFileName(name)?.number ?? 0), 0)
  }

  async has(number: number): Promise<boolean> {
    for (const kind of ['segment', 'journal'] as const)
      if (await isThere(path.join(this.#folder, fileName(kind, number)))) return true
    return false
  }

  async #names(): Promise<readonly string[]> {
    try {
      return await fs.readdir(this.#folder)
    } catch {
      return []
    }
  }
}

async function isThere(file: string): Promise<boolean> {
  try {
    await fs.access(file)
    return true
  } catch {
    return false
  }
}
