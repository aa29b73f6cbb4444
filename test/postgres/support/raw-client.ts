import net from 'node:net'
import type { Duplex } from 'node:stream'
import { Secret } from '../../../src/secret.ts'
import { readDataRow, readErrorFields } from '../../../src/protocols/postgres/wire/backend-messages.ts'
import { BodyReader } from '../../../src/protocols/postgres/wire/body-reader.ts'
import { FrameReader } from '../../../src/protocols/postgres/wire/frame-reader.ts'
import { frame, int32, queryMessage } from '../../../src/protocols/postgres/wire/frontend-messages.ts'
import { backend, frontend } from '../../../src/protocols/postgres/wire/message-type.ts'
import { ScramClient } from '../../../src/protocols/postgres/wire/scram.ts'
import { startupPacket } from '../../../src/protocols/postgres/wire/startup.ts'

export interface Message {
  /** The type's letter. */
  readonly type: string
  readonly body: Buffer
}

export interface RawOptions {
  readonly port: number
  readonly password: string
  readonly user?: string
  readonly database?: string
  readonly parameters?: readonly (readonly [string, string])[]
  readonly minor?: number
}

/** A client that sends what it is told and shows every message it gets. */
export class RawClient {
  readonly stream: Duplex
  readonly messages: Message[] = []
  processId = 0
  key: Buffer = Buffer.alloc(0)
  readonly #reader = new FrameReader()
  #wake: () => void = () => undefined
  #closed = false
  #seen = 0

  constructor(stream: Duplex) {
    this.stream = stream
    stream.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk)
      while (this.#reader.header(0x3fffffff) && this.#reader.whole()) {
        const { bytes, start, length, type } = this.#reader
        this.#reader.skip(length)
        this.messages.push({
          type: String.fromCharCode(type),
          body: Buffer.from(bytes.subarray(start + 5, start + length)),
        })
      }
      this.#wake()
    })
    stream.on('error', () => undefined)
    stream.on('close', () => {
      this.#closed = true
      this.#wake()
    })
    stream.on('end', () => {
      this.#closed = true
      this.#wake()
    })
  }

  /** After the messages kept were thrown away: the next one is the first again. */
  rewind(): void {
    this.#seen = 0
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Connected, and not a word said. */
  static async bare(port: number): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    await new Promise(resolve => socket.once('connect', resolve))
    return new RawClient(socket)
  }

  static async connect(options: RawOptions): Promise<RawClient> {
    const client = new RawClient(net.connect({ port: options.port, host: '127.0.0.1', noDelay: true }))
    await client.logIn(options)
    return client
  }

  async logIn(options: RawOptions): Promise<void> {
    this.send(
      startupPacket(options.minor ?? 0, [
        ['user', options.user ?? 'postgres'],
        ['database', options.database ?? 'postgres'],
        ...(options.parameters ?? []),
      ]),
    )
    let scram: ScramClient | undefined
    for (;;) {
      const { type, body } = await this.next()
      if (type === 'E') throw new Error(errorText(body))
      if (type === 'K') {
        this.processId = body.readInt32BE(0)
        this.key = body.subarray(4)
      }
      if (type === 'Z') return
      if (type !== 'R') continue
      const reader = new BodyReader().over(body, 0, body.length)
      const method = reader.uint32()
      if (method === 10) {
        scram = new ScramClient(new Secret(options.password), ['SCRAM-SHA-256'], null)
        const first = Buffer.from(scram.first())
        this.send(frame(frontend.Password, scram.mechanism, int32(first.length), first))
      }
      if (method === 11)
        this.send(frame(frontend.Password, Buffer.from(await scram!.final(reader.slice(reader.left).toString()))))
      if (method === 12) scram!.verify(reader.slice(reader.left).toString())
    }
  }

  send(...messages: readonly Buffer[]): void {
    this.stream.write(Buffer.concat(messages))
  }

  /** The next message; rejects when the connection ends before, or nothing comes for long. */
  async next(): Promise<Message> {
    const deadline = Date.now() + 20_000
    while (this.#seen >= this.messages.length) {
      if (this.#closed) throw new Error('the connection has ended')
      if (Date.now() > deadline) throw new Error('no message came')
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, 500)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return this.messages[this.#seen++]!
  }

  /** Messages up to so many ReadyForQuery, as letters; rows and tags in full. */
  async until(readies = 1): Promise<string[]> {
    const shown: string[] = []
    for (let left = readies; left > 0;) {
      const message = await this.next()
      shown.push(show(message))
      if (message.type === 'Z') left -= 1
    }
    return shown
  }

  async query(sql: string): Promise<string[]> {
    this.send(queryMessage(sql))
    return await this.until()
  }

  close(): void {
    this.stream.end(frame(frontend.Terminate))
  }
}

export function show({ type, body }: Message): string {
  const reader = new BodyReader().over(body, 0, body.length)
  switch (type.charCodeAt(0)) {
    case backend.DataRow:
      return `D ${readDataRow(reader)
        .map(value => value?.toString() ?? 'NULL')
        .join('|')}`
    case backend.CommandComplete:
      return `C ${reader.utf8String()}`
    case backend.ReadyForQuery:
      return `Z ${body.toString()}`
    case backend.ErrorResponse:
      return `E ${errorText(body)}`
    case backend.NoticeResponse:
      return `N ${errorText(body)}`
    case backend.ParameterStatus:
      return `S ${reader.utf8String()}=${reader.utf8String()}`
    default:
      return type
  }
}

export function errorText(body: Buffer): string {
  const fields = readErrorFields(new BodyReader().over(body, 0, body.length))
  return `${fields.get('C') ?? ''} ${fields.get('M') ?? ''}`
}
