import path from 'node:path'
import { z } from 'zod'
import { AgentgateError } from '../../errors.ts'
import type { Action, ActionView, JsonValue } from '../../policy/action.ts'
import { glob, type Glob } from '../../policy/glob.ts'
import type { Ask } from '../protocol.ts'
import { programOf, readShell, type ShellCommand, type ShellReading } from './shell.ts'

/** What an agent asks leave for before it uses a tool of its own, as Claude Code's PreToolUse hook tells it. */
export interface ToolAction extends Action {
  readonly kind: 'tools'
  readonly tool: string
  readonly input: Readonly<Record<string, unknown>>
  readonly folder: string
  /** What it would run, where it is a shell. */
  readonly shell: { readonly text: string; readonly reading: ShellReading } | null
  /** The file it is about, absolute. */
  readonly file: string | null
}

const globs = z
  .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
  .transform(value => (typeof value === 'string' ? [value] : value))

/** What `when` and `unless` may ask of a tool call. */
export const whenSchema = z.object({
  /** `Bash`, `Edit`, `mcp__*`. */
  tool: globs.optional(),
  /** A command that a shell would run: `rm *`, `git push *`. Each command of a line, those in `sh -c` and `$(…)` too. */
  command: globs.optional(),
  /** The file that is read or changed, from the working folder or absolute: `.github/*`, `/etc/*`. `*` goes over slashes. */
  file: globs.optional(),
})

/** Claude Code's own that change nothing, or whose own tools are asked for again (subagents). */
const readingTools = new Set(
  [
    'Read',
    'Glob',
    'Grep',
    'LS',
    'NotebookRead',
    'TodoRead',
    'TodoWrite',
    'BashOutput',
    'ToolSearch',
    'Task',
    'Agent',
  ].concat(['AskUserQuestion', 'EnterPlanMode', 'ExitPlanMode', 'Skill', 'ListMcpResourcesTool']),
)
const changingTools = new Set(['Edit', 'MultiEdit', 'Write', 'NotebookEdit'])

/** Of a hook's message: names that are not known change nothing. */
export const toolCall = z.object({
  tool_name: z.string().min(1).max(200),
  tool_input: z.record(z.string(), z.unknown()),
  cwd: z.string().default('/'),
  /** What the agent calls this one call. */
  tool_use_id: z.string().max(200).optional(),
})

export type ToolCall = z.output<typeof toolCall>

export function newAction(call: ToolCall): ToolAction {
  const { tool_name: tool, tool_input: input, cwd: folder } = call
  const text = textIn(input, 'command')
  const file = textIn(input, 'file_path') ?? textIn(input, 'notebook_path') ?? textIn(input, 'path')
  return {
    kind: 'tools',
    shape: {},
    tool,
    input,
    folder,
    shell: text === undefined ? null : { text, reading: readShell(text) },
    file: file === undefined ? null : path.resolve(folder, file),
  }
}

export function asToolAction(action: Action): ToolAction {
  if (action.kind !== 'tools') throw new AgentgateError('INTERNAL', `an action of ${action.kind} came to tools`)
  return action as ToolAction
}

function textIn(input: ToolAction['input'], key: string): string | undefined {
  const value = input[key]
  return typeof value === 'string' ? value : undefined
}

export function matches(when: z.output<typeof whenSchema>, action: ToolAction, doubt: 'holds' | 'fails'): boolean {
  if (when.tool?.map(glob).some(one => one.matches(action.tool)) === false) return false
  if (when.command !== undefined && !matchesCommand(when.command.map(glob), action, doubt)) return false
  return when.file === undefined || matchesFile(when.file.map(glob), action)
}

function matchesFile(wanted: readonly Glob[], { file, folder }: ToolAction): boolean {
  if (file === null) return false
  const relative = path.relative(folder, file)
  return wanted.some(one => one.matches(file) || one.matches(relative))
}

function matchesCommand(wanted: readonly Glob[], { shell }: ToolAction, doubt: 'holds' | 'fails'): boolean {
  if (shell === null) return false
  const { commands, unclear, redirected } = shell.reading
  if (doubt === 'holds') return unclear || commands.some(command => couldBe(wanted, command))
  // What lifts a rule must cover all that runs, and a file that is written is more than the command.
  return (
    !unclear &&
    !redirected &&
    commands.length > 0 &&
    commands.every(command => command.maybe || isCertainly(wanted, command))
  )
}

