import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

let ownFolder: string | undefined

/** The run's shared folder; a file run on its own outside of vitest's set-up gets one of its own. */
export function testFolder(): string {
  const shared = process.env['AGENTGATE_TEST_FOLDER']
  if (shared !== undefined) return shared
  if (ownFolder === undefined) {
    const folder = (ownFolder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-test-')))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  }
  return ownFolder
}

/** A new folder within it. */
export function newFolder(name = 'case'): string {
  return mkdtempSync(path.join(testFolder(), `${name}-`))
}
