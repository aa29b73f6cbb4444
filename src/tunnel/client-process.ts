import { readFile, readdir, readlink } from 'node:fs/promises'
import type { Socket } from 'node:net'
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
    if (inode === undefined) return null
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

async function findOwner(inode: string): Promise<number | undefined> {
  const wanted = `socket:[${inode}]`
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name))
  // Newest first: a client has usually just been started.
  for (const pid of pids.sort((a, b) => Number(b) - Number(a))) {
    try {
      for (const descriptor of await readdir(`/proc/${pid}/fd`))
        if ((await readlink(`/proc/${pid}/fd/${descriptor}`)) === wanted) return Number(pid)
    } catch (error) {
      if (!hasErrno(error, 'ENOENT', 'EACCES', 'EPERM', 'ESRCH')) throw error
    }
  }
  return undefined
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
