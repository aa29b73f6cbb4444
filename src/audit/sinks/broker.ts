import { auditBatchBytes, auditBatchEvents } from '../../control/audit-schema.ts'
import { AgentgateError } from '../../errors.ts'
import type { Queued } from '../outbox-reader.ts'
import { SinkFailed, type Sink } from './sink.ts'

/** @throws AgentgateError what the broker says */
export type SendToBroker = (events: readonly Queued[], signal: AbortSignal) => Promise<void>

/** The broker, which brings them to the places of its policy; what it has confirmed is on its disk. */
export function brokerSink(address: string, sendToBroker: SendToBroker): Sink {
  return {
    place: address,
    limits: { events: auditBatchEvents, bytes: auditBatchBytes },
    close: () => undefined,
    send: async (events, signal) => {
      try {
        await sendToBroker(events, signal)
      } catch (error) {
        if (!(error instanceof AgentgateError)) throw error
        throw new SinkFailed(kindOf(error), error.message)
      }
    },
  }
}

function kindOf({ code }: AgentgateError): SinkFailed['kind'] {
  switch (code) {
    case 'USAGE':
      return 'unacceptable'
    case 'NOT_LOGGED_IN':
    case 'DENIED':
    case 'NO_SUCH_SESSION':
    case 'TLS_FAILED':
      return 'refused'
    default:
      return 'unreachable'
  }
}
