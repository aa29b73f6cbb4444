import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { privateFolder, writePrivateFile } from '../config/private-file.ts'
import type { Environment } from '../config/paths.ts'
import type { PolicyContent } from '../control/broker-schema.ts'
import { loadPolicy, type LoadedPolicy } from '../policy/load.ts'
import type { PolicyKinds } from '../policy/policy.ts'

/**
 * A broker's policy, kept in a folder that is the same each time, so that ports and clients' secrets are too. Its digest is
 * the broker's word for it; nothing of it is resolved here.
 * @throws AgentgateError POLICY_UNTRUSTED (it is not what its digest says), POLICY_INVALID
 */
export async function loadBrokerPolicy(
  content: PolicyContent,
  folder: string,
  env: Environment,
  kinds: PolicyKinds,
): Promise<LoadedPolicy> {
  const single = content.kind === 'file'
  const place = single ? path.join(folder, 'agentgate.yaml') : path.join(folder, 'policy')
  if (single) writePrivateFile(place, content.files[0]?.text ?? '')
  else {
    mkdirSync(place, { recursive: true, mode: 0o700 })
    privateFolder(place)
    const names = new Set(content.files.map(file => file.name))
    for (const name of readdirSync(place)) if (!names.has(name)) rmSync(path.join(place, name), { force: true })
    for (const file of content.files) writePrivateFile(path.join(place, file.name), file.text)
  }
  return await loadPolicy({ path: place, cwd: folder, env, kinds, digest: content.digest })
}
