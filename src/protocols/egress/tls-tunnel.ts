import net from 'node:net'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AgentgateError } from '../../errors.ts'
import type { Context, Decision } from '../protocol.ts'
import { placeOf, type EgressAction } from './action.ts'
import { readClientHello } from './client-hello.ts'
import { dial } from './destination.ts'
import { canonicalHost } from './hosts.ts'
import { recordOutcome, type Outcome } from './outcome.ts'
import { refusalAnswer, refusalOf } from './refusal.ts'

const helloTimeoutMs = 10_000
const maxHelloBytes = 64 * 1024
/** A fatal alert, unrecognized_name (RFC 8446 §6, §6.2): clients say that instead of `connection reset`. */
const unrecognizedName = Buffer.from([21, 3, 3, 0, 2, 2, 112])

export interface TlsTunnel {
  readonly client: Duplex
  /** What came behind the request's head. */
  readonly head: Buffer
  readonly context: Context
  readonly decision: Extract<Decision<EgressAction>, { kind: 'allow' }>
  readonly gone: AbortSignal
}

/** Connects, sees that the client starts TLS for the very host that was decided on, and then only carries bytes. */
export async function tlsTunnel(tunnel: TlsTunnel): Promise<void> {
  await recordOutcome(tunnel.context, tunnel.decision.event, async () => await carry(tunnel))
}

async function carry({ client, head, context, decision, gone }: TlsTunnel): Promise<Outcome> {
  const { action } = decision
  let server: net.Socket
  try {
    server = await dial(action.addresses, action.port, gone)
  } catch (error) {
    if (!(error instanceof AgentgateError)) throw error
    client.end(refusalAnswer(refusalOf(error)))
    return { status: 'lost', tag: error.code }
  }
  try {
    client.write('HTTP/1.1 200 Connection established\r\n\r\n')
    const hello = await readHello(client, head)
    const wrong = disagreement(hello, action)
    if (wrong !== undefined) {
      void context.record({
        kind: 'note',
        connection: context.connection,
        text: `refused ${placeOf(action)}: ${wrong}`,
      })
      client.end(unrecognizedName)
      return { status: 'error', tag: wrong }
    }
    const counts = { sent: hello.length, received: 0 }
    server.write(hello)
    await Promise.all([
      pipeline(client, counted(counts, 'sent'), server),
      pipeline(server, counted(counts, 'received'), client),
    ]).catch(() => undefined) // whichever side broke off, it is over
    return { status: 'ok', tag: `${counts.sent} bytes sent, ${counts.received} received` }
  } finally {
    server.destroy()
    if (!client.writableEnded) client.destroy()
  }
}

function counted(counts: { sent: number; received: number }, side: 'sent' | 'received') {
  return async function* (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      counts[side] += chunk.length
      yield chunk
    }
  }
}

/** What the client sends first, up to the end of its hello, or as much as shows that it is none. */
async function readHello(client: Duplex, head: Buffer): Promise<Buffer> {
  let bytes = head
  const wait = AbortSignal.timeout(helloTimeoutMs)
  while (bytes.length < maxHelloBytes && readClientHello(bytes).kind === 'more' && !client.destroyed) {
    const chunk = client.read() as Buffer | null
    if (chunk !== null) bytes = Buffer.concat([bytes, chunk])
    else if (client.readableEnded || !(await readable(client, wait))) break
  }
  return bytes
}

async function readable(client: Duplex, wait: AbortSignal): Promise<boolean> {
  return await new Promise(resolve => {
    const settle = (there: boolean) => {
      for (const event of ['readable', 'end', 'close']) client.off(event, yes)
      wait.removeEventListener('abort', no)
      resolve(there)
    }
    const yes = () => settle(!client.destroyed)
    const no = () => settle(false)
    for (const event of ['readable', 'end', 'close']) client.once(event, yes)
    wait.addEventListener('abort', no, { once: true })
  })
}

/** Why what the client wants inside is not what was decided on. */
function disagreement(bytes: Buffer, { host }: EgressAction): string | undefined {
  const hello = readClientHello(bytes)
  switch (hello.kind) {
    case 'more':
      return 'the client never finished its TLS hello'
    case 'not-tls':
      return 'what goes through CONNECT must be TLS'
    case 'malformed':
      return 'the TLS hello is malformed'
    case 'hello':
      if (hello.encrypted) return 'an encrypted client hello hides where it goes'
      if (hello.serverName === undefined) return net.isIP(host) === 0 ? 'the TLS hello names no host' : undefined
      return canonicalHost(hello.serverName) === host ? undefined : 'the TLS hello names another host'
    default:
      return hello satisfies never
  }
}
