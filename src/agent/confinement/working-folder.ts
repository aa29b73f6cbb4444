import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { AgentgateError, hasErrno } from '../../errors.ts'
import { secretAround } from './home.ts'
import { within, type Mount } from './mount.ts'

const systemFolders = [
  '/bin',
  '/boot',
  '/dev',
  '/etc',
  '/lib',
  '/lib32',
  '/lib64',
  '/proc',
  '/run',
  '/sbin',
  '/sys',
  '/usr',
]
/** Where container images put what they run. */
const workInSystem = ['/usr/src', '/usr/local/src']
const sharedFolders = [
  '/',
  '/home',
  '/media',
  '/mnt',
  '/opt',
  '/root',
  '/srv',
  '/tmp',
  '/var',
  '/var/tmp',
  ...workInSystem,
]

/**
 * The real path of the folder that a child may write to.
 * @throws AgentgateError UNCONFINED for one that would open too much
 */
export function resolveWorkingFolder(folder: string, home: string): string {
  let real: string
  try {
    real = realpathSync(folder)
    if (!statSync(real).isDirectory()) throw new AgentgateError('NOT_STARTED', `${folder} is not a folder`)
  } catch (error) {
    if (error instanceof AgentgateError) throw error
    throw new AgentgateError('NOT_STARTED', 'the working folder is not there any more', {
      hint: 'go to a folder that exists, and run it again',
      cause: error,
    })
  }
  const refuse = (why: string) =>
    new AgentgateError('UNCONFINED', `the working folder ${real} cannot be the child’s to write: ${why}`, {
      hint: 'run it from a project’s own folder',
    })
  if (sharedFolders.includes(real)) throw refuse('it holds what is not of one project')
  if (within(home, real)) throw refuse('it is, or holds, your home')
  if (systemFolders.some(place => within(real, place)) && !workInSystem.some(place => within(real, place)))
    throw refuse('it is part of the system')
  const secret = secretAround(real, home)
  if (secret !== undefined) throw refuse(`${secret} holds secrets`)
  return real
}

/**
 * What programs outside read from a working folder and run: settings of agents and editors, start-up files, hooks. Shown
 * read-only; those of `placeholders` are made (and removed at the end), or the child would make them.
 */
export const protectedNames: readonly string[] = [
  ...['.claude', '.mcp.json', '.cursor', '.vscode', '.idea', '.zed', '.fleet', '.windsurf', '.continue', '.codex'],
  ...['.gemini', '.aider.conf.yml', '.devcontainer', '.devcontainer.json', '.husky', '.githooks', '.envrc', '.direnv'],
  ...[
    '.bashrc',
    '.bash_profile',
    '.bash_login',
    '.bash_logout',
    '.profile',
    '.zshrc',
    '.zshenv',
    '.zprofile',
    '.zlogin',
  ],
  ...['.config/fish', '.vimrc', '.exrc', '.nvimrc', '.nvim.lua', '.gitconfig', '.inputrc', '.screenrc', '.tmux.conf'],
]

/** `content` null: a folder. */
const placeholders: readonly { readonly name: string; readonly content: string | null }[] = [
  { name: '.claude', content: null },
  { name: '.cursor', content: null },
  { name: '.vscode', content: null },
  { name: '.mcp.json', content: '{"mcpServers":{}}\n' },
]

/** Files of secrets, by name; examples of them are for everyone to read. */
const secretFile = /^(\.env(\..+)?|\.netrc|\.pgpass|\.git-credentials|\.vault-token)$/
const exampleFile = /\.(example|sample|template|dist|defaults?)$/
const searchedFolders = 2000
const searchedDepth = 4
const notSearched = new Set([
  'node_modules',
  '.git',
  'target',
  'dist',
  'build',
  '.venv',
  'venv',
  '__pycache__',
  '.cache',
  'vendor',
])

export interface WorkingFolderOptions {
  readonly folder: string
  /** Protected names and paths that the person opened. */
  readonly opened: ReadonlySet<string>
}

export interface WorkingFolder {
  readonly mounts: readonly Mount[]
  /** Secrets in it, to be hidden. */
  readonly secrets: readonly string[]
  /** What must be the same at the end, as nobody inside may change it. */
  readonly guarded: readonly string[]
  readonly warnings: readonly string[]
}

