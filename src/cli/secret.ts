import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals, type Globals } from './globals.ts'
import { examples } from './help.ts'

export function configure(command: Command, io: Io): void {
  const rotate = command
    .command('rotate')
    .description('replace the password that your clients log in to a tunnel with')
    .argument('<resource>', 'as agentgate.yaml names it')
  rotate.action(async (resource: string) => await rotateSecret(resource, readGlobals(rotate, io), io))
  for (const each of [command, rotate])
    examples(each, [
      ['agentgate secret rotate db-prod', 'connections saved in clients need the new one, from the next connect on'],
    ])
}

async function rotateSecret(name: string, globals: Globals, io: Io): Promise<void> {
  const [{ Paths }, { rotateClientSecret }, { policyHere }, { liveSessions }] = await Promise.all([
    import('../config/paths.ts'),
    import('../config/client-secret.ts'),
    import('./policy-here.ts'),
    import('./live-sessions.ts'),
  ])
  const paths = new Paths(io.env)
  const loaded = await policyHere(globals, io)
  const resource = loaded.policy.resource(name)
  rotateClientSecret(paths, loaded.path, resource.name)
  const open = (await liveSessions(paths)).filter(
    ({ status }) =>
      status.command === 'connect' &&
      status.policy.path === loaded.path &&
      status.tunnels.some(tunnel => tunnel.resource === resource.name),
  )
  const sessions = open.map(each => each.session)
  if (globals.json) {
    io.stdout.write(
      `${JSON.stringify({ event: 'rotated', at: new Date().toISOString(), resource: resource.name, sessions })}\n`,
    )
    return
  }
  io.stdout.write(`${resource.name}  has a new password from the next connect on\n`)
  if (sessions.length > 0)
    io.stderr.write(
      `${sessions.join(', ')} still takes the old one; end it with: agentgate down ${sessions.join(' ')}\n`,
    )
}
