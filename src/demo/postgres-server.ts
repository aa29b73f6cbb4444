import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { createServer, Socket } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { z } from 'zod'
import { AgentgateError, hasErrno } from '../errors.ts'
import { Secret } from '../secret.ts'
import {
  copyEmbedded,
  embeddedFolder,
  serverEnvironment,
  serverUser,
  serverVersion,
  systemBinaries,
} from './postgres-binaries.ts'
import type { ServerUser } from './postgres-binaries.ts'
import { processStart } from './process-identity.ts'

const run = promisify(execFile)

/** `embedded`: the server that npm brings, else the newest of the system's own; or the folder of another that npm brought. */
export type PostgresBinaries = 'embedded' | { readonly bin: string } | { readonly embedded: string }

/** The data folder of a stopped server, to start another from without initdb. */
export interface PostgresTemplate {
  readonly folder: string
  readonly password: Secret
}

export interface PostgresOptions {
  readonly binaries: PostgresBinaries
  /** Keeps a record of the running server, so that a later start stops what a kill -9 left. Made where missing. */
  readonly folder: string
  readonly template?: PostgresTemplate | undefined
  /** Lines of postgresql.conf, such as `max_connections: '50'`. */
  readonly settings?: Readonly<Record<string, string>> | undefined
  /** Folders that go with the server, also when this process is killed. */
  readonly removeWith?: readonly string[] | undefined
}

export interface PostgresServer {
  /** On 127.0.0.1. */
  readonly port: number
  /** For libpq's `host`; the socket in it carries the same port. */
  readonly socketDir: string
  readonly user: string
  readonly password: Secret
  /** `postgresql://postgres:…@127.0.0.1:…/postgres` */
  readonly url: Secret
  readonly version: string
  readonly pid: number
  /** Settles when the server has ended, however that came about. */
  readonly ended: Promise<void>
  /** The last lines of the server's log. */
  log(): string
  /** Ends the server and removes all that it left; its data goes to the new folder `saveTo` first. May be called twice. */
  stop(saveTo?: string): Promise<void>
}

const superuser = 'postgres'
const startDeadlineMs = 60_000 // a loaded CI machine; usual is 1.2 s with initdb, 0.2 s from a template
const stopDeadlineMs = 10_000

/**
 * Starts a PostgreSQL of its own: scram only, on loopback and a socket of its own folder, without fsync, as a user other
 * than root. Ends with this process, also where that is killed: a shell beside it waits for that.
 * @throws AgentgateError NOT_STARTED
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  await stopOrphans(options.folder)
  const user = serverUser()
  const place = await placeServer(options.binaries, user)
  try {
    const password = await initialise(place, user, options.template)
    return await launch(place, user, password, options)
  } catch (error) {
    rmSync(place.home, { recursive: true, force: true })
    throw error
  }
}

/** Fills a new server and keeps its data folder at `to`, for the servers of many tests. */
export async function makeTemplate(
  options: PostgresOptions,
  to: string,
  fill: (server: PostgresServer) => Promise<void>,
): Promise<PostgresTemplate> {
  const server = await startPostgres(options)
  try {
    await fill(server)
    await server.stop(to)
    return { folder: to, password: server.password }
  } finally {
    await server.stop()
  }
}

interface Place {
  /** Ours, 0711: what the server's user cannot alter. */
  readonly home: string
  readonly bin: string
  /** The server's user's own, 0700. */
  readonly run: string
  readonly data: string
  readonly sockets: string
  readonly version: string
}

async function placeServer(binaries: PostgresBinaries, user: ServerUser | null): Promise<Place> {
  const embedded = binaries === 'embedded' ? embeddedFolder() : 'embedded' in binaries ? binaries.embedded : undefined
  const systems = binaries === 'embedded' ? systemBinaries() : 'bin' in binaries ? [binaries.bin] : []
  let cause: unknown
  // A temporary folder may be mounted noexec, or lie where the server's user cannot go.
  for (const folder of new Set([os.tmpdir(), '/tmp', '/var/tmp'])) {
    let home: string
    try {
      home = mkdtempSync(path.join(folder, 'agentgate-pg-'))
    } catch (error) {
      cause ??= error
      continue
    }
    try {
      chmodSync(home, user ? 0o711 : 0o700)
      if (embedded !== undefined) copyEmbedded(embedded, path.join(home, 'server'))
      for (const bin of embedded === undefined ? systems : [path.join(home, 'server', 'bin'), ...systems]) {
        try {
          const version = await serverVersion(bin, user)
          const place = { home, bin, run: path.join(home, 'run'), version }
          makeOwn(place.run, user)
          return { ...place, data: path.join(place.run, 'data'), sockets: place.run }
        } catch (error) {
          cause ??= error // musl instead of glibc, noexec, a folder out of reach: the next may do
        }
      }
    } catch (error) {
      cause ??= error
    }
    rmSync(home, { recursive: true, force: true })
  }
  const wanted =
    binaries === 'embedded' ? 'on this machine' : `at ${'bin' in binaries ? binaries.bin : binaries.embedded}`
  throw new AgentgateError('NOT_STARTED', `there is no PostgreSQL server ${wanted} that can be started`, {
    hint:
      embedded === undefined && binaries === 'embedded'
        ? 'npm left out its optional packages: run npm install --include=optional, or install postgresql'
        : 'install PostgreSQL 14 or newer: apt-get install postgresql',
    cause,
  })
}

