import { z } from 'zod'
import { readTarget } from './path.ts'

/** A header name (RFC 9110 §5.1). */
const headerName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/, 'not a header name')
  .transform(name => name.toLowerCase())

/** What agentgate.yaml may say of an http resource, besides what every resource has. */
export const resourceSchema = z.object({
  /** Carries the credential; `authorization`, as `Bearer …`, where not set. */
  header: headerName.optional(),
  /** Stands before the secret in that header. */
  prefix: z
    .string()
    .regex(/^[ -~]*$/, 'only printable ASCII')
    .optional(),
  /** Put before every path; nothing outside of it can be reached. */
  'base-path': z
    .string()
    .refine(path => {
      try {
        return readTarget(path).path === path && !path.endsWith('/') && readTarget(path).query === ''
      } catch {
        return false
      }
    }, 'a path such as /api, without dots, doubled slashes or one at the end')
    .optional(),
  /** A path that is asked for with GET to see whether the target serves us. */
  probe: z.string().startsWith('/').optional(),
})

export type HttpSettings = z.output<typeof resourceSchema>

export function settingsOf(settings: unknown): HttpSettings {
  return resourceSchema.parse(settings ?? {})
}
