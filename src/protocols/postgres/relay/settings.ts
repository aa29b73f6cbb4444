import { z } from 'zod'
import { AgentgateError } from '../../../errors.ts'
import type { ServedResource } from '../../protocol.ts'

const name = z.string().min(1).max(63)

/** Keys of a postgres resource besides the general ones. */
export const resourceSchema = z.strictObject({
  /** What clients may connect to: one, some, or `*` for any that the role may. */
  database: z.union([name, z.array(name).min(1)]).default('*'),
  /** `session`: a pooler stands before the server and gives each client a server connection of its own. */
  pooler: z.enum(['none', 'session']).default('none'),
})

export type PostgresSettings = z.infer<typeof resourceSchema>

export function settingsOf(resource: ServedResource): PostgresSettings {
  const settings = resourceSchema.safeParse(resource.settings)
  if (settings.success) return settings.data
  throw new AgentgateError('POLICY_INVALID', `${resource.name}: its postgres settings are not valid`)
}

/** The database of a client that names none; undefined where it has to. */
export function defaultDatabase(settings: PostgresSettings): string | undefined {
  const { database } = settings
  if (Array.isArray(database)) return database[0]
  return database === '*' ? undefined : database
}

export function servesDatabase(settings: PostgresSettings, wanted: string): boolean {
  const { database } = settings
  return database === '*' || (Array.isArray(database) ? database.includes(wanted) : database === wanted)
}