function makeOwn(folder: string, user: ServerUser | null): void {
  mkdirSync(folder, { mode: 0o700 })
  if (user) chownSync(folder, user.uid, user.gid)
}

async function initialise(
  place: Place,
  user: ServerUser | null,
  template: PostgresTemplate | undefined,
): Promise<Secret> {
  if (template) {
    copyData(template.folder, place.data, user)
    return template.password
  }
  const password = new Secret(randomBytes(18).toString('base64url'))
  const passwordFile = path.join(place.run, 'password')
  writeFileSync(passwordFile, `${password.reveal()}\n`, { mode: 0o600, flag: 'wx' })
  if (user) chownSync(passwordFile, user.uid, user.gid)
  try {
    await run(
      path.join(place.bin, 'initdb'),
      [
        `--pgdata=${place.data}`,
        `--username=${superuser}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C',
        '--no-sync',
        ...(place.version.startsWith('13.') ? [] : ['--no-instructions']),
      ],
      { cwd: place.run, env: serverEnvironment, ...(user && { uid: user.uid, gid: user.gid }) },
    )
  } catch (error) {
    throw new AgentgateError('NOT_STARTED', `PostgreSQL's initdb failed: ${lastLine(error)}`, { cause: error })
  } finally {
    rmSync(passwordFile, { force: true })
  }
  return password
}

function lastLine(error: unknown): string {
  const said = error instanceof Error && 'stderr' in error && typeof error.stderr === 'string' ? error.stderr : ''
  return said.trim().split('\n').at(-1) ?? 'no reason given'
}

function copyData(from: string, to: string, user: ServerUser | null): void {
  makeOwn(to, user)
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)]
    if (entry.isDirectory()) copyData(source, target, user)
    else if (entry.isFile()) {
      copyFileSync(source, target, constants.COPYFILE_FICLONE)
      chmodSync(target, 0o600)
      if (user) chownSync(target, user.uid, user.gid)
    }
  }
}

async function launch(
  place: Place,
  user: ServerUser | null,
  password: Secret,
  options: PostgresOptions,
): Promise<PostgresServer> {
  const logFile = path.join(place.home, 'log')
  const tail = () => {
    const lines = readFileSync(logFile, 'utf8').trimEnd().split('\n')
    return lines.slice(-20).join('\n')
  }
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const log = openSync(logFile, 'w', 0o600)
    const child = spawn(path.join(place.bin, 'postgres'), serverArguments(place, port, options.settings ?? {}), {
      cwd: place.run,
      env: serverEnvironment,
      stdio: ['ignore', log, log],
      detached: true, // a session of its own: Ctrl-C at our terminal is for us
      ...(user && { uid: user.uid, gid: user.gid }),
    })
    closeSync(log)
    const ended = hasEnded(child)
    if (child.pid === undefined) {
      await ended
      throw new AgentgateError('NOT_STARTED', `PostgreSQL could not be started from ${place.bin}`)
    }
    let record: string
    try {
      record = keepRecord(options.folder, { server: child.pid, home: place.home }, options.removeWith ?? [])
    } catch (error) {
      child.kill('SIGKILL')
      await ended
      throw error
    }
    const watcher = watch(child.pid, place.data, [place.home, ...(options.removeWith ?? []), record])
    const stop = async (saveTo?: string) => {
      await stopProcess(child.pid ?? 0, () => child.exitCode === null && child.signalCode === null)
      await ended
      if (saveTo !== undefined) copyData(place.data, saveTo, null)
      for (const folder of [place.home, ...(options.removeWith ?? [])])
        rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
      removeRecord(record)
      await dismiss(watcher)
    }
    if (await isReady(place, child)) {
      let stopped: Promise<void> | undefined
      return {
        port,
        socketDir: place.sockets,
        user: superuser,
        password,
        url: new Secret(`postgresql://${superuser}:${password.reveal()}@127.0.0.1:${port}/postgres`),
        version: place.version,
        pid: child.pid,
        ended,
        log: tail,
        stop: saveTo => (stopped ??= stop(saveTo)),
      }
    }
    const said = tail()
    // Someone else took the port between our look and the server's.
    const again = attempt < 5 && /Address already in use|could not bind/i.test(said)
    if (!again) {
      await stop()
      throw new AgentgateError(
        'NOT_STARTED',
        `PostgreSQL did not start: ${said.split('\n').at(-1) ?? 'no reason given'}`,
      )
    }
    await ended
    removeRecord(record)
    await dismiss(watcher)
  }
}

