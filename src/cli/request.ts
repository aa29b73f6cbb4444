import { Option, type Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { seconds } from './resource-options.ts'

export interface RequestFlags {
  scope: string
  for?: number
  reason: string
  ticket?: string
  actor?: string
  wait?: boolean
  within?: number
}

export function configure(command: Command, io: Io): void {
  command
    .argument('<resource>', 'as the policy names it')
    .addOption(
      new Option('-s, --scope <scope>', 'the scope that you do not hold').env('AGENTGATE_SCOPE').makeOptionMandatory(),
    )
    .addOption(
      new Option('--for <time>', 'how long, once it is given, such as 1h; never longer than the policy allows')
        .env('AGENTGATE_FOR')
        .argParser(seconds),
    )
    .addOption(
      new Option('--reason <text>', 'why, for whoever decides and for the record')
        .env('AGENTGATE_REASON')
        .makeOptionMandatory(),
    )
    .addOption(new Option('--ticket <id>', 'the ticket this is for').env('AGENTGATE_TICKET'))
    .addOption(new Option('--actor <name>', 'for this agent of yours, not for you').env('AGENTGATE_ACTOR'))
    .addOption(new Option('-w, --wait', 'wait for the answer; interrupted, it is withdrawn'))
    .addOption(
      new Option('--within <time>', 'let it wait so long at most; the policy says where this does not')
        .env('AGENTGATE_WITHIN')
        .argParser(seconds),
    )
    .action(async (resource: string, flags: RequestFlags) => {
      const { request } = await import('./request-run.ts')
      await request(resource, flags, readGlobals(command, io), io)
    })
  examples(command, [
    ['agentgate request db-prod --scope write --for 1h --reason "refund 1841"', 'asks whoever the policy names'],
    ['agentgate request db-prod -s write --reason "refund 1841" --wait', 'and waits for their answer, for scripts'],
    ['agentgate requests', 'what became of it'],
    ['agentgate connect db-prod --scope write', 'once it is given'],
  ])
  exitCodes(command, [
    [0, 'asked; with --wait: given'],
    [4, 'nobody can give it: the policy has no such access with approvers'],
    [5, 'with --wait: refused, withdrawn, or nobody answered in time'],
    [6, 'there is no broker, or it does not answer'],
  ])
}
