import type { Command } from 'commander'
import { AgentgateError } from '../errors.ts'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

interface Flags {
  new?: boolean
}

export function configure(command: Command, io: Io): void {
  command
    .option('--new', 'set another one without the old, which voids everything that was trusted')
    .action(async (flags: Flags) => {
      await setPassphrase({ replace: flags.new ?? false, json: readGlobals(command, io).json }, io)
    })
  examples(command, [
    ['agentgate passphrase', 'set one, or change the one that is set'],
    ['agentgate passphrase --new', 'the old one is lost: what was trusted has to be trusted again'],
  ])
  exitCodes(command, [[4, 'not set: the old passphrase was wrong, or there is no terminal to type one at']])
}

async function setPassphrase(options: { readonly replace: boolean; readonly json: boolean }, io: Io): Promise<void> {
  const [{ Paths }, keys, trust, ask] = await Promise.all([
    import('../config/paths.ts'),
    import('../policy/approver-key.ts'),
    import('../policy/trust.ts'),
    import('./ask-passphrase.ts'),
  ])
  if (!ask.canAsk(io))
    throw new AgentgateError('PASSPHRASE', 'a passphrase is typed at a terminal, and this is none', {
      hint: 'run it in a terminal; CI needs none, it passes --policy-digest',
    })
  const paths = new Paths(io.env)
  const before = keys.approverPublicKey(paths)
  const change = before !== null && !options.replace
  if (change) await ask.askForKey(io, paths, 'the one that is set now')
  const signedBefore = trust.trustEntries(paths).filter(entry => change || before !== null || !entry.valid)
  const key = await keys.replaceApproverKey(paths, await ask.askForNew(io))
  const kept = change ? trust.resign(paths, before, key).kept : 0
  const voided = change ? [] : signedBefore.map(entry => entry.path)

  if (options.json) {
    const state = before === null ? 'set' : change ? 'changed' : 'replaced'
    io.stdout.write(`${JSON.stringify({ event: 'passphrase', at: new Date().toISOString(), state, kept, voided })}\n`)
    return
  }
  io.stdout.write(before === null ? 'passphrase set\n' : 'passphrase changed\n')
  if (kept > 0) io.stdout.write(`${kept} trusted ${kept === 1 ? 'policy stays' : 'policies stay'} trusted\n`)
  if (voided.length > 0) {
    const { escapeLine } = await import('./ui/escape.ts')
    io.stderr.write(
      `\nWARNING: nothing that was trusted before counts any more:\n${voided.map(path => `  ${escapeLine(path)}\n`).join('')}` +
        'look at each again with: agentgate trust\n',
    )
  }
}
