import type { PolicyContent } from '../control/broker-schema.ts'
import type { LoadedPolicy } from '../policy/load.ts'

/** A policy as it is sent to a tunnel, or by one. */
export function contentOf(policy: LoadedPolicy): PolicyContent {
  return {
    digest: policy.digest,
    kind: policy.files.length === 1 && policy.path === policy.files[0]?.path ? 'file' : 'folder',
    files: policy.files.map(file => ({
      name: file.path.split('/').at(-1) ?? 'agentgate.yaml',
      text: file.bytes.toString('utf8'),
    })),
  }
}
