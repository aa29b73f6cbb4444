import { createPrivateKey, createPublicKey, randomBytes, scrypt, sign, verify, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import { readState, writePrivateFile } from '../config/private-file.ts'
import { AgentgateError } from '../errors.ts'

/** The key behind the passphrase, unlocked: keep it for minutes, in memory only, then forget it. */
export interface UnlockedKey {
  /** Raw Ed25519 public key, base64url. */
  readonly publicKey: string
  /** An Ed25519 signature, base64url. */
  sign(bytes: Uint8Array): string
}

/** 128 MiB and half a second of processor time a guess (OWASP Password Storage: N=2^17, r=8, p=1). */
const cost = { N: 1 << 17, r: 8, p: 1 } as const
const minPassphraseLength = 8

const keyFile = z.object({
  version: z.literal(1),
  // Bounded, so that a damaged file cannot ask for all memory there is.
  scrypt: z.object({
    N: z
      .int()
      .min(1 << 14)
      .max(1 << 20),
    r: z.int().min(8).max(16),
    p: z.int().min(1).max(4),
  }),
  salt: z.string().min(16).max(100),
  publicKey: z.string().min(40).max(50),
})

type KeyFile = z.output<typeof keyFile>

/** Whether a passphrase has been set. @throws AgentgateError STATE_UNSAFE */
export function hasApproverKey(paths: Paths): boolean {
  return readKeyFile(paths) !== null
}

/** What the state folder says the key is; null where no passphrase has been set. */
export function approverPublicKey(paths: Paths): string | null {
  return readKeyFile(paths)?.publicKey ?? null
}

/** @throws AgentgateError PASSPHRASE: none set, or not this one. */
export async function unlock(paths: Paths, passphrase: string): Promise<UnlockedKey> {
  const file = readKeyFile(paths)
  if (file === null)
    throw new AgentgateError('PASSPHRASE', 'no passphrase has been set', { hint: 'set one with: agentgate passphrase' })
  const key = await derive(passphrase, file)
  if (key.publicKey !== file.publicKey)
    throw new AgentgateError('PASSPHRASE', 'that is not the passphrase', {
      hint: 'try again; if it is lost: agentgate passphrase --new, which voids what was trusted',
    })
  return key
}

/**
 * Makes a key and puts it in place of what was there. Whoever calls says what becomes of what the old one signed.
 * @throws AgentgateError PASSPHRASE where the passphrase is too short
 */
export async function replaceApproverKey(paths: Paths, passphrase: string): Promise<UnlockedKey> {
  const problem = passphraseProblem(passphrase)
  if (problem !== undefined) throw new AgentgateError('PASSPHRASE', problem, { hint: 'several words are easiest' })
  const salt = randomBytes(16).toString('base64url')
  const draft = { version: 1 as const, scrypt: cost, salt }
  const key = await derive(passphrase, draft)
  const file: KeyFile = { ...draft, publicKey: key.publicKey }
  paths.stateDir()
  writePrivateFile(paths.approverKeyFile, `${JSON.stringify(file, undefined, 2)}\n`)
  return key
}

/** Makes the key at first use. @throws AgentgateError PASSPHRASE where one exists, or the passphrase is too short. */
export async function createApproverKey(paths: Paths, passphrase: string): Promise<UnlockedKey> {
  if (hasApproverKey(paths))
    throw new AgentgateError('PASSPHRASE', 'a passphrase has been set already', {
      hint: 'change it with: agentgate passphrase',
    })
  return await replaceApproverKey(paths, passphrase)
}

export function passphraseProblem(passphrase: string): string | undefined {
  if (passphrase.normalize('NFKC').length < minPassphraseLength)
    return `a passphrase needs at least ${minPassphraseLength} characters`
  return undefined
}

/** Checks what `sign` gave against the key in the state folder; null where no passphrase has been set. */
export function proofVerifier(paths: Paths): ((bytes: Uint8Array, proof: string) => boolean) | null {
  const file = readKeyFile(paths)
  if (file === null) return null
  const key = publicKeyOf(file.publicKey)
  return (bytes, proof) => verifyWith(key, bytes, proof)
}

/** Checks a signature against a public key as `UnlockedKey.publicKey` has it. */
export function verifyProof(publicKey: string, bytes: Uint8Array, proof: string): boolean {
  return verifyWith(publicKeyOf(publicKey), bytes, proof)
}

function verifyWith(key: KeyObject, bytes: Uint8Array, proof: string): boolean {
  const signature = Buffer.from(proof, 'base64url')
  return signature.length === 64 && verify(null, bytes, key, signature)
}

function readKeyFile(paths: Paths): KeyFile | null {
  return readState(paths.approverKeyFile, keyFile.nullable(), null)
}

function publicKeyOf(raw: string): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw }, format: 'jwk' })
}

/** PKCS #8 around a raw Ed25519 seed (RFC 8410 §7). */
const seedHeader = Buffer.from('302e020100300506032b657004220420', 'hex')

async function derive(passphrase: string, file: Omit<KeyFile, 'publicKey'>): Promise<UnlockedKey> {
  const { N, r, p } = file.scrypt
  const seed = await new Promise<Buffer>((resolve, reject) => {
    // The same letters give the same bytes, whatever keyboard they came from.
    const options = { N, r, p, maxmem: 256 * N * r }
    scrypt(passphrase.normalize('NFKC'), Buffer.from(file.salt, 'base64url'), 32, options, (error, key) => {
      if (error === null) resolve(key)
      else reject(error)
    })
  })
  const encoded = Buffer.concat([seedHeader, seed])
  const privateKey = createPrivateKey({ key: encoded, format: 'der', type: 'pkcs8' })
  seed.fill(0)
  encoded.fill(0)
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' })
  if (x === undefined) throw new TypeError('a public key without its value')
  return { publicKey: x, sign: bytes => sign(null, bytes, privateKey).toString('base64url') }
}
