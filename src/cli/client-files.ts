import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Paths } from '../config/paths.ts'
import { privateFolder, writePrivateFile } from '../config/private-file.ts'
import type { OpenSession } from './open-session.ts'

/**
 * Writes what clients read (a libpq service and password file, JDBC properties) under AGENTGATE_HOME, one of each for all
 * resources; those of other resources stay. Returns their paths.
 */
export function writeClientFiles(paths: Paths, endpoints: OpenSession['endpoints']): readonly string[] {
  const folder = privateFolder(path.join(paths.configDir(), 'clients'))
  const written = new Set<string>()
  for (const { resource, endpoint } of endpoints)
    for (const [name, content] of Object.entries(endpoint.files)) {
      // A part for each resource, so that writing one takes nothing from another.
      const parts = path.join(folder, `${name}.d`)
      mkdirSync(parts, { recursive: true, mode: 0o700 })
      writePrivateFile(path.join(parts, resource.name), content.endsWith('\n') ? content : `${content}\n`)
      const whole = readdirSync(parts)
        .filter(part => !part.startsWith('.'))
        .sort()
        .map(part => readFileSync(path.join(parts, part), 'utf8'))
        .join('\n')
      writePrivateFile(path.join(folder, name), whole)
      written.add(path.join(folder, name))
    }
  return [...written].sort()
}

/** Lines for a shell that have clients find the files; libpq alone has variables for its own. */
export function clientFileHints(files: readonly string[]): readonly string[] {
  const variables: Readonly<Record<string, string>> = { 'pg_service.conf': 'PGSERVICEFILE', pgpass: 'PGPASSFILE' }
  return files.map(file => {
    const variable = variables[path.basename(file)]
    return variable === undefined ? file : `export ${variable}=${quoted(file)}`
  })
}

function quoted(text: string): string {
  return /^[\w./@%+=:,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
