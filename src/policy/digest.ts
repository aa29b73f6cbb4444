import { createHash } from 'node:crypto'
import path from 'node:path'
import { asPolicyDigest, type PolicyDigest } from '../ids.ts'

/**
 * The digest of a policy's content: of a single file its bytes whatever it is called, of a folder its files' names too,
 * since they give the order.
 */
export function policyDigest(
  kind: 'file' | 'folder',
  files: readonly { readonly name: string; readonly bytes: Uint8Array }[],
): PolicyDigest {
  const hash = createHash('sha256')
  hash.update(`agentgate policy v1 ${kind}\n`)
  for (const { name, bytes } of files) {
    // Lengths in front, so that no content can be read as the end of one file and the start of another.
    hash.update(`${JSON.stringify([kind === 'folder' ? path.basename(name) : '', bytes.length])}\n`)
    hash.update(bytes)
  }
  const digest = asPolicyDigest(`sha256:${hash.digest('hex')}`)
  if (digest === undefined) throw new TypeError('a digest of another length')
  return digest
}
