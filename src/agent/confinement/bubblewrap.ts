import { accessSync, constants, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Environment } from '../../config/paths.ts'
import type { Mount } from './mount.ts'

const usualFolders = ['/usr/bin', '/bin', '/usr/local/bin', '/run/current-system/sw/bin']

/**
 * bubblewrap's program: in one of the system's folders, or in the search path where nobody but root can have put it
 * there. A working folder's `node_modules/.bin` in the search path must not choose what confines.
 */
export function findBubblewrap(env: Environment): string | undefined {
  const others = (env['PATH'] ?? '').split(':').filter(folder => path.isAbsolute(folder))
  for (const folder of usualFolders) if (isProgram(path.join(folder, 'bwrap'))) return path.join(folder, 'bwrap')
  return others.map(folder => path.join(folder, 'bwrap')).find(file => isProgram(file) && isRoots(file))
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

function isRoots(file: string): boolean {
  let place = realpathSync(file)
  for (;;) {
    const { uid, mode } = statSync(place)
    if (uid !== 0 || (mode & 0o022) !== 0) return false
    if (place === '/') return true
    place = path.dirname(place)
  }
}

/**
 * Namespaces and capabilities, the same for everyone: a user namespace where there can be one (root without it keeps
 * root's eyes), and no capability inside, which bubblewrap would leave to root.
 */
const isolation: readonly string[] = [
  '--unshare-user-try',
  '--unshare-pid',
  '--unshare-ipc',
  '--unshare-uts',
  '--unshare-net',
  '--unshare-cgroup-try',
  '--cap-drop',
  'ALL',
  '--die-with-parent',
  // A session of its own: no controlling terminal but the one that the first process takes.
  '--new-session',
]

export interface Sandbox {
  readonly mounts: readonly Mount[]
  readonly workingFolder: string
  /** An empty file, shown in place of those that are hidden. */
  readonly emptyFile: string
  readonly seccomp: boolean
}

/** The words for bubblewrap's `--args 4`; descriptors as src/agent/first-process.ts lists them. */
export function bubblewrapArguments(sandbox: Sandbox, options: { readonly stays: boolean }): readonly string[] {
  return [
    ...isolation,
    ...(sandbox.seccomp ? ['--seccomp', '5'] : []),
    '--json-status-fd',
    '6',
    ...(options.stays ? ['--as-pid-1'] : []),
    ...sandbox.mounts.flatMap(mount => words(mount, sandbox.emptyFile)),
    '--chdir',
    sandbox.workingFolder,
  ]
}

function words(mount: Mount, emptyFile: string): readonly string[] {
  switch (mount.kind) {
    case 'read-only':
      return ['--ro-bind', mount.source ?? mount.path, mount.path]
    case 'writable':
      return ['--bind', mount.path, mount.path]
    case 'private':
      return ['--perms', mount.mode, '--tmpfs', mount.path]
    case 'sealed':
      return ['--remount-ro', mount.path]
    case 'hidden-folder':
      return ['--perms', '0555', '--tmpfs', mount.path, '--remount-ro', mount.path]
    case 'hidden-file':
      return ['--ro-bind', emptyFile, mount.path]
    case 'link':
      return ['--symlink', mount.target, mount.path]
    case 'devices':
      return ['--dev', mount.path]
    case 'processes':
      return ['--proc', mount.path]
    default:
      return mount satisfies never
  }
}
