import { Option, type Command } from 'commander'
import { profileNames, type ProfileName } from '../agent/profile.ts'
import { AgentgateError } from '../errors.ts'
import type { Io } from './command.ts'
import { envSwitch, readGlobals, type Globals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { seconds, withScopes, type AskedResource } from './resource-options.ts'

export interface ExecOptions extends Globals {
  readonly resources: readonly AskedResource[]
  readonly ttlSeconds: number | undefined
  readonly reason: string | undefined
  readonly ticket: string | undefined
  readonly actor: string | undefined
  readonly unconfined: boolean
  readonly passEnv: readonly string[]
  readonly readable: readonly string[]
  readonly writable: readonly string[]
  readonly profile: ProfileName | undefined
  readonly quiet: boolean
  readonly command: readonly [string, ...string[]]
}

interface Flags {
  resource?: string[]
  scope?: string[]
  for?: number
  reason?: string
  ticket?: string
  actor?: string
  unconfined?: boolean
  passEnv?: string[]
  read?: string[]
  write?: string[]
  profile?: ProfileName
  quiet?: boolean
}

export function configure(command: Command, io: Io): void {
  const several = (value: string, before: string[] | undefined) => [...(before ?? []), value]
  const listed = (value: string, before: string[] | undefined) => [...(before ?? []), ...value.split(',')]
  command
    .argument('[command...]', 'what to run')
    .usage('[options] -- CMD…')
    .addOption(
      new Option('-r, --resource <name>', 'a resource it may reach, as agentgate.yaml names it; once for each')
        .env('AGENTGATE_RESOURCE')
        .argParser(listed),
    )
    .addOption(
      new Option('-s, --scope <scope>', 'the scope to ask for; RESOURCE=SCOPE where there are several')
        .env('AGENTGATE_SCOPE')
        .argParser(listed),
    )
    .addOption(
      new Option('--for <time>', 'how long, such as 30m or 2h; never longer than the policy allows')
        .env('AGENTGATE_FOR')
        .argParser(seconds),
    )
    .addOption(new Option('--reason <text>', 'why, for approvers and the record').env('AGENTGATE_REASON'))
    .addOption(new Option('--ticket <id>', 'the ticket this is for').env('AGENTGATE_TICKET'))
    .addOption(new Option('--actor <name>', 'who acts for you; else the name of CMD').env('AGENTGATE_ACTOR'))
    .addOption(
      new Option('--profile <agent>', 'what a known agent needs; else by the name of CMD')
        .choices([...profileNames])
        .env('AGENTGATE_PROFILE'),
    )
    .addOption(new Option('--pass-env <name>', 'give CMD this variable too; once for each').argParser(several))
    .addOption(new Option('--read <path>', 'show CMD this file or folder, read-only').argParser(several))
    .addOption(new Option('--write <path>', 'let CMD write this file or folder too').argParser(several))
    .addOption(new Option('--unconfined', 'run CMD without walls around it; the record says so'))
    .addOption(new Option('-q, --quiet', 'nothing on the terminal but what CMD says'))
    .action(async (words: string[], flags: Flags) => {
      const options = readOptions(words, flags, readGlobals(command, io), io)
      const { runExec } = await import('./exec-run.ts')
      io.exitCode = await runExec(options, io)
    })
  examples(command, [
    ['agentgate exec -r db-prod -- ./migrate.sh', 'a job that can reach db-prod and nothing else'],
    ['agentgate exec -r db-prod -r claude -- claude', 'an agent, with its own terminal'],
    ['agentgate exec -r db-prod -s write --for 30m -- …', 'with another scope, for half an hour'],
    ['agentgate exec -r db-prod --pass-env STAGE -- …', 'with a variable of yours'],
    ['agentgate exec -r db-prod --read ../shared -- …', 'with another folder to read'],
  ])
  exitCodes(command, [
    ['of CMD', 'as CMD ended; 128 + n for signal n'],
    [124, 'access expired or was revoked while CMD ran'],
    [125, 'CMD was not started: no access, no confinement, no such resource …'],
    [126, 'CMD cannot be executed'],
    [127, 'CMD was not found'],
  ])
}

function readOptions(words: readonly string[], flags: Flags, globals: Globals, io: Io): ExecOptions {
  const end = io.argv.indexOf('--')
  const [program, ...args] = end === -1 ? [] : io.argv.slice(end + 1)
  if (program === undefined || words.length > args.length + 1)
    throw notStarted(
      end === -1 && words.length > 0 ? 'what to run stands after --' : 'nothing to run stands after --',
      'agentgate exec -r db-prod -- CMD',
    )
  const names = flags.resource ?? []
  if (names.length === 0) throw notStarted('no resource was named', 'agentgate exec -r NAME -- CMD')
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw notStarted(`${twice} is named twice`, undefined)
  return {
    ...globals,
    resources: withScopes(names, flags.scope ?? []),
    ttlSeconds: flags.for,
    reason: nonEmpty(flags.reason),
    ticket: nonEmpty(flags.ticket),
    actor: nonEmpty(flags.actor),
    // What lowers safety has no variable: it is said where it is done.
    unconfined: flags.unconfined ?? false,
    passEnv: flags.passEnv ?? [],
    readable: flags.read ?? [],
    writable: flags.write ?? [],
    profile: flags.profile,
    quiet: flags.quiet ?? envSwitch(io.env['AGENTGATE_QUIET']),
    command: [program, ...args],
  }
}

function notStarted(message: string, hint: string | undefined): AgentgateError {
  return new AgentgateError('USAGE', message, { hint, exitCode: 125 })
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text
}
