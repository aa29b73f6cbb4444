import type { Command, Help } from 'commander'
import { globalOptions } from './globals.ts'

type Example = readonly [command: string, says: string]

const examplesOf = new WeakMap<Command, readonly Example[]>()
const exitCodesOf = new WeakMap<Command, readonly (readonly [code: number | string, says: string])[]>()

/** Help starts with these. */
export function examples(command: Command, list: readonly Example[]): void {
  examplesOf.set(command, list)
}

/** Exit codes of this command besides the general ones. */
export function exitCodes(command: Command, list: readonly (readonly [code: number | string, says: string])[]): void {
  exitCodesOf.set(command, list)
}

const globalFlags = new Set(globalOptions.map(option => option.flags))

/** Help in the order in which it is wanted: examples, what can follow, options, the rest. */
export function formatHelp(command: Command, helper: Help): string {
  const width = helper.helpWidth ?? 100
  const item = (term: string, says: string, column: number) => {
    const indent = ' '.repeat(column + 4)
    const wrapped = helper
      .boxWrap(says, Math.max(30, width - column - 4))
      .split('\n')
      .join(`\n${indent}`)
    return term.length > column
      ? `  ${term}\n${indent}${wrapped}`.trimEnd()
      : `  ${term.padEnd(column + 2)}${wrapped}`.trimEnd()
  }
  const list = (title: string, rows: readonly Example[]) => {
    if (rows.length === 0) return []
    const column = Math.min(34, Math.max(...rows.map(([term]) => term.length)))
    return [`${title}:`, ...rows.map(([term, says]) => item(term, says, column)), '']
  }
  const shown = helper.visibleOptions(command).filter(option => option.long !== '--help')
  const name = helper.commandUsage(command).replace(/ \[options\]/, shown.length > globalFlags.size ? ' [options]' : '')
  const shownExamples = examplesOf.get(command) ?? []
  return [
    helper.commandDescription(command),
    '',
    ...(shownExamples.length === 0 ? [] : list('examples', shownExamples)),
    `usage: ${name}`,
    '',
    ...list(
      'arguments',
      helper
        .visibleArguments(command)
        .map(argument => [helper.argumentTerm(argument), helper.argumentDescription(argument)]),
    ),
    ...list(
      'commands',
      helper
        .visibleCommands(command)
        .filter(child => child.name() !== 'help')
        .map(child => [helper.subcommandTerm(child).replace(' [options]', ''), helper.subcommandDescription(child)]),
    ),
    ...list(
      'options',
      shown
        .filter(option => !globalFlags.has(option.flags))
        .map(option => [helper.optionTerm(option), helper.optionDescription(option)]),
    ),
    ...list(
      'everywhere',
      shown.filter(option => globalFlags.has(option.flags)).map(option => [option.flags, option.description]),
    ),
    ...list(
      'exit codes',
      (exitCodesOf.get(command) ?? []).map(([code, says]) => [String(code), says]),
    ),
  ].join('\n')
}
