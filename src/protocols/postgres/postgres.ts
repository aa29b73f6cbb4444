import type { Protocol } from '../protocol.ts'
import { AgentgateError } from '../../errors.ts'

function pending(): never {
  throw new AgentgateError('INTERNAL', 'postgres is being written')
}

export const postgres = {
  get kind(): string {
    return pending()
  },
} as unknown as Protocol