function couldBe(wanted: readonly Glob[], command: ShellCommand): boolean {
  const program = programOf(command)
  if (program.open) return true
  const rest = command.words.slice(1).map(word => word.text)
  // By its name, and as it was written: `./deploy *` means that one.
  const texts = [program.text, command.words[0]?.text ?? ''].map(name => [name, ...rest].join(' '))
  const open = command.words.some(word => word.open)
  return wanted.some(
    one =>
      // `rm *` means rm without words too.
      texts.some(text => one.matches(text) || one.matches(`${text} `)) ||
      (open && texts.some(text => glob(firstWord(one.pattern)).matches(firstWord(text)))),
  )
}

function isCertainly(wanted: readonly Glob[], command: ShellCommand): boolean {
  const [first] = command.words
  if (first === undefined || first.open) return false
  // Another program of that name in another folder is another program.
  const meant = first.text.includes('/') ? wanted.filter(one => /^\*|^[^ ]*\//.test(one.pattern)) : wanted
  const until = command.words.findIndex(word => word.open)
  const certain = until === -1 ? command.words : command.words.slice(0, until + 1)
  // A character that no pattern has stands for what is not known: only a `*` covers it.
  const text = certain.map(word => word.text + (word.open ? '\u0001' : '')).join(' ')
  return meant.some(one => one.matches(text) || (until === -1 && one.matches(`${text} `)))
}

function firstWord(text: string): string {
  return text.split(' ', 1)[0] ?? ''
}

export function view(action: ToolAction, mask: (text: string) => string): ActionView {
  const { tool, shell, file, folder, input } = action
  const about = shell?.text ?? (file === null ? '' : path.relative(folder, file) || file)
  const what = mask(about.replace(/\s+/g, ' ').trim())
  const reads = readingTools.has(tool)
  const text = mask(shell === null ? JSON.stringify(input, null, 2) : shell.text)
  const programs = shell?.reading.commands.flatMap(command => (command.maybe ? [] : [programOf(command).text])) ?? []
  const attributes: Record<string, JsonValue> = { tool, folder, file, programs }
  return {
    kind: 'tools',
    summary: what === '' ? tool : `${tool} ${what.length > 80 ? `${what.slice(0, 79)}…` : what}`,
    text: shell === null ? `${tool} ${text}` : `${tool}: ${text}`,
    effect: reads ? 'read' : changingTools.has(tool) ? 'change' : 'unknown',
    verbs: [tool],
    reads: reads && file !== null ? [file] : [],
    writes: !reads && file !== null ? [file] : [],
    attributes,
  }
}

export function ask(action: ToolAction): Ask {
  const { tool, shell, file } = action
  return {
    effects: [
      shell === null ? `${tool}${file === null ? '' : ` of ${file}`}` : `runs in ${action.folder}`,
      ...(shell?.reading.unclear === true ? ['what it runs cannot be told from its text'] : []),
    ],
    // The next command could be anything.
    shapeKey: shell === null && file !== null ? `${tool} ${file}` : null,
    askKey: JSON.stringify([tool, action.input]),
    editable: shell !== null,
  }
}

/** The same call with another command. @throws AgentgateError DENIED where there is none to edit */
export function withCommand(action: ToolAction, text: string): ToolAction {
  if (action.shell === null) throw new AgentgateError('DENIED', 'only a command can be edited')
  // As it was shown, `Bash: ` stands before it.
  const command = text.startsWith(`${action.tool}: `) ? text.slice(action.tool.length + 2) : text
  return newAction({ tool_name: action.tool, tool_input: { ...action.input, command }, cwd: action.folder })
}

/** `Bash: git status` or `Edit src/a.ts`, as policy tests write it. @throws AgentgateError USAGE */
export function parse(text: string): ToolAction {
  const match = /^([\w-]+)(?:(:) ?|\s+|$)([^]*)$/.exec(text.trim())
  const [, tool, colon, rest = ''] = match ?? []
  if (tool === undefined)
    throw new AgentgateError('USAGE', 'a tool call is written as: Bash: COMMAND, or Edit FILE, or the name of a tool')
  const input = colon !== undefined ? { command: rest } : rest === '' ? {} : { file_path: rest }
  return newAction({ tool_name: tool, tool_input: input, cwd: '/work' })
}
