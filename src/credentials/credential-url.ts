import { AgentgateError } from '../errors.ts'
import type { ResourceName } from '../ids.ts'
import { parseAddress, type Address } from '../policy/schema-text.ts'
import { Secret } from '../secret.ts'

export interface CredentialUrl {
  readonly address: Address | undefined
  readonly user: string | null
  readonly password: Secret | null
  readonly database: string | undefined
}

/**
 * `scheme://user:password@host:port/database?…`, percent-encoded as RFC 3986 §3.2.1 has it. Names no part of it in errors.
 * @throws AgentgateError SECRET_UNRESOLVED
 */
export function readCredentialUrl(text: Secret, resource: ResourceName): CredentialUrl {
  const unreadable = (what: string) =>
    new AgentgateError('SECRET_UNRESOLVED', `${resource}: the credential’s url ${what}`, {
      hint: 'it is scheme://user:password@host:port/database, with other characters in a password as %XX',
    })
  let url: URL
  try {
    url = new URL(text.reveal())
  } catch {
    throw unreadable('cannot be read as a URL')
  }
  const decoded = (part: string) => {
    try {
      return decodeURIComponent(part)
    } catch {
      throw unreadable('has a % that is no escape')
    }
  }
  let address: Address | undefined
  if (url.host !== '') {
    // Special schemes (https) drop their own default port, others keep what was written.
    const parsed = parseAddress(decoded(url.host))
    if (typeof parsed === 'string') throw unreadable('has a host that is none')
    address = parsed
  }
  const database = decoded(url.pathname.replace(/^\//, ''))
  return {
    address,
    user: url.username === '' ? null : decoded(url.username),
    password: url.password === '' ? null : new Secret(decoded(url.password)),
    database: database === '' || database.includes('/') ? undefined : database,
  }
}
