import net from 'node:net'
import { once } from 'node:events'

export interface Relay {
  readonly port: number
  /** All that passed, in order, per connection. */
  readonly captured: readonly Captured[]
  /** Ends every connection without a goodbye. */
  cut(): void
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export interface Captured {
  readonly client: Buffer[]
  readonly server: Buffer[]
}

export interface RelayOptions {
  readonly capture?: boolean
  /** Holds back what the server says by so long. */
  readonly delayMs?: number
  /** Where it listens; else anywhere. */
  readonly port?: number
}

/** A plain TCP relay: what stands between where agentgate is not, and a place to listen in. */
export async function startRelay(address: string, options: RelayOptions = {}): Promise<Relay> {
  const [host, port] = address.split(':')
  const sockets = new Set<net.Socket>()
  const captured: Captured[] = []
  const server = net.createServer({ noDelay: true }, client => {
    const target = net.connect({ host: host ?? '127.0.0.1', port: Number(port), noDelay: true })
    const seen: Captured = { client: [], server: [] }
    if (options.capture === true) captured.push(seen)
    for (const socket of [client, target]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        target.destroy()
      })
    }
    if (options.capture === true) {
      client.on('data', (chunk: Buffer) => seen.client.push(chunk))
      target.on('data', (chunk: Buffer) => seen.server.push(chunk))
    }
    client.pipe(target)
    if (options.delayMs === undefined) target.pipe(client)
    else target.on('data', (chunk: Buffer) => void setTimeout(() => client.write(chunk), options.delayMs))
  })
  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  const close = async () => {
    cut()
    server.close()
    await once(server, 'close')
  }
  return {
    port: (server.address() as net.AddressInfo).port,
    captured,
    cut,
    close,
    [Symbol.asyncDispose]: close,
  }
}
