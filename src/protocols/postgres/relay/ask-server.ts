import type { Conversation } from './conversation.ts'
import type { Outbox } from './outbox.ts'
import { OwnExchange, type OwnResult } from './own-exchange.ts'

/**
 * Asks on the client’s connection, between what the client sends.
 * @param endsBatch with a Sync; false within a batch of the client’s that is to go on.
 */
export async function askServer(
  conversation: Conversation,
  out: Outbox,
  flush: () => void,
  queries: readonly string[],
  endsBatch: boolean,
): Promise<OwnResult> {
  return await new Promise<OwnResult>(resolve => {
    const exchange = new OwnExchange(endsBatch, resolve)
    out.insert(exchange.messages(queries))
    conversation.expected.push({ kind: 'own', exchange })
    flush()
  })
}
