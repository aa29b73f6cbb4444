import type { Duplex } from 'node:stream'
import { AgentgateError, ProtocolError } from '../../../errors.ts'
import {
  readDataRow,
  readErrorFields,
  readParameterDescription,
  readRowDescription,
  type Field,
} from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { FrameReader } from '../wire/frame-reader.ts'
import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
  terminateMessage,
} from '../wire/frontend-messages.ts'
import { backend, typeName } from '../wire/message-type.ts'
import type { BoundParameter, Resolution } from '../analysis/analysed.ts'
import { plannedRows } from './planned-rows.ts'
import { logIn, type LoggedIn, type LoginOptions } from './server-login.ts'

const maxMessageBytes = 256 * 1024 * 1024

export type TextRows = (string | null)[][]

interface Asked {
  readonly rows: TextRows
  /** Parameters and columns, for Describe. */
  description: string
  error: AgentgateError | undefined
  readonly settle: (asked: Asked) => void
}

/** A query of ours that the server answered with an error. */
export class QueryFailed extends AgentgateError {
  readonly sqlstate: string
  constructor(sqlstate: string, message: string) {
    super('TARGET_REFUSED', `the server refused a query of agentgate's (${sqlstate})`, { cause: new Error(message) })
    this.sqlstate = sqlstate
  }
}

/** A connection of the tunnel's own: simple queries, one after another, every value as text. */
export class ServerConnection {
  readonly login: LoggedIn
  readonly #stream: Duplex
  readonly #reader = new FrameReader()
  readonly #asked: Asked[] = []
  #closed = false

  /** @throws AgentgateError as `logIn` */
  static async open(options: LoginOptions): Promise<ServerConnection> {
    return new ServerConnection(await logIn(options))
  }

  private constructor(login: LoggedIn) {
    this.login = login
    this.#stream = login.stream
    this.#stream.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.#stream.on('close', () => this.#end())
    this.#stream.on('end', () => this.#end())
    this.#stream.resume()
  }

  get closed(): boolean {
    return this.#closed
  }

  /** The rows of all its statements. @throws QueryFailed, AgentgateError TARGET_UNREACHABLE */
  async query(sql: string): Promise<TextRows> {
    const asked = await this.#ask([queryMessage(sql)])
    if (asked.error !== undefined) throw asked.error
    return asked.rows
  }

  /** The rows of each, all asked in one go. @throws as `query` */
  async queries(queries: readonly string[]): Promise<readonly TextRows[]> {
    return await Promise.all(queries.map(async sql => await this.query(sql)))
  }

  /**
   * What the server says of a statement's parameters and columns, as one comparable text, with names resolved as in the
   * session given; undefined where it cannot be prepared here.
   */
  async describe(text: string, session: Pick<Resolution, 'searchPath' | 'role'>): Promise<string | undefined> {
    const asked = await this.#asIn(session, [parseMessage('', text), describeMessage('Statement', ''), syncMessage])
    return asked?.description
  }

  /**
   * How many rows the planner expects a statement to give or change, as in the session given; null where it cannot be
   * planned here. Nothing runs but what planning itself works out.
   */
  async estimate(
    text: string,
    parameters: readonly BoundParameter[],
    session: Pick<Resolution, 'searchPath' | 'role'> & { readonly settings: Settings },
  ): Promise<number | null> {
    const asked = await this.#asIn(session, [
      parseMessage(
        '',
        `explain (format json) ${text}`,
        parameters.map(({ typeOid }) => typeOid),
      ),
      bindMessage({
        portal: '',
        statement: '',
        formats: parameters.map(({ format }) => (format === 'binary' ? 1 : 0)),
        values: parameters.map(({ value }) => value),
        resultFormats: [],
      }),
      executeMessage(''),
      syncMessage,
    ])
    return asked === undefined ? null : plannedRows(asked.rows)
  }

  /** Asks in one go, so that nothing of others comes between; undefined where the server refuses. */
  async #asIn(
    session: Pick<Resolution, 'searchPath' | 'role'> & { readonly settings?: Settings },
    messages: readonly Buffer[],
  ): Promise<Asked | undefined> {
    const path = session.searchPath
      .filter(name => !/^pg_(temp|toast_temp)_/.test(name))
      .map(quoted)
      .join(', ')
    const begin = [
      'begin read only',
      `set local statement_timeout = ${estimateTimeoutMs}; set local lock_timeout = ${estimateTimeoutMs}`,
      ...(session.settings ?? []).map(
        ([name, value]) => `set local ${quoted(name)} = '${value.replaceAll("'", "''")}'`,
      ),
      `set local search_path to ${path === '' ? "''" : path}; set local role ${quoted(session.role)}`,
    ]
    const [begun, asked] = await Promise.all([
      this.#ask([queryMessage(begin.join('; '))]),
      this.#ask(messages),
      this.#ask([queryMessage('rollback; select pg_catalog.pg_advisory_unlock_all()')]),
    ])
    const failed = begun.error ?? asked.error
    if (failed === undefined) return asked
    if (failed instanceof QueryFailed) return undefined
    throw failed
  }

  close(): void {
    if (!this.#closed) this.#stream.end(terminateMessage)
    this.#end()
  }

  async #ask(messages: readonly Buffer[]): Promise<Asked> {
    if (this.#closed) throw lost()
    return await new Promise<Asked>(settle => {
      this.#asked.push({ rows: [], description: '', error: undefined, settle })
      this.#stream.write(Buffer.concat(messages))
    })
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
    const first = this.#asked[0]
    switch (type) {
      case backend.DataRow:
        first?.rows.push(readDataRow(body).map(value => value?.toString('utf8') ?? null))
        return
      case backend.ErrorResponse: {
        const fields = readErrorFields(body)
        if (first !== undefined) first.error ??= new QueryFailed(fields.get('C') ?? 'XX000', fields.get('M') ?? '')
        return
      }
      case backend.ReadyForQuery:
        this.#asked.shift()
        first?.settle(first)
        return
      case backend.RowDescription:
        if (first !== undefined) first.description += JSON.stringify(readRowDescription(body).map(shapeOf))
        return
      case backend.ParameterDescription:
        if (first !== undefined) first.description += JSON.stringify(readParameterDescription(body))
        return
      case backend.ParseComplete:
      case backend.BindComplete:
      case backend.NoData:
      case backend.CommandComplete:
      case backend.EmptyQueryResponse:
      case backend.NoticeResponse:
      case backend.NotificationResponse:
      case backend.ParameterStatus:
        return
      default:
        throw new ProtocolError('postgres', `the server sent ${typeName(type)}`)
    }
  }

  #end(): void {
    this.#closed = true
    for (const asked of this.#asked.splice(0)) {
      asked.error = lost()
      asked.settle(asked)
    }
  }
}

type Settings = readonly (readonly [name: string, value: string])[]

/** An estimate that takes longer is none. */
const estimateTimeoutMs = 2000

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`

/** What a client can tell of a column; where it comes from is not part of it. */
const shapeOf = ({ name, typeOid, typeModifier }: Field) => [name, typeOid, typeModifier]

function lost(): AgentgateError {
  return new AgentgateError('TARGET_UNREACHABLE', 'the server closed the connection')
}
