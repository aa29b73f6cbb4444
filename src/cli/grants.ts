import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  const list = command
    .command('list')
    .description('yours; an administrator sees everybody’s')
    .option('--all', 'also those that have ended')
  list.action(async (flags: { all?: boolean }) => {
    const [{ administeringClient }, { showRows }] = await Promise.all([
      import('./broker-client.ts'),
      import('./show-rows.ts'),
    ])
    const all = await (await administeringClient(io)).grants()
    const grants = flags.all === true ? all : all.filter(({ state }) => state === 'active' || state === 'minting')
    if (readGlobals(list, io).json) {
      for (const grant of grants) io.stdout.write(`${JSON.stringify(grant)}\n`)
      return
    }
    if (grants.length === 0) io.stderr.write('nothing is granted\n')
    else
      showRows(
        ['GRANT', 'SESSION', 'WHO', 'WHAT', 'SCOPE', 'UNTIL', 'STATE'],
        grants.map(grant => [
          grant.grant,
          grant.session,
          grant.actor === null ? grant.principal : `${grant.principal} + ${grant.actor}`,
          grant.resource,
          grant.scope,
          grant.expiresAt,
          grant.reason === null ? grant.state : `${grant.state}: ${grant.reason}`,
        ]),
        io,
      )
  })
  const revoke = command
    .command('revoke')
    .description('end one, with its session and whatever runs under it at the target')
    .argument('<grant>', 'its id')
    .option('--reason <text>', 'shown to whoever loses it', 'revoked')
  revoke.action(async (grant: string, flags: { reason: string }) => {
    const { administeringClient } = await import('./broker-client.ts')
    await (await administeringClient(io)).revokeGrant(grant, flags.reason)
    io.stdout.write(
      readGlobals(revoke, io).json ? `${JSON.stringify({ event: 'revoked', grant })}\n` : `${grant}  revoked\n`,
    )
  })
  for (const each of [command, list, revoke])
    examples(each, [
      ['agentgate grants list', 'what is open now'],
      ['agentgate grants revoke g_7Q2M --reason "laptop lost"', 'within a second, at the tunnel and at the target'],
    ])
  exitCodes(revoke, [[2, 'there is no such grant that is open and yours to end']])
}
