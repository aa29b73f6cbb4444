import {
  chmodSync,
  closeSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { z } from 'zod'
import { AgentgateError, hasErrno } from '../errors.ts'

const maxStateFileBytes = 16 << 20
/** A lock older than this was left by a process that died; a holder needs milliseconds. */
const staleLockMs = 10_000
const lockWaitMs = 5_000

function ownUid(): number {
  // Undefined on Windows only, where we do not run.
  return process.getuid?.() ?? -1
}

function unsafe(subject: string, why: string, hint: string): AgentgateError {
  return new AgentgateError('STATE_UNSAFE', `${subject} ${why}`, { hint })
}

/**
 * Makes `folder` if need be and answers for it: ours, and nobody else may write to it. With `strict` (a folder in /tmp)
 * its own name may not be a symbolic link, since whoever made that link chooses where it leads.
 * @throws AgentgateError STATE_UNSAFE
 */
export function privateFolder(folder: string, options: { readonly strict?: boolean } = {}): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const found = options.strict === true ? lstatSync(folder) : statSync(folder)
  if (!found.isDirectory()) throw unsafe(folder, 'is not a folder', `move it away: mv ${folder} ${folder}.old`)
  if (found.uid !== ownUid())
    throw unsafe(folder, 'belongs to another user', `set AGENTGATE_HOME to a folder of your own, or: ls -ld ${folder}`)
  if ((found.mode & 0o022) !== 0)
    throw unsafe(folder, 'can be written by other users', `look at what is in it, then: chmod 700 ${folder}`)
  // Readable by others is not an attack on what it holds, which is 0600 itself; names are nobody's business either way.
  if ((found.mode & 0o077) !== 0) chmodSync(folder, 0o700)
  for (let above = path.dirname(folder); above !== path.dirname(above); above = path.dirname(above)) {
    const { mode } = statSync(above)
    // The group bit is left out: many systems give each user a group of their own and a umask of 002.
    if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0)
      throw unsafe(folder, `lies in ${above}, which every user can write to`, `chmod o-w ${above}`)
  }
  return folder
}

/** The content of a private file, or undefined where there is none. @throws AgentgateError STATE_UNSAFE */
export function readPrivateFile(file: string): Buffer | undefined {
  let descriptor: number
  try {
    descriptor = openSync(file, 'r')
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
  try {
    const found = fstatSync(descriptor)
    if (!found.isFile()) throw unsafe(file, 'is not a file', `move it away: mv ${file} ${file}.old`)
    if (found.uid !== ownUid()) throw unsafe(file, 'belongs to another user', `ls -l ${file}`)
    if ((found.mode & 0o022) !== 0)
      throw unsafe(file, 'can be written by other users', `look at what is in it, then: chmod 600 ${file}`)
    if (found.size > maxStateFileBytes)
      throw unsafe(file, `is larger than ${maxStateFileBytes} bytes`, `move it away: mv ${file} ${file}.old`)
    return readFileSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Puts `content` in place whole or not at all, 0600, and on disk before it returns. Its folder is made if need be. */
export function writePrivateFile(file: string, content: string | Uint8Array): void {
  const folder = privateFolder(path.dirname(file))
  const draft = path.join(folder, `.${path.basename(file)}.${randomBytes(6).toString('hex')}`)
  try {
    const descriptor = openSync(draft, 'wx', 0o600)
    try {
      writeFileSync(descriptor, content)
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    renameSync(draft, file)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
  // The rename itself is only safe from a power cut once the folder is on disk.
  const descriptor = openSync(folder, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** A private JSON file as its schema reads it, or `empty` where there is none. @throws AgentgateError STATE_UNSAFE */
export function readState<Schema extends z.ZodType>(
  file: string,
  schema: Schema,
  empty: z.output<Schema>,
): z.output<Schema> {
  const bytes = readPrivateFile(file)
  if (bytes === undefined) return empty
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString('utf8'))
  } catch {
    throw unsafe(file, 'is damaged: it is not JSON', `move it away: mv ${file} ${file}.old`)
  }
  const result = schema.safeParse(parsed)
  if (!result.success)
    throw unsafe(file, 'is damaged, or was written by another version', `move it away: mv ${file} ${file}.old`)
  return result.data
}

/** Reads, changes and writes a private JSON file while no other process does. `change` returns the new content. */
export function updateState<Schema extends z.ZodType, Result>(
  file: string,
  schema: Schema,
  empty: z.output<Schema>,
  change: (content: z.output<Schema>) => { readonly content: z.output<Schema>; readonly result: Result },
): Result {
  privateFolder(path.dirname(file))
  return locked(`${file}.lock`, () => {
    const before = readState(file, schema, empty)
    const { content, result } = change(before)
    if (content !== before) writePrivateFile(file, `${JSON.stringify(content, undefined, 2)}\n`)
    return result
  })
}

function locked<Result>(lock: string, work: () => Result): Result {
  const sleeper = new Int32Array(new SharedArrayBuffer(4))
  for (let waited = 0; ; waited += 5) {
    try {
      closeSync(openSync(lock, 'wx', 0o600))
      break
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error
      if (isStale(lock)) rmSync(lock, { force: true })
      else if (waited > lockWaitMs) throw unsafe(lock, 'has been held for long', `if no agentgate runs: rm ${lock}`)
      else Atomics.wait(sleeper, 0, 0, 5)
    }
  }
  try {
    return work()
  } finally {
    rmSync(lock, { force: true })
  }
}

function isStale(lock: string): boolean {
  try {
    return Date.now() - statSync(lock).mtimeMs > staleLockMs
  } catch {
    return false // gone meanwhile: the next try takes it
  }
}
