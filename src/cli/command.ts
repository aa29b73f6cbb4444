import type { Command } from 'commander'

/** A subcommand's file: it adds its own options, examples and action to the (empty) command it is given. */
export interface CommandModule {
  configure(command: Command, io: Io): void
}

/** What a command touches of the process, so that it can be tested without one. */
export interface Io {
  /** What follows `agentgate`, a child's command line included. */
  readonly argv: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  /** Set by a command that ends well with a code other than 0. */
  exitCode: number
}

export interface CommandEntry {
  readonly name: string
  readonly summary: string
  readonly load: () => Promise<CommandModule>
}
