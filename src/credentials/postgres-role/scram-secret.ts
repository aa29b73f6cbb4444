import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { Secret } from '../../secret.ts'

const derive = promisify(pbkdf2)
/** RFC 7677's floor. The password has 192 random bits: nobody guesses it, however cheap a guess is. */
const iterations = 4096

/** A password that nobody chose, and what a server keeps of it (PG 18 docs §52.8, pg_authid): the password itself is never sent. */
export async function newScramSecret(): Promise<{ readonly password: Secret; readonly verifier: string }> {
  // ASCII letters and digits: SASLprep (RFC 4013) leaves them as they are.
  const password = randomBytes(24).toString('base64url').replaceAll('-', 'A').replaceAll('_', 'B')
  const secret = new Secret(password)
  return { password: secret, verifier: await scramVerifier(secret) }
}

/** What a server keeps of a password of ours. */
export async function scramVerifier(password: Secret): Promise<string> {
  const salt = randomBytes(16)
  const salted = await derive(password.reveal(), salt, iterations, 32, 'sha256')
  const key = (name: string) => createHmac('sha256', salted).update(name).digest()
  const stored = createHash('sha256').update(key('Client Key')).digest('base64')
  const server = key('Server Key').toString('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${server}`
}
