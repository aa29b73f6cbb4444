import { closeSync, readdirSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import { InvalidArgumentError, Option, type Command } from 'commander'
import type { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { Io } from './command.ts'
import { showDuration } from './duration.ts'
import { envSwitch, readGlobals, type Globals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import type { OpenSession } from './open-session.ts'
import { readyDescriptor } from './ready-descriptor.ts'
import { recordedArgv } from './recorded-argv.ts'
import { seconds, withScopes, type AskedResource } from './resource-options.ts'

export interface ConnectOptions extends Globals {
  readonly resources: readonly AskedResource[]
  readonly ttlSeconds: number | undefined
  readonly reason: string | undefined
  readonly ticket: string | undefined
  readonly port: number | undefined
  readonly socket: boolean
  readonly detach: boolean
  readonly writeFiles: boolean
  readonly showSecrets: boolean
  readonly quiet: boolean
  /** Set in the process that `--detach` started. */
  readonly readyFd: number | undefined
  /** Run in the tunnel's environment. */
  readonly child: readonly string[]
}

export interface HoldOptions extends ConnectOptions {
  /** Not handed on to a child. */
  readonly secretVariables: ReadonlySet<string>
}

interface Flags {
  scope?: string[]
  for?: number
  reason?: string
  ticket?: string
  port?: number
  socket?: boolean
  detach?: boolean
  writeFiles?: boolean
  showSecrets?: boolean
  quiet?: boolean
  readyFd?: number
}

export function configure(command: Command, io: Io): void {
  command
    .argument('[resources...]', 'what to open, as agentgate.yaml names it; the only one where there is one')
    .usage('[options] RESOURCE… [-- CMD…]')
    .addOption(
      new Option('-s, --scope <scope>', 'the scope to ask for; RESOURCE=SCOPE where there are several')
        .env('AGENTGATE_SCOPE')
        .argParser((value: string, before: string[] | undefined) => [...(before ?? []), ...value.split(',')]),
    )
    .addOption(
      new Option('--for <time>', 'how long, such as 30m or 2h; never longer than the policy allows')
        .env('AGENTGATE_FOR')
        .argParser(seconds),
    )
    .addOption(new Option('--reason <text>', 'why, for approvers and the record').env('AGENTGATE_REASON'))
    .addOption(new Option('--ticket <id>', 'the ticket this is for').env('AGENTGATE_TICKET'))
    .addOption(
      new Option('--port <port>', 'the local port of the first resource').env('AGENTGATE_PORT').argParser(port),
    )
    .addOption(new Option('--socket', 'listen on a unix socket too'))
    .addOption(new Option('-d, --detach', 'leave it open in the background, once it is ready'))
    .addOption(new Option('--write-files', 'write service and password files for clients, and say where'))
    .addOption(new Option('-q, --quiet', 'with CMD: nothing on the terminal but what CMD says'))
    .addOption(new Option('--show-secrets', 'print passwords with --json even where the output may be a CI’s log'))
    .addOption(new Option('--ready-fd <descriptor>').argParser(Number).hideHelp())
    .action(async (names: string[], flags: Flags) => {
      io.exitCode = await connect(readOptions(names, flags, readGlobals(command, io), io), io)
    })
  examples(command, [
    ['agentgate connect db-prod', 'open it; what passes and what waits for you is shown here'],
    ['agentgate connect db-prod -- psql', 'run psql in it, and end with psql'],
    ['agentgate connect db-prod db-stage --for 30m', 'several, for half an hour'],
    ['agentgate connect db-prod -s write --reason "fix 1841"', 'with another scope, and why'],
    ['agentgate connect db-prod -d', 'leave it in the background'],
    ['agentgate connect db-prod --json', 'for scripts: events, the first is "ready" with url and env'],
  ])
  exitCodes(command, [
    [0, 'closed: by you, by agentgate down, or by SIGINT, SIGTERM or SIGHUP'],
    [8, 'expired or revoked'],
    [
      'with CMD',
      'the code of CMD (128 + n for signal n); 124 expired or revoked, 125 not started, 126 not executable, 127 not found',
    ],
  ])
}

function readOptions(names: readonly string[], flags: Flags, globals: Globals, io: Io): ConnectOptions {
  const end = io.argv.indexOf('--')
  const child = end === -1 ? [] : io.argv.slice(end + 1)
  if (end !== -1 && child.length === 0)
    throw new AgentgateError('USAGE', 'nothing to run stands after --', { hint: 'agentgate connect db-prod -- psql' })
  const wanted = child.length === 0 ? names : names.slice(0, -child.length)
  const twice = wanted.find((name, index) => wanted.indexOf(name) !== index)
  if (twice !== undefined) throw new AgentgateError('USAGE', `${twice} is named twice`)
  const detach = flags.detach ?? envSwitch(io.env['AGENTGATE_DETACH'])
  if (detach && child.length > 0)
    throw new AgentgateError(
      'USAGE',
      '--detach leaves the tunnel open, and -- CMD ends with CMD: they do not go together',
    )
  return {
    ...globals,
    resources: withScopes(wanted, flags.scope ?? []),
    ttlSeconds: flags.for,
    reason: nonEmpty(flags.reason),
    ticket: nonEmpty(flags.ticket),
    port: flags.port,
    socket: flags.socket ?? envSwitch(io.env['AGENTGATE_SOCKET']),
    detach: detach && flags.readyFd === undefined,
    writeFiles: flags.writeFiles ?? envSwitch(io.env['AGENTGATE_WRITE_FILES']),
    showSecrets: flags.showSecrets ?? false,
    quiet: flags.quiet ?? envSwitch(io.env['AGENTGATE_QUIET']),
    readyFd: flags.readyFd,
    child,
  }
}

async function connect(options: ConnectOptions, io: Io): Promise<number> {
  const { Paths } = await import('../config/paths.ts')
  const paths = new Paths(io.env)
  if (options.detach) {
    const { detach } = await import('./connect-detach.ts')
    const args = io.argv.filter(word => word !== '-d' && word !== '--detach')
    await detach(args, { ...options, name: options.resources[0]?.name ?? 'all' }, io, paths)
    return 0
  }
  try {
    const { session, secretVariables } = await open(options, io, paths)
    return await hold(session, { ...options, secretVariables }, io, paths)
  } catch (error) {
    // Whoever started this in the background waits for what it says, here and nowhere else.
    if (options.readyFd === readyDescriptor && error instanceof AgentgateError) {
      const { code, message, hint, exitCode } = error
      tell(options.readyFd, { event: 'error', code, message, hint, exitCode })
    }
    throw error
  }
}

async function open(
  options: ConnectOptions,
  io: Io,
  paths: Paths,
): Promise<{ session: OpenSession; secretVariables: ReadonlySet<string> }> {
  const [{ loadProtocols }, { sessionSource }, { followOwnBroker }, { startSession }, { version }] = await Promise.all([
    import('./protocols.ts'),
    import('./session-source.ts'),
    import('./follow-own-broker.ts'),
    import('../tunnel/start.ts'),
    import('./version.ts'),
  ])
  const protocols = await loadProtocols()
  const purpose = options.reason ?? null
  const ticket = options.ticket ?? null
  const { resources, ttlSeconds } = options
  const asked = { command: 'connect' as const, resources, ttlSeconds, actor: null, confined: false, purpose, ticket }
  const { policy, principal, onRequest, broker, watch, ...granted } = await sessionSource(asked, options, protocols, io)
  const subject = { principal, actor: null, confined: false, purpose, ticket, onRequest }
  const session = await startSession({
    command: 'connect',
    resources: granted.resources.length > 0 ? granted.resources : [{ name: onlyResource(policy), scope: undefined }],
    policy,
    protocols,
    subject,
    onOpened: broker === undefined ? followOwnBroker(policy, subject, io) : undefined,
    broker,
    paths,
    env: io.env,
    ttlSeconds: granted.ttlSeconds,
    port: options.port,
    listen: { tcp: true, unixSocket: options.socket },
    staysAfterExpiry: options.readyFd !== undefined,
    argv: recordedArgv(io.argv),
    version,
    watch,
  })
  return { session, secretVariables: secretVariablesOf(policy) }
}

/** Variables that the policy's own secrets come from: what a client must not be given, as it gets the tunnel's instead. */
function secretVariablesOf({ files }: LoadedPolicy): ReadonlySet<string> {
  const text = files.map(file => file.bytes.toString('utf8')).join('\n')
  const own = ['AGENTGATE_ID_TOKEN', 'AGENTGATE_CLIENT_SECRET']
  return new Set([...own, ...Array.from(text.matchAll(/\$\{env:(\w+)\}/g), match => match[1] ?? '')])
}

function onlyResource({ policy }: LoadedPolicy): string {
  const names = [...policy.resources.keys()]
  const [only] = names
  if (only !== undefined && names.length === 1) return only
  throw new AgentgateError('USAGE', names.length === 0 ? 'the policy has no resources' : 'which resource?', {
    hint:
      names.length === 0
        ? 'agentgate init'
        : `one of ${names.join(', ')}; or several: agentgate connect ${names.slice(0, 2).join(' ')}`,
  })
}

/** Shows the session until it ends, in the way that fits whoever looks. */
async function hold(session: OpenSession, options: HoldOptions, io: Io, paths: Paths): Promise<number> {
  const release = closeOnSignals(session)
  try {
    const notes = await notesOf(session, options, paths)
    if (options.child.length > 0) {
      const { connectChild } = await import('./connect-child.ts')
      return await connectChild(session, options, notes, release, io)
    }
    if (options.readyFd !== undefined) {
      const { connectDetached } = await import('./connect-plain.ts')
      await connectDetached(session, notes, io, options.readyFd)
    } else if (options.json) {
      const { connectJson } = await import('./connect-plain.ts')
      await connectJson(session, io, options.showSecrets)
    } else if (isInteractive(io)) {
      const { connectLive } = await import('./connect-live.ts')
      await connectLive(session, notes, io, paths, options.writeFiles)
    } else {
      const { connectPlain } = await import('./connect-plain.ts')
      await connectPlain(session, notes, io, options.writeFiles)
    }
    const finished = await session.finished
    // Both are told the way every error is.
    if (finished.error !== undefined) throw finished.error
    return 0
  } finally {
    release()
    await session.close('closed by its owner')
  }
}

/** What a person should know before they start: a shorter time than asked for, where files were written. */
async function notesOf(session: OpenSession, options: ConnectOptions, paths: Paths): Promise<readonly string[]> {
  const notes: string[] = []
  const status = await session.status()
  const seconds = Math.round((Date.parse(status.expiresAt) - Date.parse(status.startedAt)) / 1000)
  if (options.ttlSeconds !== undefined && options.ttlSeconds > seconds + 5)
    notes.push(`for ${showDuration(seconds * 1000)}: the policy allows no longer`)
  if (options.socket) notes.push(...socketsOf(session, paths).map(file => `socket    ${file}`))
  if (options.writeFiles) {
    const { writeClientFiles, clientFileHints } = await import('./client-files.ts')
    const files = clientFileHints(writeClientFiles(paths, session.endpoints))
    notes.push(...(files.length === 0 ? ['there are no files for clients of this kind'] : files))
  }
  return notes
}

/** They lie in the session's own folder, in one for each resource. */
function socketsOf(session: OpenSession, paths: Paths): string[] {
  return session.endpoints.flatMap(({ resource }) => {
    const folder = path.join(paths.runtimeDir(session.id), resource.name)
    return readdirSync(folder).map(name => path.join(folder, name))
  })
}

/** The first signal closes the session, so that its record is whole; a second one is not kept waiting. */
function closeOnSignals(session: OpenSession): () => void {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  let closing = false
  const close = (signal: NodeJS.Signals) => {
    // Not by the signal itself: what has the terminal in its own mode gives it back as the process exits.
    if (closing) process.exit(128 + constants.signals[signal])
    closing = true
    void session.close(`closed by ${signal}`)
  }
  const release = () => {
    for (const signal of signals) process.off(signal, close)
  }
  for (const signal of signals) process.on(signal, close)
  return release
}

/** A person at a terminal that can be drawn on. */
export function isInteractive(io: Io): boolean {
  return io.stdout.isTTY && io.stdin.isTTY && io.env['TERM'] !== 'dumb' && !envSwitch(io.env['CI'])
}

function tell(descriptor: number, event: object): void {
  writeSync(descriptor, `${JSON.stringify(event)}\n`)
  closeSync(descriptor)
}

function port(text: string): number {
  const parsed = Number(text)
  if (!/^\d{1,5}$/.test(text) || parsed < 1 || parsed > 65_535)
    throw new InvalidArgumentError('a port is from 1 to 65535')
  return parsed
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text
}
