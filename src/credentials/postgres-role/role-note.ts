import { createHash } from 'node:crypto'
import { z } from 'zod'
import { sameProcess, thisProcess } from '../../recording/owner.ts'

const prefix = 'agentgate grant '

const content = z.object({
  grant: z.string(),
  principal: z.string(),
  resource: z.string(),
  scope: z.string(),
  /** Gets what the role owns when it goes. */
  heir: z.string(),
  /** The machine, boot and PID namespace in which `pid` counts, as a digest; or `broker:` and the store that keeps it. */
  place: z.string(),
  pid: z.number(),
  started: z.number(),
})

/** What the comment on a role that agentgate made says of it: for administrators, and for whoever finds it after a crash. */
export type RoleNote = z.infer<typeof content>

export function roleNote(
  about: Pick<RoleNote, 'grant' | 'principal' | 'resource' | 'scope' | 'heir'>,
  keeper: string | undefined,
): string {
  const { pid, started } = thisProcess()
  const note: RoleNote = { ...about, place: keeper === undefined ? placeDigest() : placeOfKeeper(keeper), pid, started }
  return `${prefix}${JSON.stringify(note)}`
}

/** Undefined: not a role of ours, whatever its name is. */
export function readRoleNote(comment: string | null): RoleNote | undefined {
  if (comment?.startsWith(prefix) !== true) return undefined
  try {
    return content.parse(JSON.parse(comment.slice(prefix.length)))
  } catch {
    return undefined
  }
}

/** The process that made it ran here, and is gone. What another machine or container made is not ours to judge. */
export function isOrphan(note: RoleNote): boolean {
  return note.place === placeDigest() && !sameProcess(note)
}

/** The store that says whether its grant lives. */
export function isKeptBy(note: RoleNote, keeper: string): boolean {
  return note.place === placeOfKeeper(keeper)
}

function placeOfKeeper(keeper: string): string {
  return `broker:${keeper}`
}

let known: string | undefined

function placeDigest(): string {
  if (known === undefined) {
    const { machine, boot, namespace } = thisProcess()
    // machine-id(5): not to be shown as it is.
    known = createHash('sha256')
      .update(JSON.stringify([machine, boot, namespace]))
      .digest('hex')
      .slice(0, 16)
  }
  return known
}
