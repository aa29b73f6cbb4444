import type { Command } from 'commander'
import type { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import type { PolicyFiles } from '../policy/policy-files.ts'
import type { CompiledPolicy } from '../policy/compile.ts'
import type { Io } from './command.ts'
import { readGlobals, type Globals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { paintFor, wantsColour } from './paint.ts'
import { paintLine, unifiedDiff } from './policy-diff.ts'
import { escapeLine } from './ui/escape.ts'

interface Flags {
  list?: boolean
  remove?: boolean
}

interface TrustOptions extends Globals {
  readonly path: string | undefined
  readonly list: boolean
  readonly remove: boolean
}

export function configure(command: Command, io: Io): void {
  command
    .argument('[path]', 'the policy file or folder; as --policy')
    .option('--list', 'what is trusted')
    .option('--remove', 'take trust back from this policy')
    .action(async (path: string | undefined, flags: Flags) => {
      const globals = readGlobals(command, io)
      await trust(
        { ...globals, path: path ?? globals.policy, list: flags.list ?? false, remove: flags.remove ?? false },
        io,
      )
    })
  examples(command, [
    ['agentgate trust', 'show what changed in agentgate.yaml, and let it count'],
    ['agentgate trust --list', 'every policy that counts on this machine'],
    ['agentgate trust --remove', 'this one no longer does'],
  ])
  exitCodes(command, [[4, 'not trusted: the passphrase was wrong, or there is no terminal to type it at']])
}

async function trust(options: TrustOptions, io: Io): Promise<void> {
  const { Paths } = await import('../config/paths.ts')
  const paths = new Paths(io.env)
  if (options.list) {
    await list(options, io, paths)
    return
  }
  const { findPolicy, readPolicyFiles } = await import('../policy/policy-files.ts')
  const path = findPolicy({ path: options.path, cwd: io.cwd, env: io.env })
  if (options.remove) {
    await remove(path, options, io, paths)
    return
  }
  // Read once: what is shown is what is signed.
  await review(readPolicyFiles(path, io.cwd), options, io, paths)
}

async function review(files: PolicyFiles, options: TrustOptions, io: Io, paths: Paths): Promise<void> {
  const [store, { compileText }, { PolicyInvalid }, { loadProtocols }, ask, { lockedOut }] = await Promise.all([
    import('../policy/trust.ts'),
    import('../policy/load.ts'),
    import('../policy/document.ts'),
    import('./protocols.ts'),
    import('./ask-passphrase.ts'),
    import('../policy/check.ts'),
  ])
  const say = (event: object, text: string) =>
    void io.stdout.write(options.json ? `${JSON.stringify({ ...event, at: new Date().toISOString() })}\n` : text)
  const about = { path: files.path, digest: files.digest }
  const standing = store.trustOf(paths, files, undefined)
  if (standing.kind === 'trusted') {
    say({ event: 'trusted', ...about, changed: false }, `${files.name} is trusted as it is  ${files.digest}\n`)
    return
  }
  const compiled = await compileText(files, await loadProtocols())
  if (compiled.kind === 'wrong') throw new PolicyInvalid(files.name, compiled.problems)
  const before = store.trustedFiles(paths, files.path) ?? []
  const paint = paintFor(wantsColour(io.stdout, io.env, io.argv))
  const diff = unifiedDiff(before, files.files, 'trusted')
  const reaches = reachOf(compiled.policy)
  say(
    { event: 'untrusted', ...about, diff: diff.map(line => line.text).join('\n'), reaches },
    [
      ...diff.map(line => paintLine(line, paint)),
      '',
      paint.bold(before.length === 0 ? `${files.name} was never trusted here. Once it is:` : 'Once this is trusted:'),
      ...reaches.map(line => `  ${escapeLine(line)}`),
      '',
      '',
    ].join('\n'),
  )
  const locked = lockedOut(compiled.policy)
  if (locked !== undefined) say({ event: 'warning', text: locked }, `${paint.yellow('WARNING')}: ${locked}\n`)
  if (!ask.canAsk(io))
    throw new AgentgateError(
      'POLICY_UNTRUSTED',
      `${files.name} can only be trusted at a terminal, by typing a passphrase`,
      {
        hint: `in CI, pass the digest of what you have looked at: --policy-digest ${files.digest}`,
      },
    )
  const stale = store.trustEntries(paths).filter(entry => !entry.valid)
  if (stale.length > 0)
    io.stderr.write(
      `${paint.yellow('WARNING')}: signed with another passphrase, and no longer trusted: ${stale.map(entry => escapeLine(entry.path)).join(', ')}\n`,
    )
  const key = await ask.askForKey(io, paths, `to trust ${escapeLine(files.name)} (ctrl-c: not)`)
  store.trustPolicy(paths, files, key)
  await tell('trusted', files.path, files.digest, io)
  say({ event: 'trusted', ...about, changed: true }, `trusted  ${files.name}  ${files.digest}\n`)
}

async function list(options: TrustOptions, io: Io, paths: Paths): Promise<void> {
  const { trustEntries } = await import('../policy/trust.ts')
  const entries = trustEntries(paths)
  if (options.json) {
    for (const { path, digest, trustedAt, valid } of entries)
      io.stdout.write(`${JSON.stringify({ event: 'trusted', path, digest, trustedAt, valid })}\n`)
    return
  }
  if (entries.length === 0) {
    io.stderr.write('nothing is trusted yet; look at a policy with: agentgate trust\n')
    return
  }
  const { table, tabbed } = await import('./table.ts')
  const rows = entries.map(({ path, digest, trustedAt, valid }) => [
    io.stdout.isTTY ? trustedAt.slice(0, 16).replace('T', ' ') : trustedAt,
    valid ? 'trusted' : 'void: another passphrase',
    io.stdout.isTTY ? `${digest.slice(0, 15)}…` : digest,
    path,
  ])
  const columns = [{ title: 'SINCE' }, { title: 'STATE' }, { title: 'DIGEST' }, { title: 'POLICY' }]
  const paint = paintFor(wantsColour(io.stdout, io.env, io.argv))
  io.stdout.write(io.stdout.isTTY ? table(columns, rows, io.stdout.columns, paint) : tabbed(rows))
}

async function remove(path: string, options: TrustOptions, io: Io, paths: Paths): Promise<void> {
  const { distrust, trustEntries } = await import('../policy/trust.ts')
  const entry = trustEntries(paths).find(each => each.path === path)
  // Before it: afterwards the policy has no say in who hears of it.
  if (entry !== undefined) await tell('trust-removed', path, entry.digest, io)
  const removed = distrust(paths, path)
  if (options.json) io.stdout.write(`${JSON.stringify({ event: 'distrusted', path, removed })}\n`)
  else io.stdout.write(`${escapeLine(path)} ${removed ? 'is no longer trusted' : 'was not trusted'}\n`)
}

async function tell(change: 'trusted' | 'trust-removed', path: string, digest: string, io: Io): Promise<void> {
  const [{ tellAudit }, { userInfo }] = await Promise.all([import('./tell-audit.ts'), import('node:os')])
  const event = { kind: 'policy', change, name: path, digest, by: userInfo().username, session: null } as const
  await tellAudit(event, { policy: path, policyDigest: undefined }, io)
}

/** What trusting a policy lets it do on this machine: where it connects, what it reads, what it runs. */
function reachOf(policy: CompiledPolicy): string[] {
  const lines: string[] = []
  for (const resource of policy.resources.values())
    lines.push(`${resource.name} connects to ${resource.address ?? 'the host in its credential’s url'}`)
  const { exec } = policy.declaration
  for (const [key, what] of [
    ['read', 'shows agents'],
    ['write', 'lets agents change'],
    ['pass-env', 'gives agents the variable'],
  ] as const)
    for (const each of exec?.[key] ?? []) lines.push(`${what} ${each}`)
  for (const { text, runs } of policy.references()) lines.push(runs ? `runs ${text}` : `reads ${text}`)
  return lines.length === 0 ? ['it names no resource'] : lines
}
