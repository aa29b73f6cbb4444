import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, type Cipher, type Decipher } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { JournalHeader } from '../format.ts'

/** Encrypted to whoever may read the session; removing it erases the content for good. */
export const wrappedKeyName = 'key.age'
/** A header with a few hundred recipients; what is larger is none of ours. */
export const maxWrappedBytes = 64 * 1024
export const contentKeyBytes = 32
const nonceBytes = 12
const tagBytes = 16
/** Each file has a key of its own, so that a counter that begins at zero is never used twice. */
const firstCounter = Buffer.alloc(16)

/** What a session's content is encrypted with. */
export class ContentKey {
  readonly secret: Buffer
  readonly #session: string

  constructor(session: string, secret: Uint8Array) {
    if (secret.length !== contentKeyBytes) throw new RangeError('a content key has 32 bytes')
    this.#session = session
    this.secret = Buffer.from(secret)
  }

  /** For the records of a journal, from the first on; what was torn off is found by the records' own checks. */
  journalCipher(number: number): Cipher {
    return createCipheriv('aes-256-ctr', this.#keyFor('journal', number), firstCounter)
  }

  journalDecipher(number: number): Decipher {
    return createDecipheriv('aes-256-ctr', this.#keyFor('journal', number), firstCounter)
  }

  /** A segment's payload, bound to its place in the session. */
  sealPayload(header: JournalHeader, payload: Buffer): { readonly nonce: string; readonly payload: Buffer } {
    const nonce = randomBytes(nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#keyFor('segment', header.number), nonce)
    cipher.setAAD(placeOf(header))
    const sealed = Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()])
    return { nonce: nonce.toString('hex'), payload: sealed }
  }

  /** Throws where it is another key's, or was altered. */
  openPayload(header: JournalHeader, nonce: string, sealed: Buffer): Buffer {
    const end = sealed.length - tagBytes
    if (end < 0) throw new RangeError('too short')
    const key = this.#keyFor('segment', header.number)
    const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce, 'hex'), { authTagLength: tagBytes })
    decipher.setAAD(placeOf(header))
    decipher.setAuthTag(sealed.subarray(end))
    return Buffer.concat([decipher.update(sealed.subarray(0, end)), decipher.final()])
  }

  #keyFor(kind: 'journal' | 'segment', number: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.secret, this.#session, `agentgate ${kind} ${number}`, 32))
  }
}

function placeOf({ session, number, first, previous }: JournalHeader): Buffer {
  return Buffer.from(`${session}\n${number}\n${first}\n${previous}\n`)
}

/** A fresh key, and the same encrypted to age recipients. Throws where one of them is none. */
export async function newContentKey(
  session: string,
  recipients: readonly string[],
): Promise<{ readonly key: ContentKey; readonly wrapped: Buffer }> {
  const { Encrypter } = await import('age-encryption')
  const key = new ContentKey(session, randomBytes(contentKeyBytes))
  const encrypter = new Encrypter()
  for (const recipient of recipients) encrypter.addRecipient(recipient)
  return { key, wrapped: Buffer.from(await encrypter.encrypt(key.secret)) }
}

/** What opens it is one of `identities` (`AGE-SECRET-KEY-1…`); undefined: none does. */
export async function unwrapContentKey(
  session: string,
  wrapped: Buffer,
  identities: readonly string[],
): Promise<ContentKey | undefined> {
  const { Decrypter } = await import('age-encryption')
  const decrypter = new Decrypter()
  try {
    for (const identity of identities) decrypter.addIdentity(identity)
    return new ContentKey(session, await decrypter.decrypt(wrapped))
  } catch {
    return undefined
  }
}

/** Where the key of a session that goes on is kept for its own user: to look on, and to seal what a crash leaves. */
export function writeLiveKey(file: string, key: ContentKey): void {
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  fs.writeFileSync(file, key.secret, { flag: 'wx', mode: 0o600 })
}

export function readLiveKey(session: string, file: string): ContentKey | undefined {
  try {
    const stat = fs.statSync(file)
    if (!stat.isFile() || stat.size !== contentKeyBytes) return undefined
    return new ContentKey(session, fs.readFileSync(file))
  } catch {
    return undefined // the session has ended, or the machine was restarted since
  }
}

export function removeLiveKey(file: string): void {
  fs.rmSync(file, { force: true })
}
