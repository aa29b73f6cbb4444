import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { AgentgateError, hasErrno } from '../errors.ts'

export interface ListenerOptions {
  /** null: only the unix socket. */
  readonly port: { readonly wanted: number; readonly fixed: boolean } | null
  /** A path in a folder that only this user can enter. */
  readonly unixSocket: string | null
  readonly maxConnections: number
  readonly onConnection: (socket: net.Socket) => void
}

/** Where clients of one resource connect: loopback in both families on one port, and a unix socket where asked for. */
export interface Listener {
  readonly port: number | null
  readonly unixSocket: string | null
  close(): Promise<void>
}

/** Where listeners are opened instead of on this machine's loopback: inside what confines a child. */
export interface ListenerPlace {
  /** As openListener. */
  readonly open: (options: ListenerOptions) => Promise<Listener>
  /** Where unix sockets go, as the child sees it. */
  readonly socketFolder: string
  /** A process whose network it is, to find a client's process by (/proc/PID/net). */
  readonly process: () => number | undefined
}

const portAttempts = 200

/**
 * Binds before it returns. The same port is held on 127.0.0.1 and ::1: whoever had it on the other family would get what
 * clients send to `localhost`.
 * @throws AgentgateError PORT_TAKEN
 */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const servers: net.Server[] = []
  const close = async () => {
    await Promise.all(servers.map(closed))
    if (options.unixSocket !== null) rmSync(options.unixSocket, { force: true })
  }
  try {
    let port: number | null = null
    if (options.port !== null) {
      const bound = await bindLoopback(options, options.port.wanted, options.port.fixed ? 1 : portAttempts)
      servers.push(...bound.servers)
      port = bound.port
    }
    if (options.unixSocket !== null) {
      mkdirSync(path.dirname(options.unixSocket), { recursive: true, mode: 0o700 })
      rmSync(options.unixSocket, { force: true })
      const server = newServer(options)
      await listening(server, { path: options.unixSocket })
      chmodSync(options.unixSocket, 0o600)
      servers.push(server)
    }
    return { port, unixSocket: options.unixSocket, close }
  } catch (error) {
    await close()
    throw error
  }
}

async function bindLoopback(options: ListenerOptions, wanted: number, attempts: number) {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const port = wanted + attempt
    if (port > 65_535) break
    const four = newServer(options)
    const six = newServer(options)
    try {
      await listening(four, { host: '127.0.0.1', port, exclusive: true })
      await listening(six, { host: '::1', port, ipv6Only: true, exclusive: true })
      return { port, servers: [four, six] }
    } catch (error) {
      // A machine without IPv6 has nobody to fear on the other family.
      if (hasErrno(error, 'EADDRNOTAVAIL', 'EAFNOSUPPORT') && four.listening) return { port, servers: [four] }
      await Promise.all([closed(four), closed(six)])
      if (!hasErrno(error, 'EADDRINUSE', 'EACCES')) throw error
      if (attempts === 1)
        throw new AgentgateError(
          'PORT_TAKEN',
          hasErrno(error, 'EACCES') ? `port ${port} may not be used by this user` : `port ${port} is taken on loopback`,
          { hint: `end what listens there (ss -ltnp 'sport = :${port}'), or choose another with --port`, cause: error },
        )
    }
  }
  throw new AgentgateError('PORT_TAKEN', `no free port from ${wanted} on`, { hint: 'choose one with --port' })
}

function newServer(options: ListenerOptions): net.Server {
  const server = net.createServer({ noDelay: true, keepAlive: true, allowHalfOpen: true }, options.onConnection)
  server.maxConnections = options.maxConnections
  return server
}

async function listening(server: net.Server, where: net.ListenOptions): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, () => {
      server.off('error', reject)
      // After this, an error is one of accept (too many open files): the connection is lost, the listener is not.
      server.on('error', () => undefined)
      resolve()
    })
  })
}

async function closed(server: net.Server): Promise<void> {
  if (!server.listening) return
  await new Promise<void>(resolve => server.close(() => resolve()))
}
