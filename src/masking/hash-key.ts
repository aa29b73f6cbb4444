import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import { updateState } from '../config/private-file.ts'
import { Secret } from '../secret.ts'

const content = z.object({ key: z.string().min(43).optional() })

/**
 * The key of this installation's hashes: made at first use, the same from then on, so that a hash seen yesterday joins
 * with one of today. Whoever has it can try values out, so it is kept as private as the trust store.
 * @throws AgentgateError STATE_UNSAFE
 */
export function hashKey(paths: Paths): Secret {
  return updateState(path.join(paths.stateDir(), 'masking-key.json'), content, {}, before => {
    if (before.key !== undefined) return { content: before, result: new Secret(before.key) }
    const made = randomBytes(32).toString('base64url')
    return { content: { ...before, key: made }, result: new Secret(made) }
  })
}
