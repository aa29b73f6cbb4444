import type { ResolveOptions } from '../config/secret-reference.ts'
import type { TlsSettings } from '../config/tls.ts'
import type { ResourceName, ScopeName } from '../ids.ts'
import type { Subject } from '../policy/subject.ts'
import type { ParsedCredential } from '../policy/schema.ts'
import type { Address } from '../policy/schema-text.ts'
import type { CredentialIssuer } from './credential.ts'
import type { WarmConnections } from './warm-connections.ts'

export type IssuerName = ParsedCredential['issuer']

/** What `credential:` of a resource says, with its secrets resolved. */
export interface OpenedIssuer {
  /** What a URL among its secrets says of the target, for what the policy leaves open. */
  readonly place: { readonly address: Address | undefined; readonly database: string | undefined } | undefined
  /** Opens nothing: the first `mint` or `sweep` does. */
  issuerFor(target: IssuerTarget): CredentialIssuer
}

/** The target that credentials are for, once it is known. */
export interface IssuerTarget {
  readonly name: ResourceName
  readonly kind: string
  /** `host:port`, or an absolute path of a unix socket; what its kind says instead where it has none. */
  readonly address: string
  readonly tls: TlsSettings
  /** The kind's own keys, as its resourceSchema parsed them. */
  readonly settings: unknown
  readonly scope: { readonly name: ScopeName; readonly settings: unknown }
  /** Columns, as masks name them, that no credential of this subject may read; absent: none. */
  readonly withheld?: (subject: Subject) => readonly string[]
}

/**
 * An issuer is a file in this folder, and a line in issuers.ts.
 * @throws AgentgateError SECRET_UNRESOLVED
 */
export type OpenIssuer<Name extends IssuerName> = (
  written: Extract<ParsedCredential, { issuer: Name }>,
  resource: ResourceName,
  secrets: ResolveOptions,
  /** Kept by whoever ends many; absent: each use opens and closes its own. */
  warm?: WarmConnections,
) => Promise<OpenedIssuer>