function serverArguments(place: Place, port: number, settings: Readonly<Record<string, string>>): string[] {
  const all: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: place.sockets,
    unix_socket_permissions: '0700',
    max_connections: '50',
    shared_buffers: '32MB',
    // Nothing here is to be kept.
    fsync: 'off',
    full_page_writes: 'off',
    synchronous_commit: 'off',
    wal_level: 'minimal',
    max_wal_senders: '0',
    ...settings,
  }
  return ['-D', place.data, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
}

async function hasEnded(child: ChildProcess): Promise<void> {
  await new Promise<void>(resolve => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
}

// The server writes its state into the last line of postmaster.pid (src/include/utils/pidfile.h: line 8).
async function isReady(place: Place, child: ChildProcess): Promise<boolean> {
  const deadline = performance.now() + startDeadlineMs
  while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
    try {
      const lines = readFileSync(path.join(place.data, 'postmaster.pid'), 'utf8').split('\n')
      if (lines[7]?.startsWith('ready')) return true
    } catch {
      // not written yet
    }
    await sleep(10)
  }
  return false
}

/**
 * A shell that outlives us only to clean up: when the pipe to it closes without a server having been stopped, it stops
 * the server (SIGINT: fast shutdown) and removes its folders. It waits for the server's own file to go, as a process
 * whose parent has died stays a zombie in a container without an init.
 */
function watch(server: number, data: string, folders: readonly string[]): ChildProcess {
  const script = `
    server=$1 pidfile=$2; shift 2
    read -r _
    kill -INT "$server" 2>/dev/null
    i=0
    while [ -e "$pidfile" ] && kill -0 "$server" 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done
    kill -KILL "$server" 2>/dev/null
    rm -rf -- "$@"`
  const pidFile = path.join(data, 'postmaster.pid')
  const watcher = spawn('/bin/sh', ['-c', script, 'agentgate-postgres-watch', String(server), pidFile, ...folders], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  watcher.on('error', () => undefined) // no shell: the record remains for the next start
  watcher.stdin.on('error', () => undefined)
  watcher.unref()
  if (watcher.stdin instanceof Socket) watcher.stdin.unref() // it must not keep us up, only see us go
  return watcher
}

// By a signal: the end of its pipe would set it to work.
async function dismiss(watcher: ChildProcess): Promise<void> {
  if (watcher.exitCode !== null || watcher.signalCode !== null || !watcher.kill('SIGKILL')) return
  watcher.ref()
  await once(watcher, 'exit')
}

const recordSchema = z.object({
  owner: z.object({ pid: z.number().int().positive(), start: z.string() }),
  server: z.object({ pid: z.number().int().positive(), start: z.string() }),
  remove: z.array(z.string().regex(/^\/.+\/agentgate-(pg|demo|test)-[^/]+$/)),
})

function keepRecord(folder: string, started: { server: number; home: string }, removeWith: readonly string[]): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (!isOurs(folder))
    throw new AgentgateError('STATE_UNSAFE', `${folder} belongs to another user, or can be written by one`, {
      hint: `remove it: rm -r ${folder}`,
    })
  const file = path.join(folder, `${path.basename(started.home)}.json`)
  const record: z.infer<typeof recordSchema> = {
    owner: { pid: process.pid, start: processStart(process.pid) ?? '' },
    server: { pid: started.server, start: processStart(started.server) ?? '' },
    remove: [started.home, ...removeWith],
  }
  writeFileSync(file, JSON.stringify(record), { mode: 0o600 })
  return file
}

function removeRecord(file: string): void {
  rmSync(file, { force: true })
  try {
    rmdirSync(path.dirname(file))
  } catch {
    // another server's record is in it, or more of the caller's
  }
}

/** Records say what to stop and remove: only ours count, wherever the folder is. */
function isOurs(folder: string): boolean {
  const stats = lstatSync(folder, { throwIfNoEntry: false })
  return stats?.isDirectory() === true && stats.uid === process.getuid?.() && (stats.mode & 0o022) === 0
}

/** Stops servers whose starter has gone without stopping them, and removes what they left. */
export async function stopOrphans(folder: string): Promise<void> {
  if (!isOurs(folder)) return // nothing of ours was ever started
  const names = readdirSync(folder).filter(name => /^agentgate-pg-.*\.json$/.test(name))
  for (const name of names) {
    const file = path.join(folder, name)
    let record: z.infer<typeof recordSchema>
    try {
      record = recordSchema.parse(JSON.parse(readFileSync(file, 'utf8')))
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) rmSync(file, { force: true })
      continue
    }
    if (processStart(record.owner.pid) === record.owner.start) continue
    const { pid, start } = record.server
    await stopProcess(pid, () => processStart(pid) === start)
    for (const left of record.remove) rmSync(left, { recursive: true, force: true })
    removeRecord(file)
  }
}

/** Fast shutdown, then immediate, then the end (PG 18 docs §18.5). */
async function stopProcess(pid: number, alive: () => boolean): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (!alive()) return
    try {
      process.kill(pid, signal)
    } catch {
      return // gone between the look and the signal
    }
    const deadline = performance.now() + stopDeadlineMs
    while (alive() && performance.now() < deadline) await sleep(5)
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string')
    throw new AgentgateError('INTERNAL', 'a TCP listener has no port')
  return address.port
}
