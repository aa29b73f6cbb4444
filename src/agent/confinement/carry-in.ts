import type { ChildProcess } from 'node:child_process'
import net from 'node:net'
import { AgentgateError } from '../../errors.ts'
import type { Listener, ListenerOptions } from '../../tunnel/listener.ts'
import type { Helper } from '../child.ts'
import { openerAnswer, openers, wordsFor, type Asked } from './socket-opener.ts'

const portAttempts = 50

interface Waiting {
  readonly resolve: (server: net.Server) => void
  readonly reject: (error: Error) => void
}

type Place = Omit<Extract<Asked, { kind: 'ip' }>, 'id'> | Omit<Extract<Asked, { kind: 'unix' }>, 'id'>

/**
 * Listening sockets inside a confinement whose connections are accepted here. A program that runs inside before the child
 * does opens them and hands them out (SCM_RIGHTS). A socket stays in the network namespace that it was made in, so agentgate
 * itself accepts from outside what is connected to inside: no relay, no copy, and no port on the machine's own loopback.
 */
export class CarryIn implements Helper {
  readonly programs: Helper['programs']
  readonly #waiting = new Map<number, Waiting>()
  #process: ChildProcess | undefined
  #count = 0
  #over = false

  constructor(programs: Helper['programs'] = openers()) {
    this.programs = programs
  }

  attach(process: ChildProcess): void {
    this.#process = process
    process.on('message', (message: unknown, handle: unknown) => {
      const parsed = openerAnswer.safeParse(message)
      if (!parsed.success) return
      const waiting = this.#waiting.get(parsed.data.id)
      this.#waiting.delete(parsed.data.id)
      if (handle instanceof net.Server) waiting?.resolve(handle)
      else waiting?.reject(Object.assign(new Error('cannot listen'), { code: parsed.data.error ?? 'EIO' }))
    })
    const gone = () => {
      this.#over = true
      for (const { reject } of this.#waiting.values()) reject(ended())
      this.#waiting.clear()
    }
    process.on('disconnect', gone)
    process.on('exit', gone)
    process.on('error', gone)
  }

  /** Where a tunnel is reached inside: as openListener, but nothing of it exists outside. */
  readonly open = async (options: ListenerOptions): Promise<Listener> => {
    const adopt = async (place: Place) => {
      const server = await this.#listen(place)
      // As net.createServer would have been told; listening anew on the handle does not work for unix sockets.
      Object.assign(server, { noDelay: true, keepAlive: true, allowHalfOpen: true })
      server.maxConnections = options.maxConnections
      server.on('connection', options.onConnection)
      server.on('error', () => undefined) // one of accept: that connection is lost, the listener is not
      return server
    }
    const servers: net.Server[] = []
    let port: number | null = null
    if (options.port !== null) {
      // Nobody else is in there: only tunnels of the same session can be in each other's way.
      for (let attempt = 0; port === null; attempt++) {
        const candidate = options.port.wanted + attempt
        try {
          servers.push(await adopt({ kind: 'ip', family: 4, address: '127.0.0.1', port: candidate }))
          port = candidate
        } catch (error) {
          if (error instanceof AgentgateError) throw error
          const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
          if (!taken || options.port.fixed || attempt === portAttempts)
            throw new AgentgateError('PORT_TAKEN', `port ${candidate} cannot be opened for the child`, { cause: error })
        }
      }
      try {
        servers.push(await adopt({ kind: 'ip', family: 6, address: '::1', port }))
      } catch (error) {
        // A machine without IPv6: nobody can be there instead of us.
        if (this.#over) throw error
      }
    }
    if (options.unixSocket !== null) servers.push(await adopt({ kind: 'unix', path: options.unixSocket }))
    return {
      port,
      unixSocket: options.unixSocket,
      close: async () => {
        await Promise.all(servers.map(closed))
      },
    }
  }

  /** Puts a file into one of the child's private folders, before it starts. */
  write(path: string, content: string): void {
    if (this.#process?.connected === true) this.#process.send(wordsFor({ kind: 'write', path, content }))
  }

  /** Every tunnel is open: the helper ends, and the first process goes on. */
  finish(): void {
    if (this.#process?.connected === true) this.#process.disconnect()
  }

  async #listen(place: Place): Promise<net.Server> {
    const process = this.#process
    if (process === undefined || this.#over) throw ended()
    const id = ++this.#count
    return await new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      process.send(wordsFor({ ...place, id }), error => {
        if (error !== null) reject(ended())
      })
    })
  }
}

function ended(): AgentgateError {
  return new AgentgateError('NOT_STARTED', 'the child’s confinement ended before its tunnels were open')
}

async function closed(server: net.Server): Promise<void> {
  if (server.listening) await new Promise<void>(resolve => server.close(() => resolve()))
}
