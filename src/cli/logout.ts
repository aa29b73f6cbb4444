import type { Command } from 'commander'
import type { Login } from '../identity/login-store.ts'
import type { Io } from './command.ts'
import { readGlobals, type Globals } from './globals.ts'
import { examples } from './help.ts'

export function configure(command: Command, io: Io): void {
  command
    .argument('[where]', 'a part of the address of a broker, or of an identity provider; all where none is named')
    .action(async (where: string | undefined) => await logout(where, readGlobals(command, io), io))
  examples(command, [
    ['agentgate logout', 'tokens are taken back at the identity provider and removed here, brokers forgotten'],
    ['agentgate logout broker.example.com', 'only what is for that one'],
  ])
}

async function logout(wanted: string | undefined, globals: Globals, io: Io): Promise<void> {
  const [{ Paths }, { LoginStore }, { KnownBrokers }, { Provider }, { AgentgateError }, { BrokerClient }] =
    await Promise.all([
      import('../config/paths.ts'),
      import('../identity/login-store.ts'),
      import('../identity/known-brokers.ts'),
      import('../identity/provider.ts'),
      import('../errors.ts'),
      import('../control/broker-client.ts'),
    ])
  const paths = new Paths(io.env)
  const store = new LoginStore(paths, io.env)
  const brokers = new KnownBrokers(paths)
  const isMeant = (...addresses: readonly (string | null)[]) =>
    wanted === undefined || addresses.some(each => each?.includes(wanted))
  const found = store.list().filter(each => isMeant(each.issuer, each.broker))
  if (found.length === 0 && !globals.json) io.stderr.write('you are not logged in\n')
  for (const key of found) {
    const { issuer, clientId, broker } = key
    let revoked = false
    let login: Login | undefined
    try {
      login = await store.load(key).finally(async () => {
        // Gone here first, whatever becomes of the rest.
        await store.remove(key)
      })
      if (login !== undefined) {
        const about = { issuer, audience: clientId, clientId, scopes: undefined, nameClaim: undefined }
        const provider = await Provider.discover({ ...about, groupsClaim: 'groups', keptClaims: [], conditions: [] })
        revoked = await provider.revoke(login)
      }
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      io.stderr.write(`warning: removed here, but not taken back at the provider: ${error.message}\n`)
    }
    const { tellAudit, tellBroker } = await import('./tell-audit.ts')
    const user = login === undefined ? null : { name: nameIn(login.idToken.reveal()), groups: [] }
    const event = { kind: 'logout', user, issuer, refused: null } as const
    const at = broker === null ? undefined : brokers.find(broker)
    if (at === undefined) await tellAudit(event, globals, io)
    else if (login !== undefined) {
      // As whom one was: it is gone from here, and good until it ends by itself.
      const place = { address: at.address, ca: at.ca ?? undefined }
      const client = new BrokerClient(place, login.idToken)
      await tellBroker([event], place, async (events, signal) => await client.sendAudit(events, signal), io)
    }
    io.stdout.write(
      globals.json
        ? `${JSON.stringify({ event: 'logged-out', at: new Date().toISOString(), issuer, broker, revoked })}\n`
        : `logged out of ${broker === null ? '' : `${broker}, by `}${issuer}${revoked ? ', and its tokens were taken back' : ''}\n`,
    )
  }
  const left = store.list()
  for (const { address } of brokers.list()) {
    const was = found.some(each => each.broker === address)
    if ((was || isMeant(address)) && !left.some(each => each.broker === address)) brokers.forget(address)
  }
}

/** Whose token it is, as it says itself: it has been verified when it was kept. */
function nameIn(token: string): string {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<
      string,
      unknown
    >
    for (const key of ['email', 'preferred_username', 'sub']) if (typeof claims[key] === 'string') return claims[key]
    return 'unknown'
  } catch {
    return 'unknown'
  }
}
