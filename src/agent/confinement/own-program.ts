import { existsSync } from 'node:fs'
import path from 'node:path'
import { within } from './mount.ts'

/**
 * What agentgate is loaded from, where that lies in `root`, which the child may write: it would run outside the next time.
 * All of a `node_modules`, as what it depends on lies anywhere in there.
 */
export function ownProgram(program: string, root: string): readonly string[] {
  if (!within(program, root)) return []
  const names = path.relative(root, program).split('/')
  const modules = names.indexOf('node_modules')
  if (modules !== -1) return [path.join(root, ...names.slice(0, modules + 1))]
  // A checkout: bin/agentgate starts dist/agentgate.js.
  const checkout = path.dirname(path.dirname(program))
  return [program, ...['bin', 'dist', 'node_modules', 'package.json'].map(name => path.join(checkout, name))].filter(
    place => place !== root && within(place, root) && existsSync(place),
  )
}
