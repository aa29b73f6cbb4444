import net from 'node:net'
import { once } from 'node:events'
import { Secret } from '../src/secret.ts'
import type { ResourceName, ScopeName } from '../src/ids.ts'
import { logIn } from '../src/protocols/postgres/relay/server-login.ts'
import { queryMessage, terminateMessage } from '../src/protocols/postgres/wire/frontend-messages.ts'

/** `ReadyForQuery`, idle: what every answer ends with. */
const ready = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])

export interface BareClient {
  /** Asks, and throws the answer away. @throws where the answer is an error. */
  discard(sql: string): Promise<number>
  close(): void
}

/** A client that looks only at how its answers end. */
export async function bareClient(url: string): Promise<BareClient> {
  const at = new URL(url)
  const { stream } = await logIn({
    resource: {
      name: 'bench' as ResourceName,
      kind: 'postgres',
      address: at.host,
      tls: { mode: 'off', name: undefined, ca: undefined },
      settings: {},
      scope: { name: 'bench' as ScopeName, settings: {} },
      credential: {
        issuer: 'static',
        user: decodeURIComponent(at.username),
        secret: new Secret(decodeURIComponent(at.password)),
        certificate: null,
        expiresAt: null,
      },
    },
    upstream: async () => {
      const socket = net.connect({ host: at.hostname, port: Number(at.port), noDelay: true })
      await once(socket, 'connect')
      return socket
    },
    database: at.pathname.slice(1),
    parameters: [],
    minor: 0,
  })
  return {
    discard: async sql =>
      await new Promise((resolve, reject) => {
        let bytes = 0
        let tail: Buffer = Buffer.alloc(0)
        let first = true
        const read = (chunk: Buffer) => {
          if (first && chunk[0] === 0x45) reject(new Error(`refused: ${chunk.toString('latin1')}`))
          first = false
          bytes += chunk.length
          tail =
            chunk.length >= ready.length
              ? chunk.subarray(-ready.length)
              : Buffer.concat([tail, chunk]).subarray(-ready.length)
          if (!tail.equals(ready)) return
          stream.off('data', read)
          resolve(bytes)
        }
        stream.on('data', read)
        stream.once('close', () => reject(new Error('the connection ended')))
        stream.write(queryMessage(sql))
        stream.resume()
      }),
    close: () => void stream.end(terminateMessage),
  }
}
