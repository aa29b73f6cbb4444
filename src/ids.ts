import { randomBytes } from 'node:crypto'

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

export type SessionId = Branded<'SessionId'>
export type GrantId = Branded<'GrantId'>
export type RequestId = Branded<'RequestId'>
export type ApprovalId = Branded<'ApprovalId'>
/** Counts within its session: `c1`, `c2`, … */
export type ConnectionId = Branded<'ConnectionId'>
export type ResourceName = Branded<'ResourceName'>
export type ScopeName = Branded<'ScopeName'>
/** `sha256:` and 64 hexadecimal digits. */
export type PolicyDigest = Branded<'PolicyDigest'>

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ' // Crockford's base 32: no I, L, O, U

function randomText(length: number): string {
  let text = ''
  for (const byte of randomBytes(length)) text += alphabet.charAt(byte & 31)
  return text
}

// 50 bits: short enough to type, far from colliding on one machine; a prefix that is unique is accepted anywhere.
export const newSessionId = () => `s_${randomText(10)}` as SessionId
export const newGrantId = () => `g_${randomText(10)}` as GrantId
export const newApprovalId = () => `a_${randomText(6)}` as ApprovalId
export const newRequestId = () => `r_${randomText(10)}` as RequestId
/** One running broker among those on a store, and a store among others. */
export const newBrokerId = () => `b_${randomText(12)}`
export const newCheckId = () => `k_${randomText(12)}`
export const connectionId = (count: number) => `c${count}` as ConnectionId

const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/i

export function asResourceName(text: string): ResourceName | undefined {
  return namePattern.test(text) ? (text as ResourceName) : undefined
}

export function asScopeName(text: string): ScopeName | undefined {
  return namePattern.test(text) ? (text as ScopeName) : undefined
}

export function asSessionId(text: string): SessionId | undefined {
  return /^s_[0-9A-Z]{4,32}$/.test(text) ? (text as SessionId) : undefined
}

export function asApprovalId(text: string): ApprovalId | undefined {
  return /^a_[0-9A-Z]{4,32}$/.test(text) ? (text as ApprovalId) : undefined
}

export function asPolicyDigest(text: string): PolicyDigest | undefined {
  return /^sha256:[0-9a-f]{64}$/.test(text) ? (text as PolicyDigest) : undefined
}
