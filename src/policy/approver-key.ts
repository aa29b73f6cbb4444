import type { Paths } from '../config/paths.ts'
import { pending } from './policy.ts'

/** The key behind the passphrase, unlocked: keep it for minutes, in memory only, then forget it. */
export interface UnlockedKey {
  /** Raw Ed25519 public key, base64url. */
  readonly publicKey: string
  /** An Ed25519 signature, base64url. */
  sign(bytes: Uint8Array): string
}

/** Whether a passphrase has been set. */
export function hasApproverKey(_paths: Paths): boolean {
  return pending('the approver key')
}

/** @throws AgentgateError PASSPHRASE: none set, or not this one. */
export function unlock(_paths: Paths, _passphrase: string): Promise<UnlockedKey> {
  return pending('the approver key')
}

/** Makes the key at first use. @throws AgentgateError PASSPHRASE where one exists, or the passphrase is too short. */
export function createApproverKey(_paths: Paths, _passphrase: string): Promise<UnlockedKey> {
  return pending('the approver key')
}

/** Checks what `sign` gave against the key in the state folder; null where no passphrase has been set. */
export function proofVerifier(_paths: Paths): ((bytes: Uint8Array, proof: string) => boolean) | null {
  return pending('the approver key')
}
