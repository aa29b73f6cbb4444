import { Command, CommanderError } from 'commander'
import { AgentgateError } from '../errors.ts'
import { commands } from './commands.ts'
import type { Io } from './command.ts'

/** Runs one command line. Returns the exit code; never throws. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    const program = new Command('agentgate')
    program.exitOverride().configureOutput({
      writeOut: text => io.stdout.write(text),
      writeErr: text => io.stderr.write(text),
    })
    const wanted = argv[0] === 'help' ? argv[1] : argv[0]
    for (const entry of commands) {
      const command = program.command(entry.name).description(entry.summary)
      if (entry.name === wanted) (await entry.load()).configure(command, io)
    }
    await program.parseAsync(argv, { from: 'user' })
    return io.exitCode
  } catch (error) {
    return report(error, io)
  }
}

function report(error: unknown, io: Io): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (error instanceof AgentgateError) {
    io.stderr.write(`error: ${error.message}\n`)
    if (error.hint !== undefined) io.stderr.write(`hint:  ${error.hint}\n`)
    return error.exitCode
  }
  // Only our own bugs come here: the one case in which a stack helps, and holds no values of a statement.
  const stack = error instanceof Error ? (error.stack ?? error.name) : 'a thrown value that is no error'
  io.stderr.write(`error: agentgate has a bug: ${stack}\nhint:  please report it, with what you ran\n`)
  return 1
}
