import { existsSync, lstatSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { namesIn } from './hidden-places.ts'
import type { Mount } from './mount.ts'

/**
 * Shows `source` at `place` in the system's files. Where that has no such file, nothing can be mounted there: the nearest
 * folder that there is is shown anew, with all that is in it, and one more.
 */
export function addedFile(place: string, source: string): readonly Mount[] {
  const file: Mount = { kind: 'read-only', path: place, source }
  if (existsSync(place)) return [file]
  let folder = path.dirname(place)
  while (!existsSync(folder)) folder = path.dirname(folder)
  return [
    { kind: 'private', path: folder, mode: '0755' },
    ...namesIn(folder).map((name): Mount => {
      const entry = path.join(folder, name)
      return lstatSync(entry).isSymbolicLink()
        ? { kind: 'link', path: entry, target: readlinkSync(entry) }
        : { kind: 'read-only', path: entry }
    }),
    file,
    { kind: 'sealed', path: folder },
  ]
}
