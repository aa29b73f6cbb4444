import { accessSync, constants, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { hasErrno } from '../../errors.ts'
import { notALink } from './working-folder.ts'
import { within, type Mount } from './mount.ts'

export interface GitFolder {
  readonly mounts: readonly Mount[]
  /** Configurations in it, to be shown as copies without secrets. */
  readonly configurations: readonly string[]
  readonly guarded: readonly string[]
  /** What git would follow if it were there: placeholders that say what holds anyway. */
  readonly placeholders: readonly { readonly folder: string; readonly name: string; readonly content: string }[]
}

const none: GitFolder = { mounts: [], configurations: [], guarded: [], placeholders: [] }

/**
 * The repository around a working folder: the child may commit, and may not leave behind what git runs for the person
 * later (hooks, and the configuration, which names programs: gitconfig core.fsmonitor, core.pager, alias …).
 */
export function gitFolderMounts(workingFolder: string, home: string, opened: ReadonlySet<string>): GitFolder {
  const dotGit = findDotGit(workingFolder, home)
  if (dotGit === undefined || opened.has(dotGit)) return none
  const worktree = lstatSync(dotGit).isFile() ? worktreeOf(dotGit) : undefined
  const isRepository = worktree !== undefined || statSync(dotGit).isDirectory()
  if (!isRepository)
    return { ...none, mounts: within(dotGit, workingFolder) ? [{ kind: 'read-only', path: dotGit }] : [] }
  const common = worktree?.common ?? notALink(dotGit)
  const mounts: Mount[] = []
  if (!within(common, workingFolder)) {
    if (!isOwn(common)) return none
    mounts.push({ kind: 'writable', path: common })
  } else mounts.push({ kind: 'writable', path: common }) // held in place
  if (worktree !== undefined) mounts.push({ kind: 'read-only', path: dotGit })
  const repositories = [common, ...submodulesIn(path.join(common, 'modules'), 4)].filter(isWritable)
  const configurations: string[] = []
  const guarded: string[] = []
  for (const repository of repositories) {
    const hooks = path.join(repository, 'hooks')
    if (isFolder(hooks) && !opened.has(hooks)) {
      mounts.push({ kind: 'read-only', path: notALink(hooks) })
      guarded.push(hooks)
    } else if (!opened.has(hooks)) mounts.push({ kind: 'hidden-folder', path: hooks })
    configurations.push(path.join(repository, 'config'), path.join(repository, 'config.worktree'))
  }
  for (const folder of foldersWith(path.join(common, 'worktrees'), 'gitdir')) {
    configurations.push(path.join(folder, 'config.worktree'))
    for (const name of ['gitdir', 'commondir']) {
      const place = path.join(folder, name)
      if (isFile(place)) mounts.push({ kind: 'read-only', path: notALink(place) })
    }
  }
  const present = configurations.filter(place => isFile(place) && !opened.has(place)).map(notALink)
  return {
    mounts,
    configurations: present,
    guarded: [...guarded, ...present],
    // git takes its configuration from where this file says (gitrepository-layout(5)).
    placeholders: repositories.map(folder => ({ folder, name: 'commondir', content: '.\n' })),
  }
}

function findDotGit(workingFolder: string, home: string): string | undefined {
  for (let folder = workingFolder; ; folder = path.dirname(folder)) {
    const place = path.join(folder, '.git')
    try {
      lstatSync(place)
      return place
    } catch (error) {
      if (!hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) throw error
    }
    if (folder === path.dirname(folder) || folder === home) return undefined
  }
}

/**
 * The repository that a linked worktree's `.git` file names, if that repository knows the worktree: the file lies where
 * an earlier child could have written to it, the repository's own note does not.
 */
function worktreeOf(dotGit: string): { readonly common: string } | undefined {
  try {
    const named = /^gitdir: (.+)$/m.exec(readFileSync(dotGit, 'utf8'))?.[1]
    if (named === undefined) return undefined
    const folder = realpathSync(path.resolve(path.dirname(dotGit), named))
    const back = readFileSync(path.join(folder, 'gitdir'), 'utf8').trim()
    if (realpathSync(path.resolve(folder, back)) !== realpathSync(dotGit)) return undefined
    const common = realpathSync(path.resolve(folder, readFileSync(path.join(folder, 'commondir'), 'utf8').trim()))
    return path.dirname(path.dirname(folder)) === common && isFolder(path.join(common, 'objects'))
      ? { common }
      : undefined
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'EISDIR')) return undefined
    throw error
  }
}

function foldersWith(folder: string, name: string): readonly string[] {
  try {
    return readdirSync(folder)
      .map(each => path.join(folder, each))
      .filter(each => isFile(path.join(each, name)))
  } catch {
    return []
  }
}

/** Submodules' own repositories; a submodule's name may have slashes in it. */
function submodulesIn(folder: string, depth: number): readonly string[] {
  if (isFile(path.join(folder, 'HEAD'))) return [folder, ...submodulesIn(path.join(folder, 'modules'), depth - 1)]
  if (depth === 0) return []
  try {
    return readdirSync(folder).flatMap(name => submodulesIn(path.join(folder, name), depth - 1))
  } catch {
    return []
  }
}

// What the person cannot write to, their child cannot either.
function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function isOwn(folder: string): boolean {
  return statSync(folder).uid === process.getuid?.()
}

function isFolder(place: string): boolean {
  try {
    return statSync(place).isDirectory()
  } catch {
    return false
  }
}

function isFile(place: string): boolean {
  try {
    return statSync(place).isFile()
  } catch {
    return false
  }
}
