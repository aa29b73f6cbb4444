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
        const { resourceNames } = await import('./resource-names.ts')
        for (const name of resourceNames(io)) io.stdout.write(`${name}\n`)
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
