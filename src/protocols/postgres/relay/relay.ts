import type { Duplex } from 'node:stream'
import { AgentgateError, ProtocolError } from '../../../errors.ts'
import { errorResponse } from '../wire/backend-messages.ts'
import { terminateMessage } from '../wire/frontend-messages.ts'
import { BackendPath } from './backend-path.ts'
import type { Conversation } from './conversation.ts'
import { FrontendPath } from './frontend-path.ts'
import { sqlstateOf } from './refusal.ts'

/** While nothing is pulled, reading goes on up to here, so that a client that leaves is seen. */
const maxHeldBytes = 1024 * 1024
/** A client that is told goodbye has this long to take it in. */
const goodbyeMs = 2000

/** Carries one authenticated connection between client and server until both are closed. */
export class Relay {
  readonly #client: Duplex
  readonly #server: Duplex
  readonly #conversation: Conversation
  readonly #frontend: FrontendPath
  readonly #backend: BackendPath
  readonly #done: Promise<void>
  #clientFull = false
  #recordsBehind = 0
  #clientEnded = false
  #closing = false
  #open = 2
  #settle: () => void = () => undefined

  /** @param cancelServer cancels what the server is at; settles once it has been told. */
  constructor(client: Duplex, server: Duplex, conversation: Conversation, cancelServer: () => Promise<void>) {
    this.#client = client
    this.#server = server
    this.#conversation = conversation
    this.#done = new Promise(resolve => (this.#settle = resolve))
    this.#backend = new BackendPath(conversation, client, {
      clientFull: () => {
        this.#clientFull = true
        server.pause()
      },
      recordFull: until => this.#awaitRecord(until),
      cut: () => void this.#cancel(cancelServer),
      refuse: (form, error) => this.#frontend.refuse(form, error),
      fatal: () => (this.#closing = true),
    })
    this.#frontend = new FrontendPath(conversation, server, {
      tellClient: bytes => this.#backend.tell(bytes),
      back: this.#backend,
      worked: () => this.#steerClient(),
      fail: error => this.fail(error),
      terminate: () => this.#endServer(),
    })
  }

  /** Both streams are paused; what they hold already is read first. */
  async run(): Promise<void> {
    const { signal } = this.#conversation.context
    const abort = () => this.#revoke(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    this.#client.on('data', (chunk: Buffer) => this.#fromClient(chunk))
    this.#client.on('drain', () => this.#clientDrained())
    this.#client.on('end', () => this.#clientEnd())
    this.#client.on('error', () => undefined)
    this.#client.on('close', () => this.#closed())
    this.#server.on('data', (chunk: Buffer) => this.#fromServer(chunk))
    this.#server.on('drain', () => this.#serverDrained())
    this.#server.on('end', () => this.#endClient())
    this.#server.on('error', () => undefined)
    this.#server.on('close', () => this.#closed())
    if (this.#client.destroyed) this.#closed()
    if (this.#server.destroyed) this.#closed()
    if (signal.aborted) abort()
    this.#client.resume()
    this.#server.resume()
    await this.#done
    signal.removeEventListener('abort', abort)
    this.#conversation.lose()
  }

  /** The client pressed Ctrl-C; false: the server has to be told. */
  cancelHeld(): boolean {
    return this.#frontend.withdraw()
  }

  /** Nothing goes to the server until its cancelling is over, as it would be what is cancelled. */
  async #cancel(cancelServer: () => Promise<void>): Promise<void> {
    const conversation = this.#conversation
    conversation.cancelling = true
    await cancelServer().catch(() => undefined) // what comes of the result is thrown away all the same
    conversation.cancelling = false
    if (this.#closing) return
    this.#frontend.progress()
    this.#steerClient()
  }

  /** What the connection is in can no longer be known: it ends, and says why. */
  fail(error: unknown): void {
    const known =
      error instanceof AgentgateError
        ? error
        : new AgentgateError('INTERNAL', 'an error of agentgate’s own', { cause: error })
    this.#say(
      sqlstateOf(known.code),
      known instanceof ProtocolError ? known.message : `agentgate: ${known.message}`,
      known.hint,
    )
  }

  #revoke(reason: unknown): void {
    const known = reason instanceof AgentgateError ? reason : new AgentgateError('REVOKED', 'the session has ended')
    this.#say('57P01', `terminating connection: ${known.message}`, known.hint)
  }

  #say(sqlstate: string, message: string, hint: string | undefined): void {
    if (this.#closing) return
    this.#closing = true
    this.#conversation.withholding = false
    this.#frontend.withdraw()
    if (!this.#backend.midMessage) this.#backend.tell(errorResponse({ severity: 'FATAL', sqlstate, message, hint }))
    this.#server.destroy()
    this.#endClient()
  }

  #fromClient(chunk: Buffer): void {
    if (this.#closing) return
    this.#frontend.receive(chunk)
    this.#steerClient()
  }

  /** Reads from the client as fast as the server takes it in. */
  #steerClient(): void {
    if (this.#frontend.full || (this.#frontend.waiting && this.#frontend.buffered > maxHeldBytes)) this.#client.pause()
    else if (this.#client.isPaused()) this.#client.resume()
    if (this.#clientEnded && !this.#frontend.waiting && !this.#frontend.full) this.#endServer()
  }

  #fromServer(chunk: Buffer): void {
    try {
      this.#backend.receive(chunk)
      if (!this.#closing && this.#frontend.waiting) {
        this.#frontend.progress()
        this.#steerClient()
      }
    } catch (error) {
      this.fail(error)
    }
  }

  #clientDrained(): void {
    this.#clientFull = false
    if (this.#recordsBehind === 0) this.#server.resume()
  }

  #serverDrained(): void {
    if (this.#closing) return
    this.#frontend.drained()
    this.#steerClient()
  }

  #awaitRecord(until: Promise<void>): void {
    this.#recordsBehind += 1
    this.#server.pause()
    until.then(
      () => {
        this.#recordsBehind -= 1
        if (this.#recordsBehind === 0 && !this.#clientFull) this.#server.resume()
      },
      (error: unknown) => this.fail(error),
    )
  }

  #clientEnd(): void {
    this.#clientEnded = true
    this.#frontend.withdraw()
    this.#steerClient()
  }

  #endServer(): void {
    this.#frontend.flush()
    if (!this.#server.writableEnded) this.#server.end()
  }

  #endClient(): void {
    this.#closing = true
    if (!this.#client.writableEnded) this.#client.end()
    this.#client.resume() // its end has to be read to be seen
    setTimeout(() => this.#client.destroy(), goodbyeMs).unref()
  }

  #closed(): void {
    this.#open -= 1
    if (this.#open === 0) {
      this.#settle()
      return
    }
    this.#frontend.withdraw()
    if (this.#server.destroyed) {
      this.#endClient()
      return
    }
    this.#closing = true
    this.#frontend.flush()
    this.#server.end(terminateMessage)
    setTimeout(() => this.#server.destroy(), goodbyeMs).unref()
  }
}
