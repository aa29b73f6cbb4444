import type { Command } from 'commander'
import type { RequestRow } from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  const list = command
    .command('list', { isDefault: true })
    .description('what you asked for, and what became of it')
    .option('--all', 'everybody’s, for administrators and auditors')
  list.action(async (flags: { all?: boolean }) => {
    const [{ askingClient }, { listRequested }] = await Promise.all([
      import('./broker-client.ts'),
      import('./requests-list.ts'),
    ])
    const rows = await (await askingClient(io)).requests(flags.all ?? false)
    listRequested(rows, flags.all ?? false, readGlobals(list, io).json, io)
  })
  const withdraw = command
    .command('withdraw')
    .description('take one of yours back, or give back what it gave you')
    .argument('<id>', 'of the request, or its beginning')
    .option('--reason <text>', 'stands beside it in the record', 'no longer needed')
  withdraw.action(
    async (id: string, flags: { reason: string }) =>
      await end(id, flags.reason, false, readGlobals(withdraw, io).json, io),
  )
  const revoke = command
    .command('revoke')
    .description('an administrator’s: refuse it, or take back what it gave, with its sessions')
    .argument('<id>', 'of the request, or its beginning')
    .option('--reason <text>', 'shown to whoever loses it', 'revoked')
  revoke.action(
    async (id: string, flags: { reason: string }) =>
      await end(id, flags.reason, true, readGlobals(revoke, io).json, io),
  )
  for (const each of [command, list, withdraw, revoke])
    examples(each, [
      ['agentgate requests', 'yours, the newest first'],
      ['agentgate requests --json', 'for scripts: one a line'],
      ['agentgate requests withdraw r_7K2M9Q', ''],
      ['agentgate requests revoke r_7K2M9Q --reason "wrong database"', 'its sessions end within a second'],
    ])
  for (const each of [withdraw, revoke])
    exitCodes(each, [[2, 'there is no such request that waits, or still gives something']])
}

async function end(word: string, reason: string, all: boolean, json: boolean, io: Io): Promise<void> {
  const { askingClient } = await import('./broker-client.ts')
  const client = await askingClient(io)
  const ended = await client.endRequest(named(word, await client.requests(all)), reason)
  io.stdout.write(json ? `${JSON.stringify(ended)}\n` : `${ended.request}  ${ended.state}\n`)
}

/** The id, where its beginning was given. */
function named(word: string, rows: readonly RequestRow[]): string {
  const id = word.toUpperCase().replace(/^R_/, 'r_')
  const found = rows.filter(({ request }) => request === id || (id.length > 3 && request.startsWith(id)))
  if (found.length > 1)
    throw new AgentgateError('NO_SUCH_APPROVAL', `"${word}" is the beginning of ${found.length} requests`, {
      hint: `one of ${found.map(({ request }) => request).join(', ')}`,
    })
  return found[0]?.request ?? id
}
