import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { Argument, Option, type Command } from 'commander'
import type { Io } from './command.ts'
import type { Shell } from './completion-scripts.ts'
import { examples } from './help.ts'

interface Flags {
  resources?: boolean
  sessions?: boolean
  requests?: boolean
}

export function configure(command: Command, io: Io): void {
  command
    .addArgument(new Argument('[shell]', 'yours, by SHELL, where none is named').choices(['bash', 'zsh', 'fish']))
    .addOption(new Option('--resources').hideHelp())
    .addOption(new Option('--sessions').hideHelp())
    .addOption(new Option('--requests').hideHelp())
    .action(async (shell: Shell | undefined, flags: Flags) => {
      if (flags.resources === true) {
        await resources(io)
        return
      }
      if (flags.sessions === true || flags.requests === true) {
        await open(flags, io)
        return
      }
      const [{ buildProgram }, { completionTree }, { completionScript }] = await Promise.all([
        import('./program.ts'),
        import('./completion-tree.ts'),
        import('./completion-scripts.ts'),
      ])
      const tree = completionTree(await buildProgram({ ...io, argv: [] }, () => true))
      io.stdout.write(completionScript(shell ?? shellOf(io.env), tree))
    })
  examples(command, [
    ['source <(agentgate completion bash)', 'in ~/.bashrc'],
    ['source <(agentgate completion zsh)', 'in ~/.zshrc, after compinit'],
    ['agentgate completion fish | source', 'in ~/.config/fish/config.fish'],
  ])
}

function shellOf(env: NodeJS.ProcessEnv): Shell {
  const name = path.basename(env['SHELL'] ?? '')
  return name === 'zsh' || name === 'fish' ? name : 'bash'
}

/** The names in the policy here, for a shell that waits for them: only read, nothing of it is believed. */
async function resources(io: Io): Promise<void> {
  const [{ parse }, { asResourceName }] = await Promise.all([import('yaml'), import('../ids.ts')])
  const names = new Set<string>()
  for (const file of policyFiles(io)) {
    try {
      const content: unknown = parse(readFileSync(file, 'utf8'), { logLevel: 'silent' })
      if (typeof content !== 'object' || content === null || !('resources' in content)) continue
      const { resources: found } = content
      if (typeof found === 'object' && found !== null) for (const name of Object.keys(found)) names.add(name)
    } catch {
      continue // a completion that fails completes nothing; agentgate policy check says what is wrong
    }
  }
  // Shells expand what they are given to complete with: only what is a name may pass.
  for (const name of names) if (asResourceName(name) !== undefined) io.stdout.write(`${name}\n`)
}

function policyFiles(io: Io): string[] {
  const named = io.env['AGENTGATE_POLICY']
  let found = named === undefined || named === '' ? undefined : path.resolve(io.cwd, named)
  for (let folder = io.cwd; found === undefined; folder = path.dirname(folder)) {
    const file = path.join(folder, 'agentgate.yaml')
    if (existsSync(file)) found = file
    else if (folder === path.dirname(folder)) return []
  }
  if (!existsSync(found)) return []
  if (!statSync(found).isDirectory()) return [found]
  const folder = found
  return readdirSync(folder)
    .filter(name => /\.ya?ml$/.test(name))
    .map(name => path.join(folder, name))
}

async function open(flags: Flags, io: Io): Promise<void> {
  const [{ Paths }, { liveSessions, waitingRequests }, { asApprovalId, asSessionId }] = await Promise.all([
    import('../config/paths.ts'),
    import('./live-sessions.ts'),
    import('../ids.ts'),
  ])
  const sessions = await liveSessions(new Paths(io.env))
  // Shells expand what they are given to complete with: only what has the form of an id may pass.
  const words =
    flags.requests === true
      ? (await waitingRequests(sessions)).flatMap(({ request }) => asApprovalId(request.id) ?? [])
      : sessions.flatMap(each => asSessionId(each.session) ?? [])
  for (const word of words) io.stdout.write(`${word}\n`)
}
