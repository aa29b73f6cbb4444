import { closeSync, fstatSync, openSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Environment } from '../config/paths.ts'
import { AgentgateError, hasErrno } from '../errors.ts'
import type { PolicyDigest } from '../ids.ts'
import { policyDigest } from './digest.ts'

export const policyFileName = 'agentgate.yaml'
const maxFiles = 200
/** More is refused as a policy later on; here it only keeps a wrong path from filling memory. */
const maxReadBytes = 2 << 20

export interface PolicyFile {
  /** Absolute. */
  readonly path: string
  /** As people know it: `agentgate.yaml`, `policies/rules.yaml`. */
  readonly name: string
  /** From the folder the command was run in. */
  readonly shown: string
  readonly bytes: Buffer
}

/** The bytes of a policy, read once: what is digested, compared, trusted and compiled is this and nothing read later. */
export interface PolicyFiles {
  /** The real path of the file or folder. */
  readonly path: string
  readonly kind: 'file' | 'folder'
  /** `agentgate.yaml` */
  readonly name: string
  /** Where relative paths in it start. */
  readonly folder: string
  readonly files: readonly PolicyFile[]
  readonly digest: PolicyDigest
}

export interface FindOptions {
  /** `--policy`; else AGENTGATE_POLICY, else agentgate.yaml in `cwd` or above. */
  readonly path?: string | undefined
  readonly cwd: string
  readonly env: Environment
}

/** @throws AgentgateError NO_POLICY */
export function findPolicy(options: FindOptions): string {
  const fromEnvironment = options.env['AGENTGATE_POLICY']
  const named = options.path ?? (fromEnvironment === '' ? undefined : fromEnvironment)
  if (named !== undefined) {
    try {
      return realpathSync(path.resolve(options.cwd, named))
    } catch (error) {
      const source = options.path === undefined ? 'AGENTGATE_POLICY' : '--policy'
      throw new AgentgateError('NO_POLICY', `there is no policy at ${named}`, {
        hint: `${source} names a file or a folder of *.yaml`,
        cause: error,
      })
    }
  }
  for (let folder = path.resolve(options.cwd); ; folder = path.dirname(folder)) {
    const candidate = path.join(folder, policyFileName)
    try {
      if (statSync(candidate).isFile()) return realpathSync(candidate)
    } catch (error) {
      if (!hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP')) throw error
    }
    if (folder === path.dirname(folder)) break
  }
  throw new AgentgateError('NO_POLICY', `there is no ${policyFileName} here or in a folder above`, {
    hint: 'write one with: agentgate init; or name one with --policy PATH',
  })
}

/** Reads what is at a real path. @throws AgentgateError NO_POLICY, POLICY_INVALID */
export function readPolicyFiles(realPath: string, cwd: string): PolicyFiles {
  let folder: boolean
  try {
    folder = statSync(realPath).isDirectory()
  } catch (error) {
    throw unreadable(realPath, error)
  }
  if (!folder) {
    const file = readOne(realPath, path.basename(realPath), cwd)
    return {
      path: realPath,
      kind: 'file',
      name: file.name,
      folder: path.dirname(realPath),
      files: [file],
      digest: policyDigest('file', [file]),
    }
  }
  const entries = readdirSync(realPath).filter(entry => !entry.startsWith('.'))
  const misnamed = entries.find(entry => entry.endsWith('.yml'))
  if (misnamed !== undefined)
    throw new AgentgateError('POLICY_INVALID', `${misnamed} in ${realPath} would not be read`, {
      hint: `call it ${misnamed.slice(0, -4)}.yaml`,
    })
  const names = entries.filter(entry => entry.endsWith('.yaml') && !isTestFile(entry)).sort(byBytes)
  if (names.length === 0)
    throw new AgentgateError('NO_POLICY', `there is no *.yaml in ${realPath}`, {
      hint: 'write one with: agentgate init',
    })
  if (names.length > maxFiles)
    throw new AgentgateError('POLICY_INVALID', `${realPath} holds more than ${maxFiles} files`, {
      hint: 'name a folder that holds policies only',
    })
  const label = path.basename(realPath)
  const files = names.map(name => readOne(path.join(realPath, name), `${label}/${name}`, cwd))
  return { path: realPath, kind: 'folder', name: label, folder: realPath, files, digest: policyDigest('folder', files) }
}

/** The same of content that was sent. @param folder where relative paths in it start */
export function policyFilesOf(
  kind: 'file' | 'folder',
  content: readonly { readonly name: string; readonly text: string }[],
  folder: string,
): PolicyFiles {
  // Nothing is read from there: what was sent is all there is.
  const label = kind === 'file' ? '' : 'policy/'
  const files = content
    .map(({ name, text }) => ({
      path: path.join(folder, label, name),
      ...{ name: `${label}${name}`, shown: `${label}${name}`, bytes: Buffer.from(text) },
    }))
    .sort((left, right) => byBytes(left.name, right.name))
  const [first] = files
  if (first === undefined || (kind === 'file' && files.length > 1))
    throw new AgentgateError('POLICY_INVALID', 'a policy is one file, or a folder of them')
  const found = kind === 'file' ? first.path : path.join(folder, 'policy')
  return {
    path: found,
    kind,
    name: kind === 'file' ? first.name : 'policy',
    folder,
    files,
    digest: policyDigest(kind, files),
  }
}

/** Cases for `policy test` stand beside the policy and are no part of it. */
export function isTestFile(name: string): boolean {
  return name.endsWith('.test.yaml')
}

function readOne(file: string, name: string, cwd: string): PolicyFile {
  let descriptor: number
  try {
    descriptor = openSync(file, 'r')
  } catch (error) {
    throw unreadable(file, error)
  }
  try {
    const found = fstatSync(descriptor)
    if (!found.isFile())
      throw new AgentgateError('NO_POLICY', `${file} is not a file`, { hint: 'name a file or a folder of *.yaml' })
    if (found.size > maxReadBytes)
      throw new AgentgateError('POLICY_INVALID', `${file} is larger than ${maxReadBytes} bytes`, {
        hint: 'split it into a folder of files',
      })
    return { path: file, name, shown: shownPath(file, cwd), bytes: readFileSync(descriptor) }
  } finally {
    closeSync(descriptor)
  }
}

function shownPath(file: string, cwd: string): string {
  let here = cwd
  try {
    here = realpathSync(cwd)
  } catch {
    // only for showing
  }
  const relative = path.relative(here, file)
  return relative.length < file.length ? relative : file
}

function unreadable(file: string, error: unknown): AgentgateError {
  const why = hasErrno(error, 'EACCES', 'EPERM') ? 'may not be read' : 'cannot be read'
  return new AgentgateError('NO_POLICY', `${file} ${why}`, { hint: `ls -l ${file}`, cause: error })
}

/** The same order in every locale. */
function byBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right))
}
