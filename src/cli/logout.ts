import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals, type Globals } from './globals.ts'
import { examples } from './help.ts'

export function configure(command: Command, io: Io): void {
  command
    .argument('[issuer]', 'a part of its address; all where none is named')
    .action(async (issuer: string | undefined) => await logout(issuer, readGlobals(command, io), io))
  examples(command, [['agentgate logout', 'tokens are taken back at the identity provider, and removed here']])
}

async function logout(wanted: string | undefined, globals: Globals, io: Io): Promise<void> {
  const [{ Paths }, { LoginStore }, { Provider }, { AgentgateError }] = await Promise.all([
    import('../config/paths.ts'),
    import('../identity/login-store.ts'),
    import('../identity/provider.ts'),
    import('../errors.ts'),
  ])
  const store = new LoginStore(new Paths(io.env), io.env)
  const found = store.list().filter(each => wanted === undefined || each.issuer.includes(wanted))
  if (found.length === 0 && !globals.json) io.stderr.write('you are not logged in\n')
  for (const { issuer, clientId } of found) {
    const login = await store.load(issuer, clientId)
    // Gone here first, whatever becomes of the rest.
    await store.remove(issuer, clientId)
    let revoked = false
    try {
      if (login !== undefined) {
        const about = { issuer, audience: clientId, clientId, scopes: undefined, nameClaim: undefined }
        const provider = await Provider.discover({ ...about, groupsClaim: 'groups', keptClaims: [], conditions: [] })
        revoked = await provider.revoke(login)
      }
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      io.stderr.write(`warning: removed here, but not taken back at the provider: ${error.message}\n`)
    }
    const { tellAudit } = await import('./tell-audit.ts')
    const user = login === undefined ? null : { name: nameIn(login.idToken.reveal()), groups: [] }
    await tellAudit({ kind: 'logout', user, issuer, refused: null }, globals, io)
    io.stdout.write(
      globals.json
        ? `${JSON.stringify({ event: 'logged-out', at: new Date().toISOString(), issuer, revoked })}\n`
        : `logged out of ${issuer}${revoked ? ', and its tokens were taken back' : ''}\n`,
    )
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
