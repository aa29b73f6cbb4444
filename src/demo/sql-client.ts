import type { Duplex } from 'node:stream'
import net from 'node:net'
import { once } from 'node:events'
import { AgentgateError } from '../errors.ts'
import type { ResourceName, ScopeName } from '../ids.ts'
import { logIn } from '../protocols/postgres/relay/server-login.ts'
import { readDataRow, readErrorFields, readRowDescription } from '../protocols/postgres/wire/backend-messages.ts'
import type { ErrorFields } from '../protocols/postgres/wire/backend-messages.ts'
import { BodyReader } from '../protocols/postgres/wire/body-reader.ts'
import { FrameReader } from '../protocols/postgres/wire/frame-reader.ts'
import { queryMessage, terminateMessage } from '../protocols/postgres/wire/frontend-messages.ts'
import { backend } from '../protocols/postgres/wire/message-type.ts'
import { Secret } from '../secret.ts'

const maxMessageBytes = 16 * 1024 * 1024

/** What came back for one query, as a client sees it. */
export interface Answer {
  readonly columns: readonly string[]
  readonly rows: readonly (readonly (string | null)[])[]
  /** `SELECT 3`; empty where it failed. */
  readonly tag: string
  readonly notices: readonly string[]
  readonly error: ErrorFields | null
}

interface Asked {
  columns: readonly string[]
  rows: (readonly (string | null)[])[]
  tag: string
  notices: string[]
  error: ErrorFields | null
  readonly settle: (answer: Answer | Error) => void
  readonly onNotice: ((text: string) => void) | undefined
}

/** A client as psql is one, small: it logs in to what a URL names, and sends simple queries one after another. */
export class SqlClient {
  readonly #stream: Duplex
  readonly #reader = new FrameReader()
  #asked: Asked | undefined
  #ended = false

  /** @throws AgentgateError where nobody answers, or the login is refused. */
  static async connect(url: Secret): Promise<SqlClient> {
    const at = new URL(url.reveal())
    const login = await logIn({
      resource: {
        name: 'demo' as ResourceName,
        kind: 'postgres',
        address: at.host,
        tls: { mode: 'off', name: undefined, ca: undefined },
        settings: {},
        scope: { name: 'demo' as ScopeName, settings: {} },
        credential: {
          issuer: 'static',
          user: decodeURIComponent(at.username),
          secret: new Secret(decodeURIComponent(at.password)),
          certificate: null,
          expiresAt: null,
        },
      },
      upstream: async () => await dial(at.hostname, Number(at.port)),
      database: decodeURIComponent(at.pathname.slice(1)),
      parameters: [
        ['application_name', 'agentgate demo'],
        ['client_encoding', 'UTF8'],
      ],
      minor: 0,
    })
    return new SqlClient(login.stream)
  }

  private constructor(stream: Duplex) {
    this.#stream = stream
    stream.on('data', (chunk: Buffer) => this.#receive(chunk))
    stream.on('close', () => this.#end())
    stream.on('error', () => this.#end())
    stream.resume()
  }

  get connected(): boolean {
    return !this.#ended
  }

  /** `onNotice` hears what the server says before it answers. @throws AgentgateError where the connection ends. */
  async query(sql: string, onNotice?: (text: string) => void): Promise<Answer> {
    if (this.#ended) throw gone()
    const answer = await new Promise<Answer | Error>(settle => {
      this.#asked = { columns: [], rows: [], tag: '', notices: [], error: null, settle, onNotice }
      this.#stream.write(queryMessage(sql))
    })
    if (answer instanceof Error) throw answer
    return answer
  }

  close(): void {
    if (!this.#ended) this.#stream.end(terminateMessage)
    this.#end()
  }

  #receive(chunk: Buffer): void {
    this.#reader.push(chunk)
    try {
      while (this.#reader.header(maxMessageBytes) && this.#reader.whole()) {
        const { bytes, start, length, type } = this.#reader
        this.#reader.skip(length)
        this.#take(type, new BodyReader().over(bytes, start + 5, start + length))
      }
    } catch {
      this.#stream.destroy()
      this.#end()
    }
  }

  #take(type: number, body: BodyReader): void {
    const asked = this.#asked
    if (asked === undefined) return
    switch (type) {
      case backend.RowDescription:
        asked.columns = readRowDescription(body).map(field => field.name)
        return
      case backend.DataRow:
        asked.rows.push(readDataRow(body).map(value => value?.toString('utf8') ?? null))
        return
      case backend.CommandComplete:
        asked.tag = body.utf8String()
        return
      case backend.NoticeResponse: {
        const text = readErrorFields(body).get('M') ?? ''
        asked.notices.push(text)
        asked.onNotice?.(text)
        return
      }
      case backend.ErrorResponse:
        asked.error = readErrorFields(body)
        return
      case backend.ReadyForQuery:
        this.#asked = undefined
        asked.settle(asked)
        return
      default:
        return
    }
  }

  #end(): void {
    this.#ended = true
    this.#asked?.settle(gone())
    this.#asked = undefined
  }
}

function gone(): AgentgateError {
  return new AgentgateError('TARGET_UNREACHABLE', 'the connection ended')
}

async function dial(host: string, port: number): Promise<Duplex> {
  const socket = net.connect({ host, port, noDelay: true })
  try {
    await once(socket, 'connect')
  } catch (cause) {
    throw new AgentgateError('TARGET_UNREACHABLE', `nobody answers at ${host}:${port}`, { cause })
  }
  socket.on('error', () => undefined) // 'close' follows
  return socket
}
