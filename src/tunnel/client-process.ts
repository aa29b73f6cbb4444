import { readdirSync, readlinkSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { ClientProcess } from '../recording/event.ts'
import { hasErrno } from '../errors.ts'

const maxAncestors = 16

/**
 * The process at the other end of a loopback TCP connection, by its socket's inode in /proc (proc(5)); null where that
 * cannot be known: another system, another user's process, a unix socket. `networkOf`: a process in the network that the
 * connection was made in, where that is not ours.
 */
export async function findClientProcess(
  socket: Socket,
  networkOf: number | 'self' = 'self',
): Promise<ClientProcess | null> {
  const { remoteAddress, remotePort, localPort } = socket
  if (
    process.platform !== 'linux' ||
    remoteAddress === undefined ||
    remotePort === undefined ||
    localPort === undefined
  )
    return null
  try {
    const inode = await findInode(
      `/proc/${networkOf}/net/${remoteAddress.includes(':') ? 'tcp6' : 'tcp'}`,
      remotePort,
      localPort,
    )
    if (inode === undefined || inode === '0') return null // '0': closed already
    const pid = await findOwner(inode)
    return pid === undefined ? null : { pid, program: await programOf(pid), ancestry: await ancestryOf(pid) }
  } catch {
    return null // processes come and go while we read: not knowing is an answer
  }
}

async function findInode(table: string, clientPort: number, ourPort: number): Promise<string | undefined> {
  const lines = (await readFile(table, 'latin1')).split('\n')
  const suffix = (port: number) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const line of lines.slice(1)) {
    const fields = line.trim().split(/\s+/, 10)
    // The client's end of the connection: its local port is our remote one.
    if (fields[1]?.endsWith(suffix(clientPort)) === true && fields[2]?.endsWith(suffix(ourPort)) === true)
      return fields[9]
  }
  return undefined
}

/** Looking goes on for so long before others have their turn. A promise for each link would take ten times the time. */
const turnMs = 1
/** Who was found last: what opens a connection often opens more. */
let lastOwner = ''

async function findOwner(inode: string): Promise<number | undefined> {
  const wanted = `socket:[${inode}]`
  if (lastOwner !== '' && holds(lastOwner, wanted)) return Number(lastOwner)
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name))
  let began = performance.now()
  // Newest first: a client has usually just been started.
  for (const pid of pids.sort((a, b) => Number(b) - Number(a))) {
    if (holds(pid, wanted)) {
      lastOwner = pid
      return Number(pid)
    }
    if (performance.now() - began < turnMs) continue
    await setImmediate()
    began = performance.now()
  }
  return undefined
}

/** Whether a process has a descriptor that is this; newest first. */
function holds(pid: string, wanted: string): boolean {
  const folder = `/proc/${pid}/fd`
  const descriptors = unlessGone(() => readdirSync(folder)) ?? []
  return descriptors.reverse().some(each => unlessGone(() => readlinkSync(`${folder}/${each}`)) === wanted)
}

/** Processes and what they have open come and go, and not all are ours to look into. */
function unlessGone<Value>(look: () => Value): Value | undefined {
  try {
    return look()
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'EACCES', 'EPERM', 'ESRCH')) return undefined
    throw error
  }
}

async function programOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, 'utf8')).trim()
}

/** Programs from the parent upwards, to init. */
export async function ancestryOf(pid: number): Promise<readonly string[]> {
  const ancestry: string[] = []
  let current = await parentOf(pid)
  while (current > 0 && ancestry.length < maxAncestors) {
    ancestry.push(await programOf(current))
    current = await parentOf(current)
  }
  return ancestry
}

async function parentOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1')
  // The program's name stands in parentheses and may itself hold any byte: fields count from the last one.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ', 2)[1])
}
