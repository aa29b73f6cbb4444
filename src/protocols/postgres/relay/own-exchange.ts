import { randomBytes } from 'node:crypto'
import type { TextRows } from './analyser.ts'
import { readDataRow, readErrorFields } from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import {
  bindMessage,
  closeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from '../wire/frontend-messages.ts'
import { backend } from '../wire/message-type.ts'

export type OwnResult =
  | { readonly kind: 'rows'; readonly results: readonly TextRows[] }
  | { readonly kind: 'failed'; readonly sqlstate: string; readonly error: Buffer }
  /** An earlier message failed, so the server passed over it. */
  | { readonly kind: 'skipped' }

/** Starts names of ours at the server. A client cannot know it, so it cannot use or occupy them. */
export const ownPrefix = `agentgate_${randomBytes(9).toString('hex')}`

/** Queries of ours on the client's own connection, leaving nothing behind and unseen by the client. */
export class OwnExchange {
  readonly #endsBatch: boolean
  readonly #settle: (result: OwnResult) => void
  readonly #results: TextRows[] = []
  #rows: (string | null)[][] = []
  #closesLeft = 0
  #failed: Extract<OwnResult, { kind: 'failed' }> | undefined
  /** The session's status as ReadyForQuery said, where the exchange ended a batch. */
  status: string | undefined

  /**
   * @param endsBatch with a Sync; false within a batch of the client's, whose transaction a Sync would end.
   */
  constructor(endsBatch: boolean, settle: (result: OwnResult) => void) {
    this.#endsBatch = endsBatch
    this.#settle = settle
  }

  /** A statement and portal of our own names, closed in the same breath; the client's unnamed ones stay. */
  messages(queries: readonly string[]): Buffer {
    this.#closesLeft = queries.length * 3
    const messages = queries.flatMap(sql => [
      closeMessage('Statement', ownPrefix), // what an exchange left that failed half-way
      parseMessage(ownPrefix, sql),
      bindMessage({ portal: ownPrefix, statement: ownPrefix, formats: [], values: [], resultFormats: [] }),
      executeMessage(ownPrefix),
      closeMessage('Portal', ownPrefix),
      closeMessage('Statement', ownPrefix),
    ])
    return Buffer.concat([...messages, this.#endsBatch ? syncMessage : flushMessage])
  }

  /** Takes one whole message of the server's; `ended` once nothing more will come. */
  take(type: number, bytes: Buffer, start: number, end: number): 'more' | 'ended' | 'failed' | 'unexpected' {
    switch (type) {
      case backend.ParseComplete:
      case backend.BindComplete:
        return 'more'
      case backend.CommandComplete:
        this.#results.push(this.#rows)
        this.#rows = []
        return 'more'
      case backend.DataRow:
        this.#rows.push(
          readDataRow(new BodyReader().over(bytes, start, end)).map(value => value?.toString('utf8') ?? null),
        )
        return 'more'
      case backend.CloseComplete:
        this.#closesLeft -= 1
        return this.#closesLeft > 0 || this.#endsBatch ? 'more' : this.#end()
      case backend.ErrorResponse: {
        const fields = readErrorFields(new BodyReader().over(bytes, start, end))
        const error = Buffer.from(bytes.subarray(start - 5, end))
        this.#failed = { kind: 'failed', sqlstate: fields.get('C') ?? 'XX000', error }
        if (this.#endsBatch) return 'more'
        this.#settle(this.#failed)
        return 'failed'
      }
      case backend.ReadyForQuery:
        this.status = String.fromCharCode(bytes[start] ?? 0)
        return this.#endsBatch ? this.#end() : 'unexpected'
      default:
        return 'unexpected'
    }
  }

  #end(): 'ended' {
    this.#settle(this.#failed ?? { kind: 'rows', results: this.#results })
    return 'ended'
  }

  skip(): void {
    this.#settle({ kind: 'skipped' })
  }
}
