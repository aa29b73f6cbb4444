import { z } from 'zod'

const name = z.string().min(1).max(63)

/** What a resource of kind `postgres` may say besides the general keys. */
export const resourceSchema = z.strictObject({
  /** Databases that may be connected to; the first is the default. */
  database: z
    .union([z.literal('*'), name, z.array(name).min(1)])
    .describe('the database, a list of them, or "*" for any')
    .optional(),
  /** `session`: a pooler stands before the server, and gives each client a server connection of its own. */
  pooler: z.enum(['none', 'session']).describe('whether a connection pooler stands before the server').optional(),
  /** Functions whose bodies cannot be read, or do more than they say, that the policy vouches for: `schema.name`. */
  trusted: z
    .object({ functions: z.array(z.string().min(1)).default([]) })
    .describe('functions counted as harmless, as schema.name')
    .optional(),
})

export type PostgresSettings = z.infer<typeof resourceSchema>

/** A scope either names a role that exists, or says what is granted to a role made for it. */
export const scopeSchema = z.strictObject({
  role: name.describe('an existing role that the session takes').optional(),
  grant: z
    .array(z.string().min(1))
    .describe('privileges, as after GRANT: "SELECT ON ALL TABLES IN SCHEMA public"')
    .optional(),
  agents: z.boolean().optional(),
})

/** The database that a client gets that names none; undefined where any goes and none is the default. */
export function defaultDatabase(settings: PostgresSettings): string | undefined {
  const { database } = settings
  if (database === undefined || database === '*') return undefined
  return typeof database === 'string' ? database : database[0]
}

export function mayUseDatabase(settings: PostgresSettings, wanted: string): boolean {
  const { database } = settings
  if (database === '*') return true
  if (database === undefined) return false
  return typeof database === 'string' ? database === wanted : database.includes(wanted)
}
