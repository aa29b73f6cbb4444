import { Command, CommanderError } from 'commander'
import { AgentgateError } from '../errors.ts'
import { commands } from './commands.ts'
import type { Io } from './command.ts'
import { envSwitch, globalOptions } from './globals.ts'
import { formatHelp } from './help.ts'
import { nearest } from '../policy/suggest.ts'
import { escapeLines } from './ui/escape.ts'
import { version } from './version.ts'

/** Runs one command line. Returns the exit code; never throws. */
export async function run(io: Io): Promise<number> {
  let program: Command | undefined
  try {
    program = await buildProgram(io)
    await program.parseAsync([...io.argv], { from: 'user' })
    return io.exitCode
  } catch (error) {
    return report(error, io, program)
  }
}

/** Every command by name; those for which `wanted` says so with their options, arguments and subcommands. */
export async function buildProgram(io: Io, wanted?: (name: string) => boolean): Promise<Command> {
  const { argv } = io
  const program = new Command('agentgate')
  program
    .exitOverride()
    .enablePositionalOptions() // options of a command are the command's, wherever a global one has the same name
    .helpCommand(false)
    .version(version, '-V, --version', 'the version')
    .configureHelp({ formatHelp })
    .configureOutput({
      writeOut: text => io.stdout.write(text),
      writeErr: text => io.stderr.write(text),
      outputError: () => undefined, // report() says it, in our words
      getOutHelpWidth: () => helpWidth(io.stdout),
      getErrHelpWidth: () => helpWidth(io.stderr),
    })
    .helpOption('-h, --help', 'with examples')
  const name = firstWord(argv)
  for (const entry of commands) {
    const command = program.command(entry.name).description(entry.summary)
    if (wanted?.(entry.name) ?? entry.name === name) (await entry.load()).configure(command, io)
  }
  addGlobalOptions(program)
  // A global option counts wherever it stands: `agentgate --json status` and `agentgate status --json` are one.
  program.hook('preAction', (_, command) => {
    for (const { key } of globalOptions)
      for (let parent = command.parent; parent !== null; parent = parent.parent)
        if (parent.getOptionValueSource(key) === 'cli' && command.getOptionValueSource(key) !== 'cli')
          command.setOptionValueWithSource(key, parent.getOptionValue(key), 'cli')
  })
  const helpFor = argv[0] === 'help' ? argv.slice(1) : undefined
  if (helpFor !== undefined) showHelp(program, helpFor)
  return program
}

function addGlobalOptions(command: Command): void {
  const hidden = command.commands.length > 0 && command.parent !== null
  for (const { flags, description } of globalOptions) {
    const long = flags.split(' ')[0]
    if (command.options.some(option => option.long === long)) continue
    const option = command.createOption(flags, description)
    if (hidden) option.hideHelp()
    // --no-color would default to true and so hide whether anyone said anything.
    command.addOption(option)
    if (long === '--no-color') command.setOptionValue('color', undefined)
  }
  for (const child of command.commands) addGlobalOptions(child)
}

/** `agentgate help policy test` is `agentgate policy test --help`. */
function showHelp(program: Command, names: readonly string[]): never {
  let command = program
  for (const name of names) {
    const child = command.commands.find(candidate => candidate.name() === name)
    if (child === undefined) throw unknownCommand(name, command)
    command = child
  }
  return command.help()
}

/** The first argument that is no global option nor one's value: the command. */
function firstWord(argv: readonly string[]): string | undefined {
  const words = argv[0] === 'help' ? argv.slice(1) : argv
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    if (globalOptions.some(option => option.takesValue && option.flags.startsWith(`${word} `))) index += 1
    else if (!word.startsWith('-')) return word
  }
  return undefined
}

function helpWidth(stream: NodeJS.WriteStream): number {
  return Math.min(120, stream.isTTY && stream.columns > 0 ? stream.columns : 100)
}

