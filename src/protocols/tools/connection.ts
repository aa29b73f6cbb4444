import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { parseJson, readBounded } from '../../json-body.ts'
import type { TextMask } from '../../masking/text-mask.ts'
import type { Asker, Context } from '../protocol.ts'
import { serveHttp } from '../serve-http.ts'
import { newAction, toolCall, withCommand, type ToolAction } from './action.ts'
import { resultFollows, toolCallPath, toolResultPath, type ToolAnswer } from './answer.ts'
import { resultText, toolResult } from './result.ts'
import type { RunningCalls } from './running-calls.ts'

/** A file that is written stands whole in its call. */
const maxCallBytes = 8 * 1024 * 1024
const idleClientMs = 5_000

/** What connections of one session share. */
export interface Shared {
  readonly running: RunningCalls
  /** Of the masks that hold now. */
  readonly mask: TextMask
}

/** One hook's connection: it asks for one tool call and gets its answer, or tells what came of one. */
export class ToolConnection implements Asker<ToolAction> {
  readonly connection: Context['connection']
  readonly #client: Duplex
  readonly #context: Context
  readonly #shared: Shared
  readonly #gone = new AbortController()

  constructor(client: Duplex, context: Context, shared: Shared) {
    this.#client = client
    this.#context = context
    this.#shared = shared
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
    if (request.method === 'POST' && request.url === toolResultPath) {
      await this.#keep(request, response)
      return
    }
    if (request.method !== 'POST' || request.url !== toolCallPath) {
      refuse(404, `a hook posts to ${toolCallPath} or ${toolResultPath}`)
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
    if (request.headers[resultFollows] !== undefined) {
      // By the input that runs, which is what its result will name.
      this.#shared.running.start(
        { ...call.data, tool_input: decision.action.input },
        { event: decision.event, startedMs: performance.now() },
      )
      send(response, 200, { decision: 'allow', ...(decision.edited ? { input: decision.action.input } : {}) })
      return
    }
    // Nobody will say what comes of it; the agent shows it on its own terminal.
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

  /** Keeps what came of a call beside it, with what masks hide hidden: its agent has seen it already. */
  async #keep(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const result = toolResult.safeParse(await readJson(request))
    const call = result.success ? this.#shared.running.end(result.data) : undefined
    if (!result.success || call === undefined) {
      void this.#context.record({
        kind: 'note',
        connection: this.connection,
        text: 'refused what came of a tool call: none such runs',
      })
      response.writeHead(result.success ? 404 : 400, { connection: 'close' }).end()
      return
    }
    const hidden = new Set<string>()
    const bytes = Buffer.from(this.#shared.mask(resultText(result.data), detector => hidden.add(detector)))
    const of = { connection: this.connection, action: call.event }
    if (bytes.length > 0) await this.#context.record({ kind: 'result', ...of, bytes })
    const failed = result.data.hook_event_name === 'PostToolUseFailure'
    await this.#context.record({
      kind: 'outcome',
      ...of,
      status: failed ? 'error' : 'ok',
      tag: failed ? 'failed' : 'done',
      rows: null,
      milliseconds: Math.round(performance.now() - call.startedMs),
      masked: [...hidden],
    })
    this.#context.commit()
    response.writeHead(204, { connection: 'close' }).end()
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
