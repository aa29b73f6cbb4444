import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  const who = command
    .command('who')
    .description('who may use a resource, or ask for it, and why')
    .argument('<resource>', 'as the policy names it')
  who.action(async (resource: string) => {
    const { accessWho } = await import('./access-run.ts')
    await accessWho(resource, readGlobals(who, io), io)
  })
  const of = command
    .command('of')
    .description('what somebody may use, or ask for, and why')
    .argument('<principal>', '"me", or as their identity provider names them')
    .option('-g, --group <group...>', 'a group of theirs, where nobody knows')
  of.action(async (principal: string, flags: { group?: string[] }) => {
    const { accessOfSomebody } = await import('./access-run.ts')
    await accessOfSomebody(principal, flags.group ?? [], readGlobals(of, io), io)
  })
  for (const each of [command, who, of])
    examples(each, [
      ['agentgate access of me', 'what you may use, and what you may ask for'],
      ['agentgate access who db-prod', 'everybody who may use it, with the line that says so'],
      ['agentgate access of maria@example.com --json', 'for scripts: one scope a line'],
    ])
  exitCodes(who, [[4, 'at a broker: for administrators and auditors']])
  exitCodes(of, [[4, 'at a broker: somebody else’s is for administrators and auditors']])
}
