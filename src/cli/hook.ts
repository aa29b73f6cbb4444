import { Option, type Command } from 'commander'
import type { Io } from './command.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  command
    .addOption(new Option('--results', 'it is run after each tool call too; the record waits for what came of it'))
    .action(async (flags: { readonly results?: boolean }) => {
      const { runHook } = await import('./hook-run.ts')
      io.exitCode = await runHook({ results: flags.results ?? false }, io)
    })
  examples(command, [
    ['agentgate exec -r db-prod -r tools -- claude', 'sets it up by itself, where tools is a resource of kind tools'],
    ['agentgate hook < call.json', 'what an agent runs before each tool call, the call on stdin'],
  ])
  exitCodes(command, [
    [0, 'answered, yes or no, on stdout'],
    [1, 'what came of a call could not be put on record'],
    [2, 'the call cannot be read; agents take that for a no'],
  ])
}
