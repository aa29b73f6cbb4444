import { accessSync, constants } from 'node:fs'
import path from 'node:path'
import { describe, it } from 'vitest'

/** Something that a machine may lack: a server, a compiler, a client. */
export interface Need {
  readonly name: string
  /** undefined: present; else what to do about it. */
  readonly missing: string | undefined
}

/** The program's path, or undefined. */
export function findProgram(name: string, ...more: readonly string[]): string | undefined {
  for (const folder of [...(process.env['PATH'] ?? '').split(':'), ...more]) {
    const file = path.join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      continue
    }
  }
  return undefined
}

export function program(name: string, hint = `install ${name}`): Need {
  return { name, missing: findProgram(name) === undefined ? hint : undefined }
}

// .ci/run sets up every one of them, so a missing one there is a hole in it, not a fact about the machine.
const allMustBeThere = process.env['AGENTGATE_TEST_ALL'] === '1'

/** A suite that says by name what it lacks: skipped on a developer's machine, failed in CI, never passed. */
export function describeWith(name: string, needs: readonly Need[], suite: () => void): void {
  const missing = needs.filter(need => need.missing !== undefined)
  if (missing.length === 0) {
    describe(name, suite)
    return
  }
  const said = missing.map(need => `${need.name}: ${need.missing ?? ''}`).join('; ')
  if (!allMustBeThere) {
    describe.skip(`${name} (not here: ${said})`, suite)
    return
  }
  describe(name, () => {
    it('has what it needs', () => {
      throw new Error(`not here: ${said}`)
    })
  })
}
