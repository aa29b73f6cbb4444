import { AgentgateError } from '../../../errors.ts'
import { askServer } from './ask-server.ts'
import type { Catalogue, TextRows } from './analyser.ts'
import type { Conversation } from './conversation.ts'
import type { KnownText } from './known-text.ts'
import { nameKey } from './conversation.ts'
import type { Outbox } from './outbox.ts'
import { readResolution, resolutionSql } from './resolution.ts'
import type { Prepared } from './run.ts'
import { decodeText } from './text-encoding.ts'

/** What is known of a text: read, still being read, or not readable in the client's encoding. */
export type Reading = KnownText | Promise<unknown> | 'undecodable'

/** Reads texts in the light of the session as the server has it, and asks the server where that may have changed. */
export class SessionReader {
  readonly #conversation: Conversation
  readonly #out: Outbox
  readonly #flush: () => void
  #unread: Buffer | undefined
  /** Not worth a place among the texts, but one and the same while its message waits and is looked at again. */
  #passing: { readonly key: string; readonly known: KnownText } | undefined

  constructor(conversation: Conversation, out: Outbox, flush: () => void) {
    this.#conversation = conversation
    this.#out = out
    this.#flush = flush
  }

  /** Why the session's state could not be read, for the client; once. */
  takeError(): Buffer | undefined {
    const error = this.#unread
    this.#unread = undefined
    return error
  }

  /** Reads what may have changed from the server. Nothing may be in flight, and no transaction failed. */
  async refresh(): Promise<void> {
    const conversation = this.#conversation
    let { resolution, catalogue } = conversation
    if (conversation.resolutionStale) {
      const results = await this.#own([resolutionSql])
      if (results === undefined) return
      resolution = readResolution(results[0] ?? []).resolution
      conversation.resolutionStale = false
    }
    if (conversation.catalogueStale) {
      const inside = conversation.status !== 'I' || conversation.batchOpen
      if (inside) {
        const own = await this.#ownCatalogue()
        if (own === undefined) return
        catalogue = own
      } else catalogue = await conversation.target.refresh(true)
      conversation.catalogueOwn = inside
      conversation.catalogueStale = false
    }
    conversation.resolve(resolution, catalogue)
  }

  /** Another session may have made what a text did not find. */
  async lookAgain(): Promise<void> {
    const conversation = this.#conversation
    if (conversation.catalogueOwn) conversation.catalogueStale = true
    else await conversation.target.refresh()
  }

  /** What a text says; a promise of having read it, where that takes a while. */
  read(bytes: Buffer, start: number, end: number): Reading {
    const { texts, target, resolution, catalogue } = this.#conversation
    const key = bytes.toString('latin1', start, end)
    const known = texts.get(key)
    if (known !== undefined) return known
    if (this.#passing?.key === key && this.#passing.known.of === texts) return this.#passing.known
    const text = decodeText(bytes, start, end, resolution.clientEncoding)
    if (text === undefined) return 'undecodable'
    const read = target.read(text, resolution, catalogue)
    if (read instanceof Promise) return read.then(found => texts.set(key, found))
    if (!read.isPassing) texts.set(key, read)
    else {
      read.of = texts
      this.#passing = { key, known: read }
    }
    return read
  }

  /** Sees to it that what a prepared statement does is read in the light of how things are now. */
  renew(prepared: Prepared): Reading {
    const { texts, target, resolution, catalogue } = this.#conversation
    if (prepared.known.of === texts) return prepared.known
    const { text } = prepared.known.analysed
    const key = nameKey(text)
    const read = texts.get(key) ?? target.read(text, resolution, catalogue)
    if (read instanceof Promise) return read.then(found => texts.set(key, found))
    if (read.of !== texts) texts.set(key, read)
    prepared.renew(read)
    return prepared.known
  }

  /** The catalogue as only this session sees it, from within its transaction; undefined where that failed. */
  async #ownCatalogue(): Promise<Catalogue | undefined> {
    const failure = new AgentgateError('INTERNAL', 'the catalogue could not be read')
    try {
      return await this.#conversation.analyser.loadCatalogue(async queries => {
        const results = await this.#own(queries)
        if (results === undefined) throw failure
        return results
      }, undefined)
    } catch (error) {
      if (error === failure) return undefined
      throw error
    }
  }

  /** Asks the server on the client's connection; undefined where that failed, which the client is then told. */
  async #own(queries: readonly string[]): Promise<readonly TextRows[] | undefined> {
    const conversation = this.#conversation
    const result = await askServer(conversation, this.#out, this.#flush, queries, !conversation.batchOpen)
    if (result.kind === 'rows') return result.results
    if (result.kind === 'failed' && !conversation.discarding) this.#unread = result.error
    return undefined
  }
}
