import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples } from './help.ts'

export function configure(command: Command, io: Io): void {
  const list = command.command('list').description('who is suspended')
  list.action(async () => {
    const [{ administeringClient }, { escapeLine }] = await Promise.all([
      import('./broker-client.ts'),
      import('./ui/escape.ts'),
    ])
    const suspended = await (await administeringClient(io)).suspended()
    const { json } = readGlobals(list, io)
    if (suspended.length === 0 && !json) io.stderr.write('nobody is suspended\n')
    for (const each of suspended)
      io.stdout.write(
        json
          ? `${JSON.stringify(each)}\n`
          : `${escapeLine(`${each.principal}  since ${each.at}  by ${each.by}: ${each.reason}`)}\n`,
      )
  })
  const suspend = command
    .command('suspend')
    .description('end all that somebody has, and give them nothing more')
    .argument('<principal>', 'as their identity provider names them')
    .option('--reason <text>', 'shown to them', 'suspended')
  suspend.action(async (principal: string, flags: { reason: string }) => {
    const { administeringClient } = await import('./broker-client.ts')
    const sessions = await (await administeringClient(io)).suspend(principal, flags.reason)
    say(
      suspend,
      io,
      { event: 'suspended', principal, sessions },
      `${principal}  suspended, sessions ended: ${sessions}`,
    )
  })
  const resume = command
    .command('resume')
    .description('let them ask again')
    .argument('<principal>', 'as their identity provider names them')
  resume.action(async (principal: string) => {
    const { administeringClient } = await import('./broker-client.ts')
    await (await administeringClient(io)).resume(principal)
    say(resume, io, { event: 'resumed', principal }, `${principal}  resumed`)
  })
  for (const each of [command, list, suspend, resume])
    examples(each, [
      ['agentgate principals suspend maria@example.com --reason "left"', 'everything of theirs ends within a second'],
      ['agentgate principals resume maria@example.com', ''],
    ])
}

function say(command: Command, io: Io, event: object, text: string): void {
  io.stdout.write(readGlobals(command, io).json ? `${JSON.stringify(event)}\n` : `${text}\n`)
}
