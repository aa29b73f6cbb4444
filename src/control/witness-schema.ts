import { z } from 'zod'

/**
 * The broker as a witness, and its index of statements (broker-schema.ts has the rest of its API).
 *
 * GET  /v1/witness                                        its public key; nobody is asked who they are
 * POST /v1/sessions/ID/witness                            countersigns the session's chain         (session's token)
 * POST /v1/sessions/ID/statements                         what was asked, for the index            (session's token)
 * GET  /v1/sessions/ID/receipts                           one's own, or an administrator's or auditor's
 * POST /v1/statements                                     searches the index, likewise
 * POST /v1/sessions/ID/statements/late                    what did not reach the index in time    (whose session it was)
 * POST /v1/sessions/ID/statements/erase                   removes a session's from it             (administrators)
 */
const at = z.iso.datetime()

/** A point of the chain, signed with the session's recording key. */
export const headRequest = z.object({
  sequence: z.number().int().min(1),
  head: z.string().regex(/^[0-9a-f]{64}$/),
  final: z.boolean(),
  signature: z.string().max(200),
})

export const witnessKey = z.object({ key: z.string() })

// Receipts and certificates are parsed where they are believed (src/recording/witness/receipt.ts).
export const receiptAnswer = z.object({ receipt: z.unknown() })
export const receiptList = z.object({ receipts: z.array(z.unknown()) })

/** Longer texts are in the recording. */
export const maxIndexedText = 4000

const statement = z.object({
  sequence: z.number().int().min(1),
  at,
  resource: z.string().max(63),
  decision: z.string().max(32),
  rule: z.string().max(200).nullable(),
  text: z.string().max(maxIndexedText),
})
export const statementBatch = z.object({ statements: z.array(statement).max(200) })
export const indexed = z.object({ indexed: z.number() })

/** Told when what was recorded of it has been erased. */
export const erasure = z.object({ reason: z.string().max(1000) })
export const erased = z.object({ erased: z.number() })

export const statementSearch = z.object({
  text: z.string().max(1000).nullable(),
  resource: z.string().max(63).nullable(),
  who: z.string().max(320).nullable(),
  since: at.nullable(),
  until: at.nullable(),
  denied: z.boolean(),
  limit: z.number().int().min(1).max(1000),
})
export const foundStatement = statement.extend({
  session: z.string(),
  principal: z.string(),
  actor: z.string().nullable(),
})
export const foundStatements = z.object({ statements: z.array(foundStatement) })

export type IndexedStatement = z.output<typeof statement>
export type StatementSearch = z.output<typeof statementSearch>
export type FoundStatement = z.output<typeof foundStatement>
