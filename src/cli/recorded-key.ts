import { readFileSync } from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import type { ContentKey } from '../recording/encryption/content-key.ts'
import type { Erasure } from '../recording/encryption/erasure.ts'
import { findKey, isEncrypted } from '../recording/encryption/find-key.ts'
import type { Io } from './command.ts'

/** For what reads content. null: it is not encrypted. @throws AgentgateError RECORDING_LOCKED, CONTENT_ERASED, USAGE */
export async function keyFor(folder: string, io: Io): Promise<ContentKey | null> {
  const { key, why, erased } = await keyIfAny(folder, io)
  if (why === undefined) return key
  if (erased)
    throw new AgentgateError('CONTENT_ERASED', why, {
      hint: `that it is whole can still be proven: agentgate sessions verify ${path.basename(folder)}`,
    })
  throw new AgentgateError('RECORDING_LOCKED', why, {
    hint: 'with the identity of one of its recipients: AGENTGATE_AGE_IDENTITY=FILE, or --identity FILE',
  })
}

/** For what can do without: `why` says why there is none. @throws AgentgateError USAGE */
export async function keyIfAny(
  folder: string,
  io: Io,
): Promise<{ readonly key: ContentKey | null; readonly why: string | undefined; readonly erased: boolean }> {
  const identities = identitiesOf(io)
  if (!(await isEncrypted(folder))) return { key: null, why: undefined, erased: false }
  const found = await findKey(folder, identities)
  if (found.kind === 'key') return { key: found.key, why: undefined, erased: false }
  const name = path.basename(folder)
  if (found.kind === 'erased') return { key: null, why: erasedText(name, found.erasure), erased: true }
  const why = identities.length === 0 ? `${name} is encrypted` : `${name} is encrypted to others`
  return { key: null, why, erased: false }
}

/** `the content of s_7Q2N was erased on 2026-11-21 by maria (request 17)` */
export function erasedText(name: string, erasure: Erasure | null): string {
  if (erasure === null) return `the content of ${name} is gone: its key is not there any more`
  const { erasedAt, by, reason } = erasure
  return `the content of ${name} was erased on ${new Date(erasedAt).toISOString().slice(0, 10)} by ${by} (${reason})`
}

/** Lines of a file of age-keygen, or such a line itself. */
function identitiesOf({ env, cwd }: Io): readonly string[] {
  const given = env['AGENTGATE_AGE_IDENTITY'] ?? ''
  if (given === '') return []
  const text = given.startsWith('AGE-SECRET-KEY-') ? given : readIdentity(path.resolve(cwd, given))
  const identities = text.split('\n').flatMap(line => (line.startsWith('AGE-SECRET-KEY-') ? [line.trim()] : []))
  if (identities.length === 0)
    throw new AgentgateError('USAGE', 'the identity file holds no identity of age', { hint: 'age-keygen -o key.txt' })
  return identities
}

function readIdentity(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new AgentgateError('USAGE', `${file} cannot be read`, { hint: 'age-keygen -o key.txt', cause })
  }
}
