import type { Command } from 'commander'
import { AgentgateError } from '../errors.ts'

export function configure(command: Command): void {
  command.action(() => {
    throw new AgentgateError('INTERNAL', 'passphrase is being written')
  })
}
