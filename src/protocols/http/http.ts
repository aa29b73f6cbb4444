import type { Protocol } from '../protocol.ts'
import { AgentgateError } from '../../errors.ts'

function pending(): never {
  throw new AgentgateError('INTERNAL', 'http is being written')
}

export const http = {
  get kind(): string {
    return pending()
  },
} as unknown as Protocol
