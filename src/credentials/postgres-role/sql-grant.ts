import { AgentgateError } from '../../errors.ts'

/** One line of a scope's `grant:`, as it stands after GRANT. */
export interface SqlGrant {
  readonly text: string
  /** It gives nothing that could change data. */
  readonly readOnly: boolean
  /** `ALL TABLES IN SCHEMA` with named privileges: whether anything is left to grant can be asked first. */
  readonly allTables: { readonly privileges: readonly string[]; readonly schemas: readonly string[] } | undefined
  /** Without ON: membership in roles. */
  readonly membership: boolean
}

const identifier = String.raw`(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)`
const identifiers = String.raw`${identifier}(?:\s*,\s*${identifier})*`
const membershipPattern = new RegExp(`^${identifiers}$`, 'i')
const privilegesPattern = /^([a-z][a-z\s,]*?(?:\([^)]*\)[a-z\s,()]*?)?)\s+on\s+(\S[\s\S]*)$/i
const allTablesPattern = new RegExp(String.raw`^all\s+tables\s+in\s+schema\s+(${identifiers})$`, 'i')
const readOnlyPrivileges = new Set(['SELECT', 'USAGE', 'CONNECT'])
const readOnlyRoles = new Set(['pg_read_all_data', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_monitor'])

/**
 * Reads what stands after GRANT (PG 18 docs, GRANT), so that it cannot be anything else. @throws AgentgateError POLICY_INVALID
 */
export function readSqlGrant(written: string, where: string): SqlGrant {
  const text = written.trim()
  const wrong = (why: string) =>
    new AgentgateError('POLICY_INVALID', `${where}: grant "${text}" ${why}`, {
      hint: 'it is what stands between GRANT and TO, such as: SELECT ON ALL TABLES IN SCHEMA public',
    })
  const bare = text.replaceAll(/"(?:[^"]|"")*"/g, 'x')
  if (/[;'"$\\]|--|\/\*/.test(bare)) throw wrong('holds what does not belong there')
  if (/\b(?:to|granted|with)\b/i.test(bare)) throw wrong('says to whom; agentgate does')
  if (membershipPattern.test(text))
    return {
      text,
      readOnly: text.split(',').every(role => readOnlyRoles.has(role.trim().toLowerCase())),
      allTables: undefined,
      membership: true,
    }
  const [, privileges, object] = privilegesPattern.exec(text) ?? []
  if (privileges === undefined || object === undefined) throw wrong('is not understood')
  const words = privileges
    .replaceAll(/\([^)]*\)/g, '')
    .split(',')
    .map(word => word.trim().toUpperCase().replace(/\s+/g, ' '))
  const schemas = allTablesPattern.exec(object)?.[1]
  return {
    text,
    readOnly: words.every(word => readOnlyPrivileges.has(word)),
    allTables:
      schemas === undefined || words.some(word => word.startsWith('ALL'))
        ? undefined
        : { privileges: words, schemas: (schemas.match(new RegExp(identifier, 'gi')) ?? []).map(foldIdentifier) },
    membership: false,
  }
}

/** As the server reads it: quoted as written, else in lower case. */
function foldIdentifier(text: string): string {
  return text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text.toLowerCase()
}
