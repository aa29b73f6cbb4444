import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import type { ResourceName } from '../ids.ts'
import { Secret } from '../secret.ts'
import type { Paths } from './paths.ts'
import { updateState } from './private-file.ts'

const content = z.object({ secrets: z.record(z.string(), z.string().min(20)) })

/** What this user's clients prove themselves with to a resource's tunnel: made at first use, the same from then on. */
export function clientSecret(paths: Paths, policyPath: string, resource: ResourceName): Secret {
  const key = keyOf(policyPath, resource)
  return updateState(paths.clientSecretsFile, content, { secrets: {} }, before => {
    const known = before.secrets[key]
    if (known !== undefined) return { content: before, result: new Secret(known) }
    const made = newSecret()
    return { content: { secrets: { ...before.secrets, [key]: made } }, result: new Secret(made) }
  })
}

/** Replaces it; what was saved in clients no longer works from the next session on. */
export function rotateClientSecret(paths: Paths, policyPath: string, resource: ResourceName): Secret {
  const made = newSecret()
  return updateState(paths.clientSecretsFile, content, { secrets: {} }, before => ({
    content: { secrets: { ...before.secrets, [keyOf(policyPath, resource)]: made } },
    result: new Secret(made),
  }))
}

/** A secret that lives as long as one session: what `exec` gives its child. */
export function newSessionSecret(): Secret {
  return new Secret(newSecret())
}

/** 144 bits, in letters that need no escaping in a URL, a pgpass file or a shell. */
function newSecret(): string {
  return `ag_${randomBytes(18).toString('base64url').replaceAll('-', 'A').replaceAll('_', 'B')}`
}

function keyOf(policyPath: string, resource: ResourceName): string {
  return `${policyPath}#${resource}`
}
