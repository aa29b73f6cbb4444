import { accessSync, constants, statSync } from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'

/**
 * The file that a command's name stands for, found as execvp(3) finds it.
 * @throws AgentgateError NOT_STARTED, with env(1)'s codes: 127 not found, 126 not executable
 */
export function commandPath(name: string, searchPath: string, workingFolder: string): string {
  const candidates = name.includes('/')
    ? [path.resolve(workingFolder, name)]
    : searchPath.split(':').map(folder => path.resolve(workingFolder, folder, name))
  let refused = false
  for (const file of candidates) {
    const kind = kindOf(file)
    if (kind === 'executable') return file
    refused ||= kind === 'other'
  }
  if (name === '' || !refused) throw new AgentgateError('NOT_STARTED', `${name}: not found`, { exitCode: 127 })
  throw new AgentgateError('NOT_STARTED', `${name}: cannot be executed`, {
    exitCode: 126,
    hint: `ls -l ${candidates.find(file => kindOf(file) === 'other') ?? name}`,
  })
}

function kindOf(file: string): 'executable' | 'other' | 'missing' {
  try {
    if (!statSync(file).isFile()) return 'other'
  } catch {
    return 'missing'
  }
  try {
    accessSync(file, constants.X_OK)
    return 'executable'
  } catch {
    return 'other'
  }
}
