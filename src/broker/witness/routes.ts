import type { z } from 'zod'
import type * as schema from '../../control/witness-schema.ts'
import type { OpenedSession, OpenRequest } from '../../control/broker-schema.ts'
import { AgentgateError } from '../../errors.ts'
import type { Store } from '../store.ts'
import type { Caller } from '../sessions.ts'
import type { Witness } from './witness.ts'

/** What of the broker's API is the witness's and the index's. */
export class WitnessCalls {
  readonly #witness: Witness
  readonly #store: Store

  constructor(witness: Witness, store: Store) {
    this.#witness = witness
    this.#store = store
  }

  key(): z.input<typeof schema.witnessKey> {
    return { key: this.#witness.publicKey }
  }

  /** Vouches for the key that a session has just been granted with; undefined where it named none. */
  async certify(opened: OpenedSession, request: OpenRequest): Promise<OpenedSession['witness']> {
    const { recordingKey, actor, host } = request
    if (recordingKey === undefined || recordingKey === null) return undefined
    const { session, principal } = opened
    const certificate = await this.#witness.certify({ session, recordingKey, principal: principal.name, actor, host })
    return { key: this.#witness.publicKey, certificate }
  }

  async countersign(session: string, head: z.output<typeof schema.headRequest>): Promise<object> {
    return { receipt: await this.#witness.countersign({ ...head, session }) }
  }

  /** @throws AgentgateError DENIED */
  async index(session: string, { statements }: z.output<typeof schema.statementBatch>): Promise<object> {
    const [grant] = await this.#store.grantsOf(session)
    const owner = { session, principal: grant?.principal ?? '', actor: grant?.actor ?? null }
    if (!(await this.#store.statements.add(owner, statements)))
      throw new AgentgateError('DENIED', 'the index has more to write than it can')
    return { indexed: statements.length }
  }

  /** @throws AgentgateError NO_SUCH_SESSION: there is none, or it is not the caller's; never says which */
  async receipts(session: string, caller: Caller): Promise<object> {
    const state = await this.#store.receipts.witnessed(session)
    if (state === undefined || !(mayAudit(caller) || state.principal === caller.principal.name))
      throw new AgentgateError('NO_SUCH_SESSION', 'the broker has witnessed no such session')
    return { receipts: await this.#store.receipts.receipts(session) }
  }

  async search(search: z.output<typeof schema.statementSearch>, caller: Caller): Promise<object> {
    const rows = await this.#store.statements.search(search, mayAudit(caller) ? undefined : caller.principal.name)
    return { statements: rows.map(({ folded: _, ...row }) => row) }
  }
}

function mayAudit(caller: Caller): boolean {
  return caller.administers || caller.audits
}
