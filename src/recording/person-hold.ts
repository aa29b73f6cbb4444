import path from 'node:path'
import { z } from 'zod'
import type { Manifest } from './manifest.ts'
import { readSmallState, writeSmallState } from './small-state.ts'

const fileName = 'held-persons.json'

/** Whatever this person, or an agent of this name, recorded or will record here is not to be deleted. */
export interface PersonHold {
  readonly who: string
  readonly at: number
  readonly by: string
  readonly reason: string | null
}

const holdsSchema = z.array(
  z.object({ who: z.string(), at: z.number().int(), by: z.string(), reason: z.string().nullable() }),
)

/** `unreadable` holds everything: what cannot be told is kept. */
export async function personHolds(recordings: string): Promise<readonly PersonHold[] | 'unreadable'> {
  return (await readSmallState(path.join(recordings, fileName), holdsSchema)) ?? []
}

/** Whether a session is held by who it was; one that does not say is, while anybody is. */
export function isHeldByPerson(holds: readonly PersonHold[] | 'unreadable', start: Manifest['start']): boolean {
  if (holds === 'unreadable') return true
  if (holds.length === 0) return false
  if (start === null) return true
  const names = [start.subject.principal.name, start.subject.actor?.name].map(name => name?.toLowerCase())
  return holds.some(({ who }) => names.includes(who.toLowerCase()))
}

/** False: the holds that there are cannot be read. */
export async function holdPerson(recordings: string, hold: PersonHold): Promise<boolean> {
  const holds = await personHolds(recordings)
  if (holds === 'unreadable') return false
  const others = holds.filter(({ who }) => who.toLowerCase() !== hold.who.toLowerCase())
  await writeSmallState(path.join(recordings, fileName), [...others, hold])
  return true
}

/** False: they were not held. */
export async function releasePerson(recordings: string, who: string): Promise<boolean> {
  const holds = await personHolds(recordings)
  if (holds === 'unreadable') return false
  const left = holds.filter(each => each.who.toLowerCase() !== who.toLowerCase())
  if (left.length === holds.length) return false
  await writeSmallState(path.join(recordings, fileName), left)
  return true
}