function report(thrown: unknown, io: Io, program?: Command): number {
  if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0
  const error = thrown instanceof CommanderError ? fromCommander(thrown, io.argv, program) : thrown
  // Only our own bugs come to the second branch: the one case in which a stack helps, and holds no values of a statement.
  const shown =
    error instanceof AgentgateError
      ? { code: error.code, message: error.message, hint: error.hint, exitCode: error.exitCode }
      : {
          code: 'INTERNAL',
          message: `agentgate has a bug: ${error instanceof Error ? (error.stack ?? error.name) : 'a thrown value that is no error'}`,
          hint: 'please report it, with what you ran',
          exitCode: 1,
        }
  const child = runsChild(io.argv)
  // env(1): 125 is that the command was never run; whatever else is below 126 is the child's own.
  const exitCode = child && (shown.exitCode < 124 || shown.exitCode > 127) ? 125 : shown.exitCode
  io.stderr.write(`error: ${escapeLines(shown.message).join('\n')}\n`)
  if (shown.hint !== undefined) io.stderr.write(`hint:  ${escapeLines(shown.hint).join('\n       ')}\n`)
  if (wantsJson(io)) {
    const line = `${JSON.stringify({ event: 'error', at: new Date().toISOString(), ...shown, exitCode })}\n`
    // A child's output is the child's alone.
    if (child) io.stderr.write(line)
    else io.stdout.write(line)
  }
  return exitCode
}

/** Our own part of the command line: what comes before a child's. */
function ownPart(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--')
  return end === -1 ? argv : argv.slice(0, end)
}

function runsChild(argv: readonly string[]): boolean {
  const name = firstWord(argv)
  return name === 'exec' || (name === 'connect' && argv.includes('--'))
}

function wantsJson(io: Io): boolean {
  return ownPart(io.argv).includes('--json') || envSwitch(io.env['AGENTGATE_JSON'])
}

/** Commander's complaint in our words. It has no fields for what was wrong, only a sentence. */
function fromCommander(error: CommanderError, argv: readonly string[], program: Command | undefined): AgentgateError {
  const [sentence = '', ...rest] = error.message.replace(/^error: /, '').split('\n')
  const quoted = /'([^']*)'/.exec(sentence)?.[1] ?? ''
  const name = firstWord(argv)
  const known = commands.some(entry => entry.name === name)
  const help = `see: agentgate help${known && name !== undefined ? ` ${name}` : ''}`
  const suggestion = /Did you mean (?:one of )?(.*)\?\)/.exec(rest.join(' '))?.[1]
  const meant = suggestion === undefined ? help : `did you mean ${suggestion}?  ${help}`
  switch (error.code) {
    case 'commander.excessArguments': {
      // A command with subcommands takes no other word.
      const group = program?.commands.find(command => command.name() === name && command.commands.length > 0)
      const word = group?.args[0]
      if (group !== undefined && word !== undefined) return unknownCommand(word, group)
      return new AgentgateError('USAGE', sentence.replaceAll("'", '"').replace(/\.$/, ''), { hint: help })
    }
    case 'commander.unknownCommand':
      return new AgentgateError('USAGE', `unknown command "${quoted}"`, { hint: meant })
    case 'commander.unknownOption':
      return new AgentgateError('USAGE', `unknown option ${quoted}`, { hint: meant })
    case 'commander.help':
    case 'commander.helpDisplayed':
      return new AgentgateError('USAGE', 'a command is missing', { hint: help })
    default:
      return new AgentgateError('USAGE', sentence.replaceAll("'", '"').replace(/\.$/, ''), { hint: help })
  }
}

function unknownCommand(name: string, parent: Command): AgentgateError {
  const meant = nearest(
    name,
    parent.commands.map(command => command.name()),
  )
  const full = [parent.parent === null ? '' : `${parent.name()} `, meant ?? ''].join('')
  return new AgentgateError('USAGE', `unknown command "${name}"`, {
    hint: meant === undefined ? 'see: agentgate help' : `did you mean agentgate ${full}?`,
  })
}
