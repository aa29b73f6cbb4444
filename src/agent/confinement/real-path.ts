import { realpathSync } from 'node:fs'

/** Where a path really leads; itself where that cannot be said. */
export function realOrSelf(place: string): string {
  try {
    return realpathSync(place)
  } catch {
    return place
  }
}
