import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** One folder for all that the run's test files share (server templates); gone at the end. */
export default function setup(): () => void {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-test-'))
  process.env['AGENTGATE_TEST_FOLDER'] = folder
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
}
