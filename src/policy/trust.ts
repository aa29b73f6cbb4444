import path from 'node:path'
import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import { readState, updateState, writePrivateFile } from '../config/private-file.ts'
import { AgentgateError } from '../errors.ts'
import { asPolicyDigest, type PolicyDigest } from '../ids.ts'
import { approverPublicKey, verifyProof, type UnlockedKey } from './approver-key.ts'
import { policyDigest } from './digest.ts'
import type { PolicyFiles } from './policy-files.ts'

/** Why a policy counts, or does not. */
export type Trust =
  /** Signed in the trust store for this path and content. */
  | { readonly kind: 'trusted' }
  /** The content has the digest that was asked for. */
  | { readonly kind: 'pinned' }
  | {
      readonly kind: 'untrusted'
      /** `changed`: other content at this path was trusted. `void`: it was trusted with a key that has been replaced. */
      readonly why: 'never' | 'changed' | 'void'
    }
  /** `--policy-digest` asked for another content. */
  | { readonly kind: 'mismatch'; readonly wanted: string }

const entry = z.object({ path: z.string(), digest: z.string(), trustedAt: z.iso.datetime(), signature: z.string() })
const store = z.object({ version: z.literal(1), entries: z.array(entry) })
type Store = z.output<typeof store>
const emptyStore: Store = { version: 1, entries: [] }
const copy = z.object({
  kind: z.enum(['file', 'folder']),
  files: z.array(z.object({ name: z.string(), base64: z.string() })),
})

export type TrustEntry = z.output<typeof entry>

/** Whether this very content counts. `wanted` is `--policy-digest`, which alone decides where it is given. */
export function trustOf(paths: Paths, policy: PolicyFiles, wanted: string | undefined): Trust {
  if (wanted !== undefined) {
    const digest = asPolicyDigest(wanted)
    return digest === policy.digest ? { kind: 'pinned' } : { kind: 'mismatch', wanted }
  }
  const found = entryOf(paths, policy.path)
  if (found === undefined) return { kind: 'untrusted', why: 'never' }
  if (!isSigned(paths, found)) return { kind: 'untrusted', why: 'void' }
  return found.digest === policy.digest ? { kind: 'trusted' } : { kind: 'untrusted', why: 'changed' }
}

/** @throws AgentgateError POLICY_UNTRUSTED */
export function requireTrust(trust: Trust, policy: PolicyFiles): void {
  const hint = 'look at it and trust it: agentgate trust; in CI pass --policy-digest (from: agentgate policy digest)'
  const { name } = policy
  switch (trust.kind) {
    case 'trusted':
    case 'pinned':
      return
    case 'mismatch':
      throw new AgentgateError('POLICY_UNTRUSTED', `${name} is ${policy.digest}, not the digest that was asked for`, {
        hint: 'if that content is right, pass its digest (agentgate policy digest); else restore the file',
      })
    case 'untrusted':
      throw new AgentgateError('POLICY_UNTRUSTED', untrustedMessage(name, trust.why), { hint })
    default:
      trust satisfies never
  }
}

function untrustedMessage(name: string, why: 'never' | 'changed' | 'void'): string {
  switch (why) {
    case 'never':
      return `${name} has not been trusted, so nothing in it counts`
    case 'changed':
      return `${name} has changed since it was trusted`
    case 'void':
      return `${name} was trusted with another passphrase than the one set now`
    default:
      return why satisfies never
  }
}

/** Lets this content count at this path, in place of what counted there before. */
export function trustPolicy(paths: Paths, policy: PolicyFiles, key: UnlockedKey): void {
  const trustedAt = new Date().toISOString()
  const signature = key.sign(signedBytes(policy.path, policy.digest, trustedAt))
  writePrivateFile(
    copyFile(paths, policy.digest),
    `${JSON.stringify({
      kind: policy.kind,
      files: policy.files.map(file => ({ name: file.name, base64: file.bytes.toString('base64') })),
    })}\n`,
  )
  // Only the newest content counts: an older one, perhaps laxer, is not let back in by putting the file back.
  updateState(paths.trustFile, store, emptyStore, before => ({
    content: {
      version: 1 as const,
      entries: [
        ...before.entries.filter(other => other.path !== policy.path),
        { path: policy.path, digest: policy.digest, trustedAt, signature },
      ],
    },
    result: undefined,
  }))
}

/** Takes trust back. Returns whether there was any. */
export function distrust(paths: Paths, policyPath: string): boolean {
  return updateState(paths.trustFile, store, emptyStore, before => {
    const entries = before.entries.filter(other => other.path !== policyPath)
    if (entries.length === before.entries.length) return { content: before, result: false }
    return { content: { version: 1 as const, entries }, result: true }
  })
}

/** Every entry, and whether the key set now has signed it. */
export function trustEntries(paths: Paths): readonly (TrustEntry & { readonly valid: boolean })[] {
  return readState(paths.trustFile, store, emptyStore).entries.map(one => ({ ...one, valid: isSigned(paths, one) }))
}

/** Signs again, with a new key, what the old one had signed. Returns how many, and how many were void already. */
export function resign(
  paths: Paths,
  oldPublicKey: string,
  key: UnlockedKey,
): { readonly kept: number; readonly dropped: number } {
  return updateState(paths.trustFile, store, emptyStore, before => {
    const entries = before.entries
      .filter(one => signatureHolds(oldPublicKey, one))
      .map(one => ({ ...one, signature: key.sign(signedBytes(one.path, one.digest, one.trustedAt)) }))
    return {
      content: { version: 1 as const, entries },
      result: { kept: entries.length, dropped: before.entries.length - entries.length },
    }
  })
}

/** What was trusted at this path before, to compare with; undefined where that is nothing, or not known for certain. */
export function trustedFiles(
  paths: Paths,
  policyPath: string,
): readonly { readonly name: string; readonly bytes: Buffer }[] | undefined {
  const found = entryOf(paths, policyPath)
  if (found === undefined || !isSigned(paths, found)) return undefined
  const digest = asPolicyDigest(found.digest)
  if (digest === undefined) return undefined
  const kept = readState(copyFile(paths, digest), copy.nullable(), null)
  if (kept === null) return undefined
  const files = kept.files.map(file => ({ name: file.name, bytes: Buffer.from(file.base64, 'base64') }))
  // The copy is not signed, its digest is.
  return policyDigest(kept.kind, files) === digest ? files : undefined
}

function entryOf(paths: Paths, policyPath: string): TrustEntry | undefined {
  return readState(paths.trustFile, store, emptyStore).entries.find(one => one.path === policyPath)
}

function isSigned(paths: Paths, one: TrustEntry): boolean {
  const publicKey = approverPublicKey(paths)
  return publicKey !== null && signatureHolds(publicKey, one)
}

function signatureHolds(publicKey: string, one: TrustEntry): boolean {
  return verifyProof(publicKey, signedBytes(one.path, one.digest, one.trustedAt), one.signature)
}

function signedBytes(policyPath: string, digest: string, trustedAt: string): Buffer {
  return Buffer.from(`agentgate trust v1\n${JSON.stringify([policyPath, digest, trustedAt])}\n`)
}

function copyFile(paths: Paths, digest: PolicyDigest): string {
  return path.join(path.dirname(paths.trustFile), 'trusted', `${digest.slice('sha256:'.length)}.json`)
}
