import { createHash, randomBytes } from 'node:crypto'

/** NAMEDATALEN - 1 (PG 18 docs §4.1.1). */
export const maxNameBytes = 63

/** `agentgate_shop_maria_20261121t1604z_7q2mzk`: whose, for what, and until when it was made to last. */
export function loginRoleName(resource: string, principal: string, expiresAt: Date): string {
  const until = expiresAt
    .toISOString()
    .replaceAll(/[-:]|\.\d+/g, '')
    .slice(0, 13)
    .toLowerCase()
  const random = randomBytes(4).toString('hex').slice(0, 6)
  return `agentgate_${slug(resource, 14)}_${slug(principal, 14)}_${until}z_${random}`
}

/** Holds a scope's privileges. A scope that grants something else is another role. */
export function scopeRoleName(resource: string, scope: string, grants: readonly string[]): string {
  return `agentgate_scope_${slug(resource, 16)}_${slug(scope, 12)}_${digest([resource, scope, ...grants])}`
}

/** Stays the same for a principal and what gives it its privileges. */
export function principalRoleName(principal: string, scope: string, privilegesFrom: string): string {
  return `agentgate_user_${slug(principal, 18)}_${slug(scope, 12)}_${digest([principal, privilegesFrom])}`
}

/** An identifier, quoted (PG 18 docs §4.1.1). */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A string constant that needs no setting to be read (PG 18 docs §4.1.2.2). */
export function literal(text: string): string {
  return ` E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

function slug(text: string, length: number): string {
  const plain = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .slice(0, length)
    .replaceAll(/^_+|_+$/g, '')
  return plain === '' ? 'x' : plain
}

function digest(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 8)
}
