import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  const report = command
    .command('status', { isDefault: true })
    .description('where audit events go, and what waits')
    .action(async () => {
      const { auditStatus } = await import('./audit-run.ts')
      await auditStatus(readGlobals(report, io), io)
    })
  const test = command
    .command('test')
    .description('send an event to each place that the policy names, and wait for it')
    .option('--text <text>', 'what it says', 'a test of agentgate’s audit events')
    .action(async ({ text }: { text: string }) => {
      const { auditTest } = await import('./audit-run.ts')
      await auditTest(text, readGlobals(test, io), io)
    })
  const deliver = command
    .command('deliver')
    .description('deliver now what waits in the outbox')
    .action(async () => {
      const { auditDeliver } = await import('./audit-run.ts')
      await auditDeliver(readGlobals(deliver, io), io)
    })
  examples(command, [
    ['agentgate audit', 'each place, what has arrived there, what waits, what is wrong'],
    ['agentgate audit test', 'try what audit: in the policy says'],
    ['agentgate audit deliver', 'what the last session could not deliver'],
  ])
  exitCodes(command, [[6, 'a place does not take its events']])
}
