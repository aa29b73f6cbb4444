import { execFile } from 'node:child_process'
import os from 'node:os'
import { promisify } from 'node:util'

/** A principal by the operating system's word. */
export interface OsUser {
  readonly name: string
  readonly groups: readonly string[]
  readonly source: 'os-user'
}

/** Who runs this process, as the operating system names them: the principal where a policy has no issuers. */
export async function osUser(): Promise<OsUser> {
  return { name: userName(), groups: await osGroups(), source: 'os-user' }
}

function userName(): string {
  try {
    return os.userInfo().username
  } catch {
    // A container may be run as a number that has no name in it (docker run --user 1234).
    return `uid-${process.getuid?.() ?? 'unknown'}`
  }
}

async function osGroups(): Promise<readonly string[]> {
  try {
    // A fixed path: what PATH holds must not say which groups someone is in.
    const { stdout } = await promisify(execFile)('/usr/bin/id', ['-Gn'], { timeout: 3000 })
    return stdout.trim().split(/\s+/)
  } catch {
    return [] // unknown groups are none: fewer rights, never more
  }
}
