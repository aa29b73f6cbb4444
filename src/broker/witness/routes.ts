import type { z } from 'zod'
import type * as schema from '../../control/witness-schema.ts'
import type { OpenedSession, OpenRequest } from '../../control/broker-schema.ts'
import { AgentgateError } from '../../errors.ts'
import type { Policy } from '../../policy/policy.ts'
import { longestRetention } from '../../policy/retention.ts'
import type { Store } from '../store.ts'
import type { StoredGrant } from '../store-tables.ts'
import type { Caller } from '../caller.ts'
import type { Witness } from './witness.ts'

/** What of the broker's API is the witness's and the index's. */
export class WitnessCalls {
  readonly #witness: Witness
  readonly #store: Store
  readonly #policy: () => Policy

  constructor(witness: Witness, store: Store, policy: () => Policy) {
    this.#witness = witness
    this.#store = store
    this.#policy = policy
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
  async index(session: string, batch: z.output<typeof schema.statementBatch>): Promise<object> {
    return await this.#index(session, await this.#store.grantsOf(session), batch)
  }

  /** @throws AgentgateError NO_SUCH_SESSION: there is none, or it is not the caller's; never says which; DENIED */
  async indexLate(session: string, batch: z.output<typeof schema.statementBatch>, caller: Caller): Promise<object> {
    const grants = await this.#store.grantsOf(session)
    if (grants[0]?.principal !== caller.principal.name)
      throw new AgentgateError('NO_SUCH_SESSION', 'the broker granted you no such session')
    return await this.#index(session, grants, batch)
  }

  async erase(session: string): Promise<object> {
    return { erased: await this.#store.statements.erase(session, this.#store.now().toISOString()) }
  }

  async #index(
    session: string,
    grants: readonly StoredGrant[],
    { statements }: z.output<typeof schema.statementBatch>,
  ): Promise<object> {
    const [grant] = grants
    const owner = {
      session,
      principal: grant?.principal ?? '',
      actor: grant?.actor ?? null,
      retainSeconds: longestRetention(grants.map(({ resource }) => this.#retention(resource))),
    }
    if (!(await this.#store.statements.add(owner, statements)))
      throw new AgentgateError('DENIED', 'the index has more to write than it can')
    return { indexed: statements.length }
  }

  #retention(resource: string): number | null {
    try {
      return this.#policy().resource(resource).retainSeconds
    } catch (error) {
      if (error instanceof AgentgateError) return null // no longer in the policy: nothing says how long
      throw error
    }
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
    return { statements: rows.map(({ folded: _, expires_at: __, ...row }) => row) }
  }
}

function mayAudit(caller: Caller): boolean {
  return caller.administers || caller.audits
}
