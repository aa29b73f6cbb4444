import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { parseJson, readBounded } from '../../json-body.ts'
import type { Asker, Context } from '../protocol.ts'
import { newAction, toolCall, withCommand, type ToolAction } from './action.ts'
import { toolCallPath, type ToolAnswer } from './answer.ts'

/** A file that is written stands whole in its call. */
const maxCallBytes = 8 * 1024 * 1024
/** Whoever has asked for nothing by then is no hook. */
const firstRequestMs = 30_000
const idleClientMs = 5_000

/** One hook's connection: it asks for one tool call, and gets its answer. */
export class ToolConnection implements Asker<ToolAction> {
  readonly connection: Context['connection']
  readonly #client: Duplex
  readonly #context: Context
  readonly #gone = new AbortController()
  #work: Promise<void> = Promise.resolve()

  constructor(client: Duplex, context: Context) {
    this.#client = client
    this.#context = context
    this.connection = context.connection
  }

  /** Settles when the connection is closed. */
  async serve(): Promise<void> {
    const client = this.#client
    const { signal } = this.#context
    client.on('error', () => undefined) // its 'close' says the same
    const closed = new Promise<void>(resolve => {
      if (client.closed) resolve()
      else client.once('close', resolve)
    })
    void closed.then(() => this.#gone.abort())
    const silent = setTimeout(() => client.destroy(), firstRequestMs)
    const end = () => client.destroy()
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
    const server = http.createServer({ keepAliveTimeout: idleClientMs }, (request, response) => {
      clearTimeout(silent)
      this.#work = this.#work.then(async () => {
        response.on('error', () => undefined) // its 'close' says the same
        await this.#answer(request, response)
      })
    })
    server.on('clientError', () => client.destroy())
    server.on('upgrade', () => client.destroy())
    server.on('connect', () => client.destroy())
    try {
      server.emit('connection', client)
      await closed
      await this.#work
    } finally {
      clearTimeout(silent)
      signal.removeEventListener('abort', end)
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refuse = (status: number, message: string) => {
      this.#note(message)
      send(response, status, { decision: 'deny', message, rule: null, hint: null })
    }
    const secret = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1]
    if (secret === undefined || !this.#context.clientSecret.equals(secret)) {
      refuse(401, 'it is no hook of this session')
      return
    }
    if (request.method !== 'POST' || request.url !== toolCallPath) {
      refuse(404, `a hook posts to ${toolCallPath}`)
      return
    }
    const call = toolCall.safeParse(await readJson(request))
    if (!call.success) {
      refuse(400, 'the tool call cannot be read')
      return
    }
    const action = newAction(call.data)
    const began = performance.now()
    const decision = await this.#context.decide(action, this)
    this.#context.commit()
    if (decision.kind === 'deny') {
      const { message, rule, hint = null } = decision
      send(response, 200, {
        decision: 'deny',
        message,
        rule: rule === null ? null : `${rule.name} (${rule.place})`,
        hint,
      })
      return
    }
    // What comes of it, the agent sees and shows on its own terminal.
    await this.#context.record({
      kind: 'outcome',
      connection: this.connection,
      action: decision.event,
      status: 'ok',
      tag: decision.edited ? 'let through as edited' : 'let through',
      rows: null,
      milliseconds: Math.round(performance.now() - began),
      masked: [],
    })
    send(response, 200, { decision: 'allow', ...(decision.edited ? { input: decision.action.input } : {}) })
  }

  holdsLocks(): boolean {
    return false
  }

  /** A hook waits; one that is ended with its agent withdraws. */
  onHold(): AbortSignal {
    return this.#gone.signal
  }

  revise(action: ToolAction, text: string | undefined): Promise<ToolAction> {
    return new Promise(resolve => resolve(text === undefined ? action : withCommand(action, text)))
  }

  #note(what: string): void {
    void this.#context.record({ kind: 'note', connection: this.connection, text: `refused a tool call: ${what}` })
  }
}

function send(response: ServerResponse, status: number, answer: ToolAnswer): void {
  if (response.destroyed) return
  const body = JSON.stringify(answer)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  })
  response.end(body)
}

/** undefined for what is no JSON, too long or broken off. */
async function readJson(request: IncomingMessage): Promise<unknown> {
  const body = await readBounded(request, maxCallBytes).catch(() => undefined)
  return body === undefined ? undefined : parseJson(body.toString('utf8'))
}
