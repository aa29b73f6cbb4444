import type { Secret } from '../secret.ts'
import type { GrantId } from '../ids.ts'
import type { Subject } from '../policy/subject.ts'

/** What the tunnel presents to the target, held in memory only. */
export interface Credential {
  readonly issuer: string
  /** The user or role to log in as; null where the kind has none. */
  readonly user: string | null
  readonly secret: Secret | null
  /** Client certificate and key, PEM. */
  readonly certificate: { readonly certificate: string; readonly key: Secret } | null
  readonly expiresAt: Date | null
}

export interface MintRequest {
  readonly grant: GrantId
  readonly subject: Subject
  readonly scope: { readonly name: string; readonly settings: unknown }
  readonly ttlSeconds: number
  /** The store that keeps it, whichever process minted it: only its own word makes it an orphan. Absent: this process. */
  readonly keeper?: string
}

/** What a store knows, for a sweep: whose grants these are, and which of them live. */
export interface Kept {
  readonly keeper: string
  live(grants: readonly string[]): Promise<ReadonlySet<string>>
}

/** Makes and ends credentials for one resource. Every method may be called again after a crash, by another process. */
export interface CredentialIssuer {
  readonly name: string
  mint(request: MintRequest): Promise<Credential>
  /** The same credential for longer, or a new one in its place. */
  renew(credential: Credential, ttlSeconds: number): Promise<Credential>
  /** From now on the target refuses it. */
  revoke(credential: Credential): Promise<void>
  /** Ends what runs under it at the target, without the tunnel's help. */
  terminate(credential: Credential): Promise<void>
  /** Removes what expired and was never revoked, and what its keeper no longer knows; returns how many. */
  sweep(kept?: Kept): Promise<number>
}
