import type { Command, Option } from 'commander'

/** What can stand where a value is wanted. */
export type Values =
  | { readonly kind: 'none' }
  | { readonly kind: 'free' }
  | { readonly kind: 'file' }
  | { readonly kind: 'choices'; readonly choices: readonly string[] }
  /** Asked of agentgate itself: `agentgate completion --resources`. */
  | { readonly kind: 'live'; readonly what: 'resources' | 'sessions' | 'requests' }

export interface CompletionOption {
  readonly short: string | undefined
  readonly long: string
  readonly says: string
  readonly values: Values
}

/** A command as completions see it. */
export interface CompletionNode {
  /** `['policy', 'check']`; empty for agentgate itself. */
  readonly path: readonly string[]
  readonly says: string
  readonly options: readonly CompletionOption[]
  readonly arguments: Values
  readonly commands: readonly CompletionNode[]
  /** What follows `--` is a command of its own. */
  readonly runsCommand: boolean
}

export function completionTree(command: Command, path: readonly string[] = []): CompletionNode {
  const [argument] = command.registeredArguments
  const choices = argument?.argChoices
  return {
    path,
    says: command.description(),
    options: command.options.filter(option => !option.hidden && option.long !== undefined).map(optionOf),
    arguments:
      argument === undefined
        ? { kind: 'none' }
        : choices !== undefined
          ? { kind: 'choices', choices }
          : valuesOf(argument.name(), path),
    commands: command.commands.map(child => completionTree(child, [...path, child.name()])),
    runsCommand: path[0] === 'connect' || path[0] === 'exec',
  }
}

/** Every command of a tree, from the top down. */
export function allNodes(node: CompletionNode): readonly CompletionNode[] {
  return [node, ...node.commands.flatMap(allNodes)]
}

function optionOf(option: Option): CompletionOption {
  const value = /[<[]([\w-]+)/.exec(option.flags)?.[1]
  return {
    short: option.short,
    long: option.long ?? '',
    says: option.description,
    values:
      value === undefined
        ? { kind: 'none' }
        : option.argChoices !== undefined
          ? { kind: 'choices', choices: option.argChoices }
          : /^--resources?$/.test(option.long ?? '')
            ? { kind: 'live', what: 'resources' }
            : valuesOf(value, []),
  }
}

/** By the name that help shows for it. */
function valuesOf(name: string, path: readonly string[]): Values {
  if (/^resources?$/.test(name)) return { kind: 'live', what: 'resources' }
  if (/^sessions?$/.test(name)) return { kind: 'live', what: 'sessions' }
  if (name === 'id' && path[0] === 'approvals') return { kind: 'live', what: 'requests' }
  if (/^(path|file|folder|paths|files)$/.test(name)) return { kind: 'file' }
  return { kind: 'free' }
}
