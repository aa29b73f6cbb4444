import type { Command } from 'commander'
import type { Io } from './command.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  command.action(async () => {
    const { runHook } = await import('./hook-run.ts')
    io.exitCode = await runHook(io)
  })
  examples(command, [
    ['agentgate exec -r db-prod -r tools -- claude', 'sets it up by itself, where tools is a resource of kind tools'],
    ['agentgate hook < call.json', 'what an agent runs before each tool call, the call on stdin'],
  ])
  exitCodes(command, [
    [0, 'answered, yes or no, on stdout'],
    [2, 'the call cannot be read; agents take that for a no'],
  ])
}
