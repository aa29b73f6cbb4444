import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { z } from 'zod'
import { hasErrno } from '../errors.ts'

export const ownerName = 'owner.json'
/** The owner touches its file this often, for those who cannot look at its process. */
export const heartbeatMilliseconds = 30_000
/** The machine has been restarted since: its clock may have moved, but nobody is there to touch the file. */
const restartQuietMilliseconds = 2 * 60_000
/** Another container of this kernel, whose processes cannot be seen. */
const containerQuietMilliseconds = 10 * 60_000
/** Another machine on a shared disk: it may sleep over night. */
const foreignQuietMilliseconds = 24 * 3_600_000
/** What has no owner, or none that can be read, may be in the making, unless it is older than this. */
const newFolderMilliseconds = 60_000

const ownerSchema = z.object({
  pid: z.number().int().min(1),
  /** Linux: field 22 of /proc/PID/stat (clock ticks since boot); elsewhere milliseconds since 1970, to some seconds. */
  started: z.number(),
  /** Linux: boot_id, the same in all containers of a kernel; elsewhere empty. */
  boot: z.string(),
  /** Linux: the PID namespace in which `pid` counts; elsewhere empty. */
  namespace: z.string(),
  machine: z.string(),
  /** Where the key of what it records is, while it records. */
  key: z.string().optional(),
})
type Owner = z.infer<typeof ownerSchema>

/** Marks this process as the one that writes the folder. */
export function claim(folder: string, key?: string): void {
  fs.writeFileSync(path.join(folder, ownerName), JSON.stringify({ ...thisProcess(), key }), { flag: 'wx', mode: 0o600 })
}

export function heartbeat(folder: string): void {
  const now = new Date()
  fs.utimesSync(path.join(folder, ownerName), now, now)
}

export function release(folder: string): void {
  try {
    fs.rmSync(path.join(folder, ownerName), { force: true })
  } catch {
    // It names a process that will be gone.
  }
}

/** Whether somebody writes here, or did until its process died. */
export function hasOwner(folder: string): boolean {
  return fs.existsSync(path.join(folder, ownerName))
}

/** Where the session's key is kept while it goes on, or was when its process died. */
export function liveKeyFile(folder: string): string | undefined {
  try {
    return parseOwner(fs.readFileSync(path.join(folder, ownerName), 'utf8'))?.key
  } catch {
    return undefined
  }
}

/** Whether the process that records into this folder may still be there. Where that cannot be known it counts as alive. */
export function ownerAlive(folder: string, now: number): boolean {
  const file = path.join(folder, ownerName)
  let text: string
  try {
    text = fs.readFileSync(file, 'utf8')
  } catch (error) {
    return !hasErrno(error, 'ENOENT')
  }
  const quiet = silence(file, now)
  const owner = parseOwner(text)
  if (owner === undefined) return quiet < newFolderMilliseconds
  const here = thisProcess()
  if (owner.machine === here.machine && owner.boot !== here.boot) return quiet < restartQuietMilliseconds
  if (owner.boot !== here.boot) return quiet < foreignQuietMilliseconds
  return owner.namespace === here.namespace ? sameProcess(owner) : quiet < containerQuietMilliseconds
}

/** Whether a folder may be one that a session is just beginning to record into. */
export function isNew(folder: string, now: number): boolean {
  return silence(folder, now) < newFolderMilliseconds
}

/** Milliseconds since a file was changed or touched; none where it is gone by now. */
function silence(file: string, now: number): number {
  try {
    return now - fs.statSync(file).mtimeMs
  } catch {
    return 0
  }
}

function parseOwner(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/** This process, told from every other that ever was. */
export function thisProcess(): Owner {
  return {
    pid: process.pid,
    started: statOf(process.pid)?.started ?? Date.now() - process.uptime() * 1000,
    boot: readText('/proc/sys/kernel/random/boot_id'),
    namespace: linkText('/proc/self/ns/pid'),
    machine: `${os.hostname()} ${readText('/etc/machine-id')}`,
  }
}

/** Whether it still runs. Only for one of this machine, boot and PID namespace; where that cannot be known: yes. */
export function sameProcess(owner: Pick<Owner, 'pid' | 'started'>): boolean {
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    if (hasErrno(error, 'ESRCH')) return false
    // EPERM: someone else's process has the number now, or ours runs as another user; the start time tells.
  }
  if (process.platform === 'linux') {
    const stat = statOf(owner.pid)
    if (stat === undefined) return fs.existsSync(`/proc/${owner.pid}`)
    // Dead, and only not yet waited for by its parent: containers whose init waits for nobody keep such for ever.
    return stat.started === owner.started && stat.state !== 'Z' && stat.state !== 'X'
  }
  if (owner.pid === process.pid) return true
  try {
    // macOS tells a start time to the second only.
    const text = execFileSync('/bin/ps', ['-o', 'lstart=', '-p', String(owner.pid)], {
      encoding: 'utf8',
      env: { LC_ALL: 'C' },
      timeout: 5000,
    })
    const started = Date.parse(text)
    return Number.isNaN(started) || Math.abs(started - owner.started) < 30_000
  } catch {
    return true
  }
}

/** Linux only: the start time counts from boot, so that a number used again is told from the process that had it. */
function statOf(pid: number): { readonly state: string; readonly started: number } | undefined {
  const stat = readText(`/proc/${pid}/stat`)
  // The second field, in parentheses, is the program's name and may hold anything (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const started = Number(fields[19])
  return stat !== '' && Number.isSafeInteger(started) ? { state: fields[0] ?? '', started } : undefined
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

function linkText(file: string): string {
  try {
    return fs.readlinkSync(file)
  } catch {
    return ''
  }
}
