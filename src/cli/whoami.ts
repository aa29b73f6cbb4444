import type { Command } from 'commander'
import type { Io } from './command.ts'
import { showUntil } from './duration.ts'
import { readGlobals, type Globals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { escapeLine } from './ui/escape.ts'

export function configure(command: Command, io: Io): void {
  command.action(async () => await whoami(readGlobals(command, io), io))
  examples(command, [['agentgate whoami', 'as whom the broker, else the policy here, sees you, and by whose word']])
  exitCodes(command, [[3, 'the policy names issuers, and you are not logged in with any']])
}

async function whoami(globals: Globals, io: Io): Promise<void> {
  const { brokerClient, brokerHere } = await import('./broker-client.ts')
  const broker = brokerHere(io, globals)
  if (broker !== undefined) {
    const { principal, administers } = await (await brokerClient(broker, io)).whoami()
    const { name, groups, source } = principal
    say(
      globals,
      io,
      { principal: name, groups, source, issuer: null, expiresAt: null, broker: broker.address, administers },
      `by ${broker.address}${administers ? ', an administrator' : ''}`,
    )
    return
  }
  const [{ Paths }, { loadProtocols }, { loadPolicy }, { osUser }, { identify }, { AgentgateError }] =
    await Promise.all([
      import('../config/paths.ts'),
      import('./protocols.ts'),
      import('../policy/load.ts'),
      import('../identity/os-user.ts'),
      import('../identity/identify.ts'),
      import('../errors.ts'),
    ])
  const kinds = await loadProtocols()
  const options = { path: globals.policy, digest: globals.policyDigest, cwd: io.cwd, env: io.env, kinds }
  const loaded = await loadPolicy(options).catch((error: unknown) => {
    if (error instanceof AgentgateError && error.code === 'NO_POLICY') return undefined
    throw error
  })
  if (loaded === undefined || loaded.policy.solo) {
    const { name, groups, source } = await osUser()
    say(globals, io, { principal: name, groups, source, issuer: null, expiresAt: null }, 'by the operating system')
    return
  }
  const identity = await identify(loaded.policy.declaration.issuers, new Paths(io.env), io.env)
  const { principal, issuer, expiresAt, from } = identity
  const about = { principal: principal.name, groups: principal.groups, source: from, issuer: issuer.issuer }
  say(
    globals,
    io,
    { ...about, expiresAt: expiresAt.toISOString() },
    `by ${issuer.issuer}, until ${showUntil(expiresAt, new Date())}`,
  )
}

interface Who {
  readonly principal: string
  readonly groups: readonly string[]
  readonly source: string
  readonly issuer: string | null
  readonly expiresAt: string | null
  readonly broker?: string
  readonly administers?: boolean
}

function say(globals: Globals, io: Io, who: Who, how: string): void {
  io.stdout.write(
    globals.json
      ? `${JSON.stringify(who)}\n`
      : `${escapeLine(`${who.principal}${who.groups.length === 0 ? '' : `  (${who.groups.join(', ')})`}  ${how}`)}\n`,
  )
}
