import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

const maxEntries = 2000

/**
 * Remembers what nobody inside may change, to look again at the end: a file that someone outside replaces while a child
 * runs loses what was mounted on it (mount_namespaces(7)), and the child could then have written it.
 */
export class Guard {
  readonly #before: ReadonlyMap<string, string>

  constructor(places: readonly string[]) {
    this.#before = new Map(places.map(place => [place, fingerprint(place)]))
  }

  /** What is no longer as it was, and what is there that was not. */
  changed(): readonly string[] {
    return [...this.#before].filter(([place, before]) => fingerprint(place) !== before).map(([place]) => place)
  }
}

function fingerprint(place: string): string {
  const hash = createHash('sha256')
  let left = maxEntries
  const add = (at: string) => {
    if (left-- <= 0) return
    try {
      const found = lstatSync(at)
      hash.update(`${path.relative(place, at)}\0${found.mode}\0`)
      if (found.isFile()) hash.update(readFileSync(at))
      else if (found.isDirectory()) for (const name of readdirSync(at).sort()) add(path.join(at, name))
    } catch {
      hash.update('gone\0')
    }
  }
  add(place)
  return hash.digest('hex')
}