/** @throws AgentgateError UNCONFINED where something to protect is a symbolic link, which the child could replace */
export function workingFolderMounts(options: WorkingFolderOptions): WorkingFolder {
  const { folder, opened } = options
  const mounts: Mount[] = [{ kind: 'writable', path: folder }]
  const guarded: string[] = []
  for (const name of protectedNames) {
    const place = path.join(folder, name)
    if (opened.has(place)) continue
    if (!isThere(place)) continue
    mounts.push({ kind: 'read-only', path: notALink(place) })
    guarded.push(place)
  }
  const { found, whole } = findSecrets(folder)
  return {
    mounts,
    guarded,
    secrets: found.filter(place => !opened.has(place)),
    warnings: whole ? [] : [`${folder} is large: .env files deep inside may be visible to the child`],
  }
}

/** A path that a child may neither change, replace nor move: itself read-only, each folder above it held in place. */
export function heldInPlace(place: string, writableRoot: string): readonly Mount[] {
  if (place === writableRoot || !within(place, writableRoot)) return []
  const mounts: Mount[] = []
  // A folder that something is mounted on cannot be renamed or removed (rename(2), EBUSY).
  for (
    let above = path.dirname(place);
    above !== writableRoot && within(above, writableRoot);
    above = path.dirname(above)
  )
    mounts.unshift({ kind: 'writable', path: notALink(above) })
  return [...mounts, { kind: 'read-only', path: notALink(place) }]
}

export function notALink(place: string): string {
  if (lstatSync(place).isSymbolicLink())
    throw new AgentgateError('UNCONFINED', `${place} is a symbolic link, which the child could replace`, {
      hint: `put the real file there, or leave it to the child: --write ${place}`,
    })
  return place
}

/** Makes what is missing of the protected names; what it returns removes them again. */
export function makePlaceholders(
  folder: string,
  opened: ReadonlySet<string>,
  more: typeof placeholders = [],
): () => void {
  const made: { readonly place: string; readonly content: string | null }[] = []
  for (const { name, content } of [...placeholders, ...more]) {
    const place = path.join(folder, name)
    if (opened.has(place)) continue
    try {
      if (content === null) mkdirSync(place)
      else writeFileSync(place, content, { flag: 'wx' })
      made.push({ place, content })
    } catch (error) {
      // There already; or not ours to write, and then not the child's either.
      if (!hasErrno(error, 'EEXIST', 'EACCES', 'EROFS', 'EPERM')) throw error
    }
  }
  return () => {
    if (made.length === 0) return
    const mounted = mountPoints()
    for (const { place, content } of made)
      // Removing it would take it away from another session that protects it too.
      if (!mounted.has(place)) removePlaceholder(place, content)
  }
}

function removePlaceholder(place: string, content: string | null): void {
  try {
    if (content === null) rmdirSync(place)
    else if (readFileSync(place, 'utf8') === content) unlinkSync(place)
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EISDIR', 'EACCES', 'EROFS', 'EPERM', 'EBUSY'))
      throw error
  }
}

/** Where some process, in whichever namespace, sees something mounted (proc_pid_mountinfo(5)). */
function mountPoints(): ReadonlySet<string> {
  const points = new Set<string>()
  const seen = new Set<string>()
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    try {
      const namespace = readlinkSync(`/proc/${pid}/ns/mnt`)
      if (seen.has(namespace)) continue
      const text = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
      seen.add(namespace)
      for (const line of text.split('\n')) {
        const point = line.split(' ', 5)[4]
        if (point !== undefined)
          points.add(point.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))))
      }
    } catch {
      continue // gone, or another user's, who cannot have mounted anything of ours
    }
  }
  return points
}

function isThere(place: string): boolean {
  try {
    lstatSync(place)
    return true
  } catch {
    return false
  }
}

/** Breadth first, so that what is near is found within the limit. */
function findSecrets(root: string): { readonly found: readonly string[]; readonly whole: boolean } {
  const found: string[] = []
  let level = [root]
  let searched = 0
  for (let depth = 0; depth <= searchedDepth && level.length > 0; depth++) {
    const next: string[] = []
    for (const folder of level) {
      if (++searched > searchedFolders) return { found, whole: false }
      for (const entry of entriesOf(folder)) {
        const place = path.join(folder, entry.name)
        if (entry.isDirectory()) {
          if (!notSearched.has(entry.name)) next.push(place)
        } else if (secretFile.test(entry.name) && !exampleFile.test(entry.name)) found.push(...realAndSelf(place))
      }
    }
    level = next
  }
  return { found, whole: level.length === 0 }
}

// What a link leads to is the secret; the link itself is only a name.
function realAndSelf(place: string): readonly string[] {
  try {
    return [realpathSync(place)]
  } catch {
    return []
  }
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    return []
  }
}
