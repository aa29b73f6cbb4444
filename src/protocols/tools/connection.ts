import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { parseJson, readBounded } from '../../json-body.ts'
import type { Asker, Context } from '../protocol.ts'
import { serveHttp } from '../serve-http.ts'
import { newAction, toolCall, withCommand, type ToolAction } from './action.ts'
import { toolCallPath, type ToolAnswer } from './answer.ts'

/** A file that is written stands whole in its call. */
const maxCallBytes = 8 * 1024 * 1024
const idleClientMs = 5_000

/** One hook's connection: it asks for one tool call, and gets its answer. */
export class ToolConnection implements Asker<ToolAction> {
  readonly connection: Context['connection']
  readonly #client: Duplex
  readonly #context: Context
  readonly #gone = new AbortController()

  constructor(client: Duplex, context: Context) {
    this.#client = client
    this.#context = context
    this.connection = context.connection
  }

  /** Settles when the connection is closed. */
  async serve(): Promise<void> {
    const drop = () => this.#client.destroy()
    await serveHttp({
      client: this.#client,
      signal: this.#context.signal,
      idleClientMs,
      answer: async (request, response) => await this.#answer(request, response),
      onGone: () => this.#gone.abort(),
      onEnd: drop,
      onUpgrade: drop,
      onMalformed: drop,
    })
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
