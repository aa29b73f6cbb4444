import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { isMap, isScalar, parseDocument } from 'yaml'
import { asResourceName } from '../ids.ts'
import type { Io } from './command.ts'

/** The names in the policy here, for a shell that waits for them: only read, nothing of it is believed. */
export function resourceNames(io: Pick<Io, 'cwd' | 'env'>): readonly string[] {
  const names = new Set<string>()
  for (const file of policyFiles(io)) {
    const resources = parseDocument(readFileSync(file, 'utf8'), { logLevel: 'silent' }).get('resources')
    if (!isMap(resources)) continue
    for (const { key } of resources.items) {
      // Shells expand what they are given to complete with: only what is a name may pass.
      const name = isScalar(key) && typeof key.value === 'string' ? asResourceName(key.value) : undefined
      if (name !== undefined) names.add(name)
    }
  }
  return [...names]
}

function policyFiles(io: Pick<Io, 'cwd' | 'env'>): string[] {
  const named = io.env['AGENTGATE_POLICY']
  let found = named === undefined || named === '' ? undefined : path.resolve(io.cwd, named)
  for (let folder = io.cwd; found === undefined; folder = path.dirname(folder)) {
    const file = path.join(folder, 'agentgate.yaml')
    if (existsSync(file)) found = file
    else if (folder === path.dirname(folder)) return []
  }
  if (!existsSync(found)) return []
  if (!statSync(found).isDirectory()) return [found]
  const folder = found
  return readdirSync(folder)
    .filter(name => /\.ya?ml$/.test(name))
    .map(name => path.join(folder, name))
}
