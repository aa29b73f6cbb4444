import type { SqlAction } from '../analysis/analysed.ts'
import { readyForQuery } from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { headerBytes } from '../wire/frame-reader.ts'
import { readExecute, readTarget, syncMessage } from '../wire/frontend-messages.ts'
import { frontend } from '../wire/message-type.ts'
import { askServer } from './ask-server.ts'
import type { Conversation } from './conversation.ts'
import type { Expected } from './expected.ts'
import type { Outbox } from './outbox.ts'
import type { OwnResult } from './own-exchange.ts'
import type { Form } from './refuser.ts'
import type { Counted, Run } from './run.ts'

/** All messages of a portal that is bound and run whole before the Sync behind it. */
export interface PortalBatch {
  readonly bytes: Buffer
  readonly messages: number
  readonly describes: boolean
}

/** What a counted run needs of the connection around it. */
export interface CountingHost {
  readonly conversation: Conversation
  readonly out: Outbox
  /** Of the client’s messages: which one is at hand. */
  taken(): number
  flush(): void
  readonly back: {
    release(run: Run, last: readonly Buffer[]): void
    forget(): void
    redacted(error: Buffer, run: Run): Buffer
  }
}

const countedVerbs: ReadonlySet<string> = new Set(['insert', 'update', 'delete', 'merge'])

/** Whether the tag of this says how many rows it changes, and it can be taken back when it has run. */
export function countable({ analysed }: SqlAction): boolean {
  const [statement, ...others] = analysed.statements
  if (statement === undefined || others.length > 0 || !countedVerbs.has(statement.verb)) return false
  if (statement.unknown !== null || statement.output.kind !== 'none' || statement.changes.length > 0) return false
  // A rule runs something else in its place; each further WITH that writes has a count of its own.
  if (statement.effects.some(({ through }) => through.some(step => step.startsWith('rule ')))) return false
  return !/\bwith\b/i.test(statement.text)
}

/** What of a Bind’s batch is at hand: Bind, perhaps Describe, Execute and Sync, of one portal; undefined where it is anything else. */
export function portalBatch(bytes: Buffer, portal: string): PortalBatch | undefined {
  const body = new BodyReader()
  let at = 0
  let messages = 0
  let describes = false
  let executes = false
  while (at + headerBytes <= bytes.length) {
    const type = bytes[at]
    const end = at + 1 + bytes.readUInt32BE(at + 1)
    if (end < at + headerBytes || end > bytes.length) return undefined
    body.over(bytes, at + headerBytes, end)
    if (type === frontend.Sync) return executes ? { bytes: bytes.subarray(0, at), messages, describes } : undefined
    if (messages === 0) {
      if (type !== frontend.Bind) return undefined
    } else if (type === frontend.Describe && !describes && !executes) {
      const target = readTarget(body)
      if (target.kind !== 'portal' || target.name !== portal) return undefined
      describes = true
    } else if (type === frontend.Execute && !executes) {
      const execute = readExecute(body)
      if (execute.portal !== portal || execute.maxRows !== 0) return undefined
      executes = true
    } else return undefined
    messages += 1
    at = end
  }
  return undefined
}

/**
 * Runs a statement in a transaction of its own, looks at how many rows it has changed, and makes that final or takes it back. The
 * client sees what it would see of the statement alone, or nothing at all.
 */
export class CountedRuns {
  readonly #host: CountingHost
  #answered = -1
  #tried: { readonly message: number; readonly text: string } | undefined

  constructor(host: CountingHost) {
    this.#host = host
  }

  /** The client has its answer to the message at hand. */
  get answered(): boolean {
    return this.#answered === this.#host.taken()
  }

  /** What came of the message at hand when it was tried, and taken back. */
  get tried(): string | undefined {
    return this.#tried?.message === this.#host.taken() ? this.#tried.text : undefined
  }

  /** It cannot be counted after all: whoever is asked is told. */
  cannot(run: Run): void {
    this.#host.conversation.end(run, 'cancelled', 'not run')
    this.#tried = { message: this.#host.taken(), text: uncounted }
  }

  /**
   * @param bytes what the client sent, up to its Sync.
   * @param expected what answers it, without the end.
   * @param within whether so many rows may be changed.
   */
  async run(
    form: Form,
    run: Run,
    bytes: Buffer,
    expected: readonly Expected[],
    within: (rows: number) => boolean,
  ): Promise<void> {
    const { conversation, back } = this.#host
    const ready = form === 'query' ? [readyForQuery('I')] : []
    const counted: Counted = { complete: null, gaveRows: false }
    run.counted = counted
    conversation.withholding = true
    const begun = await this.#own('begin')
    if (begun.kind !== 'rows') {
      this.#failed(run, begun, ready)
      return
    }
    run.startedMs = performance.now()
    const status = await this.#send(form, run, bytes, expected)
    if (status !== 'T' || run.ended || counted.complete === null) {
      await this.#own('rollback')
      if (!run.ended) conversation.end(run, 'error', 'the transaction failed')
      this.#answer(run, ready)
      return
    }
    if (counted.gaveRows || !within(run.rows)) {
      // What comes with the end of the transaction is of others, and for the client.
      back.forget()
      await this.#own('rollback')
      const rows = `${run.rows.toLocaleString('en-US')} ${run.rows === 1 ? 'row' : 'rows'}`
      conversation.end(run, 'cancelled', `${run.tag}, rolled back`)
      const text = counted.gaveRows
        ? uncounted
        : `changed ${rows} when it was tried, more than its approval allows: rolled back`
      this.#tried = { message: this.#host.taken(), text }
      return
    }
    const committed = await this.#own('commit')
    if (committed.kind !== 'rows') {
      // As the server alone would: a Query's end is not told before it is final, a portal's is.
      this.#failed(run, committed, ready, form === 'query' ? [] : [counted.complete])
      return
    }
    conversation.end(run, 'ok', run.tag)
    this.#answer(run, [counted.complete, ...ready])
  }

  #answer(run: Run, last: readonly Buffer[]): void {
    this.#answered = this.#host.taken()
    this.#host.back.release(run, last)
  }

  #failed(run: Run, result: OwnResult, ready: readonly Buffer[], before: readonly Buffer[] = []): void {
    const { conversation, back } = this.#host
    if (result.kind === 'failed') {
      conversation.end(run, result.sqlstate === '57014' ? 'cancelled' : 'error', `ERROR ${result.sqlstate}`)
      this.#answer(run, [...before, back.redacted(result.error, run), ...ready])
    } else {
      conversation.end(run, 'lost', '')
      this.#answer(run, [])
    }
  }

  async #send(form: Form, run: Run, bytes: Buffer, expected: readonly Expected[]): Promise<'I' | 'T' | 'E'> {
    const { conversation, out } = this.#host
    return await new Promise(settle => {
      out.insert(bytes)
      if (form === 'query') conversation.expected.push({ kind: 'query', run, replacement: null, settle })
      else {
        for (const one of expected) conversation.expected.push(one)
        out.insert(syncMessage)
        conversation.expected.push({ kind: 'sync', settle })
      }
      this.#host.flush()
    })
  }

  async #own(sql: string): Promise<OwnResult> {
    const { conversation, out } = this.#host
    return await askServer(conversation, out, () => this.#host.flush(), [sql], true)
  }
}

const uncounted = 'its rows cannot be counted before they are final, as its approval asks for'
