import { Option, type Command } from 'commander'
import type { Io } from './command.ts'
import { envSwitch, readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

interface Flags {
  browser?: boolean
  issuer?: string
  ca?: string
}

export function configure(command: Command, io: Io): void {
  command
    .argument('[broker]', 'its address, https://…; where none is named, the one in use, else the policy here')
    .option('--browser', 'log in with the browser of this machine, without a code to type (AGENTGATE_LOGIN_BROWSER)')
    .option('--ca <file>', 'the authority that vouches for the broker, PEM; kept with the login (AGENTGATE_BROKER_CA)')
    .addOption(
      new Option('--issuer <part>', 'of the identity provider’s address, where there are several').env(
        'AGENTGATE_ISSUER',
      ),
    )
    .action(async (address: string | undefined, { browser, issuer, ca }: Flags) => {
      const { login } = await import('./login-run.ts')
      const byBrowser = browser ?? envSwitch(io.env['AGENTGATE_LOGIN_BROWSER'])
      await login({ address, issuer, ca, browser: byBrowser }, readGlobals(command, io), io)
    })
  examples(command, [
    ['agentgate login https://broker.example.com', 'once; from then on this machine goes to that broker'],
    ['agentgate login', 'shows an address and a code; open it in any browser, on any machine'],
    ['agentgate login --browser', 'opens the browser here, and comes back by itself'],
    ['AGENTGATE_ID_TOKEN=… agentgate exec …', 'a CI job logs in by its own token: no login is needed'],
  ])
  exitCodes(command, [
    [3, 'not logged in: refused, or nobody confirmed in time'],
    [4, 'AGENTGATE_BROKER is one that you never logged in to by its address'],
    [6, 'the broker or the identity provider does not answer, or cannot be believed'],
  ])
}
