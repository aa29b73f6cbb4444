import type { Command } from 'commander'
import type { Io } from './command.ts'
import { envSwitch, readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

interface Flags {
  browser?: boolean
}

export function configure(command: Command, io: Io): void {
  command
    .argument('[issuer]', 'a part of its address, where the policy names several')
    .option('--browser', 'log in with the browser of this machine, without a code to type (AGENTGATE_LOGIN_BROWSER)')
    .action(async (issuer: string | undefined, flags: Flags) => {
      const { login } = await import('./login-run.ts')
      await login(issuer, flags.browser ?? envSwitch(io.env['AGENTGATE_LOGIN_BROWSER']), readGlobals(command, io), io)
    })
  examples(command, [
    ['agentgate login', 'shows an address and a code; open it in any browser, on any machine'],
    ['agentgate login --browser', 'opens the browser here, and comes back by itself'],
    ['AGENTGATE_ID_TOKEN=… agentgate exec …', 'a CI job logs in by its own token: no login is needed'],
  ])
  exitCodes(command, [
    [3, 'not logged in: refused, or nobody confirmed in time'],
    [6, 'the identity provider does not answer'],
  ])
}
