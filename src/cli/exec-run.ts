import os from 'node:os'
import path from 'node:path'
import { Child } from '../agent/child.ts'
import { commandPath } from '../agent/command-path.ts'
import { raiseWalls } from '../agent/confinement/raise-walls.ts'
import type { Walls } from '../agent/confinement/walls.ts'
import { checkedTunnelEnvironment, childEnvironment } from '../agent/environment.ts'
import { closeInheritedDescriptors } from '../agent/inherited-descriptors.ts'
import { profileFor, type Profile } from '../agent/profile.ts'
import { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { Session } from '../tunnel/session.ts'
import { startSession } from '../tunnel/start.ts'
import { withoutSecrets } from './ci.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import { showUntil } from './duration.ts'
import type { ExecOptions } from './exec.ts'
import { followOwnBroker } from './follow-own-broker.ts'
import { envSwitch } from './globals.ts'
import { loadProtocols } from './protocols.ts'
import { sessionSource } from './session-source.ts'
import { recordedArgv } from './recorded-argv.ts'
import { escapeLine } from './ui/escape.ts'
import { version } from './version.ts'

/** Time between TERM and KILL when access has ended. */
const endGraceMs = 5000
/** A child that stays after its terminal went away. */
const hangUpGraceMs = 5000
const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const

/** Runs a command that has its tunnels and, confined, nothing else. Returns its exit code. */
export async function runExec(options: ExecOptions, io: Io): Promise<number> {
  closeInheritedDescriptors()
  const signals = new Signals()
  try {
    return await run(options, io, signals)
  } catch (error) {
    if (!(error instanceof AgentgateError)) throw error
    // env(1): whatever it was, the command did not run. 124, 126 and 127 were meant.
    const exitCode = [124, 126, 127].includes(error.exitCode) || error.exitCode > 128 ? error.exitCode : 125
    throw new AgentgateError(error.code, error.message, { hint: error.hint, exitCode, cause: error })
  } finally {
    signals.release()
  }
}

async function run(options: ExecOptions, io: Io, signals: Signals): Promise<number> {
  const [program, ...args] = options.command
  const found = commandPath(program, io.env['PATH'] ?? '', io.cwd)
  const profile = profileFor(options.profile, program)
  const paths = new Paths(io.env)
  const protocols = await loadProtocols()
  const actor = options.actor ?? path.basename(program)
  const purpose = options.reason ?? null
  const ticket = options.ticket ?? null
  const { resources, ttlSeconds } = options
  const asked = { command: 'exec' as const, resources, ttlSeconds, actor, purpose, ticket }
  const source = await sessionSource({ ...asked, confined: !options.unconfined }, options, protocols, io)
  const { policy, principal, onRequest, broker, watch } = source

  const late: { session?: Session } = {}
  let child: Child | undefined
  let walls: Walls | null = null
  try {
    walls = options.unconfined ? null : confine(options, io, paths, policy, profile)
    const workingFolder = walls?.workingFolder ?? io.cwd
    const [file, ...words] = walls?.command(visibleCommand(found, program, walls, io), args) ?? [found, ...args]
    // Its walls go up while the tunnels are opened; it runs once both are done.
    child = Child.start({
      file,
      args: words,
      environment: childEnvironment({
        parent: io.env,
        pass: [...new Set([...options.passEnv, ...(policy.policy.declaration.exec?.['pass-env'] ?? [])])],
        profile: { ...profile.environment, ...walls?.environment },
        workingFolder,
      }),
      workingFolder,
      stdin: io.stdin,
      stdout: io.stdout,
      stderr: io.stderr,
      enclosure: walls?.enclosure ?? null,
      helper: walls?.helper ?? null,
      onTerminal: (direction, bytes) => late.session?.terminal(direction, bytes),
    })
    const started = child
    const place = walls?.place ?? null
    const subject = {
      principal,
      actor: { name: actor, proven: false },
      confined: walls !== null,
      purpose,
      ticket,
      onRequest,
    }
    const opening = startSession({
      command: 'exec',
      resources: source.resources,
      policy,
      protocols,
      subject,
      onOpened: broker === undefined ? followOwnBroker(policy, subject, io) : undefined,
      broker,
      paths,
      env: io.env,
      ttlSeconds: source.ttlSeconds,
      port: undefined,
      listen: { tcp: true, unixSocket: true },
      place: place === null ? undefined : { ...place, process: () => started.firstPid },
      staysAfterExpiry: false,
      argv: recordedArgv(io.argv),
      version,
      watch,
    })
    // A child whose walls do not stand says why; else opening the tunnels inside would only say that it is gone.
    const fallen = started.finished.then(({ failure, code }) => {
      throw failure ?? new AgentgateError('NOT_STARTED', `the command could not be started (${code})`)
    })
    fallen.catch(() => undefined)
    late.session = await signals.orInterrupted(Promise.race([opening, fallen]), async () => {
      await (await opening.catch(() => undefined))?.close('interrupted')
    })
    walls?.finish(await portsOf(late.session))
    return await live(started, late.session, walls, options, io, signals)
  } finally {
    if (child !== undefined) await child.end(0)
    await late.session?.close('the command ended')
    // Where no session came of it, nobody else tells the broker.
    await broker?.end('the command ended').catch(() => undefined)
    walls?.remove()
  }
}

function confine(options: ExecOptions, io: Io, paths: Paths, policy: LoadedPolicy, profile: Profile): Walls {
  const own = [paths.configDir(), paths.stateDir(), path.dirname(paths.recordingsDir()), paths.runtimeRoot()]
  const home = io.env['AGENTGATE_HOME']
  return raiseWalls({
    workingFolder: io.cwd,
    home: io.env['HOME'] ?? os.homedir(),
    env: io.env,
    agentgateFolders: home === undefined || home === '' ? own : [path.resolve(home), ...own],
    scratchRoot: paths.runtimeRoot(),
    // A folder of policies is one thing: a file more in it would be a rule more.
    policyFiles: [...new Set([policy.path, ...policy.files.map(({ path: place }) => place)])],
    secretFiles: [...secretFilesOf(policy), ...identityFiles(io)],
    readable: options.readable,
    writable: options.writable,
    policyReadable: placesOf(policy, 'read'),
    policyWritable: placesOf(policy, 'write'),
    profile,
    hook: decidesTools(options, policy) ? [process.execPath, process.argv[1] ?? '', 'hook', '--results'] : null,
    program: process.argv[1] ?? '',
  })
}

/** Where a job's own identity comes from: it would be the child's too. */
function identityFiles({ env, cwd }: Io): readonly string[] {
  const file = env['AGENTGATE_ID_TOKEN_FILE'] ?? ''
  return file === '' ? [] : [path.resolve(cwd, file)]
}

/** Paths that the policy opens: from its own folder, or the person's home. */
function placesOf(policy: LoadedPolicy, key: 'read' | 'write'): readonly string[] {
  return (policy.policy.declaration.exec?.[key] ?? []).map(place => fromPolicy(policy, place))
}

function fromPolicy(policy: LoadedPolicy, place: string): string {
  return place.startsWith('~/') ? path.join(os.homedir(), place.slice(2)) : path.resolve(policy.folder, place)
}

/** Whether one of the resources asked for decides on what the agent does with tools of its own. */
function decidesTools(options: ExecOptions, policy: LoadedPolicy): boolean {
  return options.resources.some(({ name }) => policy.policy.resource(name).kind === 'tools')
}

/** As execvp(3) would find it inside, where a folder of the search path may not be there. */
function visibleCommand(found: string, program: string, walls: Walls, io: Io): string {
  if (program.includes('/') || walls.sees(found)) return found
  const folders = (io.env['PATH'] ?? '').split(':').filter(folder => walls.sees(path.resolve(io.cwd, folder)))
  try {
    return commandPath(program, folders.join(':'), io.cwd)
  } catch (error) {
    if (error instanceof AgentgateError) return found // not there for the child, which is told so
    throw error
  }
}

/** Files that the policy takes secrets from, by its text: a reference in a comment hides one file too many. */
function secretFilesOf(policy: LoadedPolicy): readonly string[] {
  return policy.files.flatMap(({ bytes }) =>
    [...bytes.toString('utf8').matchAll(/\$\{file:([^}]+)\}/g)].map(([, place = '']) => fromPolicy(policy, place)),
  )
}

/** Of the tunnels that are open, on loopback. */
async function portsOf(session: Session): Promise<readonly number[]> {
  const { tunnels } = await session.status()
  return tunnels.flatMap(({ address }) => {
    const port = /:(\d+)$/.exec(address)?.[1]
    return port === undefined ? [] : [Number(port)]
  })
}

/** From the child's first moment to its last. */
async function live(
  child: Child,
  session: Session,
  walls: Walls | null,
  options: ExecOptions,
  io: Io,
  signals: Signals,
): Promise<number> {
  const says = io.stderr.isTTY && !options.quiet && !envSwitch(io.env['CI'])
  const say = (text: string) => {
    if (says) io.stderr.write(`agentgate: ${escapeLine(text)}\n`)
  }
  const before = await session.status()
  const what = before.tunnels.map(tunnel => `${tunnel.resource} (${tunnel.scope})`).join(', ')
  const around = walls === null ? 'not confined' : `confined: ${walls.holds}`
  const end = showUntil(new Date(before.expiresAt), new Date())
  say(`${what} · ${around} · until ${end} · ${session.id} · approvals: agentgate approvals`)
  for (const warning of walls?.warnings ?? []) say(warning)
  if (before.tunnels.some(({ kind }) => kind === 'tools') && walls?.asksForTools !== true) {
    const unasked = 'nothing asks for the command’s own tool calls: that takes --profile claude, and walls'
    session.notice('warning', unasked)
    io.stderr.write(`warning: ${unasked}\n`)
  }

  const over = new AbortController()
  const reporting = report(child, session, says, over.signal, options, io)
  const environment = session.environment()
  child.release(checkedTunnelEnvironment(environment), `AGENTGATE_SESSION=${session.id}`)
  signals.giveTo(child)
  const lost: { error?: AgentgateError } = {}
  let ended = false
  void session.finished.then(async ({ error }) => {
    if (ended) return
    lost.error = error ?? new AgentgateError('REVOKED', 'the session was closed while the command ran')
    await child.end(endGraceMs)
  })
  const { code, failure } = await child.finished
  ended = true
  const changed = walls?.changed() ?? []
  for (const place of changed) {
    session.notice('warning', `${place} changed while the child ran`)
    io.stderr.write(`warning: ${escapeLine(place)} changed while the command ran; look at it before you use it\n`)
  }
  const after = await session.status()
  await session.close('the command ended', code)
  over.abort()
  await reporting
  if (failure !== undefined) throw failure
  say(
    `${counted(after.statements, 'statement')}${after.denied > 0 ? ` (${after.denied} denied)` : ''} · agentgate sessions show ${session.id}`,
  )
  const { error } = lost
  if (error !== undefined)
    // timeout(1): 124 says that it was ended.
    throw new AgentgateError(error.code, error.message, { hint: error.hint, exitCode: 124, cause: error })
  return code
}

/** Tells of approvals that wait by the terminal's own means, and everything to `--json`: on stderr, as stdout is the child's. */
async function report(
  child: Child,
  session: Session,
  says: boolean,
  signal: AbortSignal,
  options: ExecOptions,
  io: Io,
): Promise<void> {
  for await (const event of session.events(signal)) {
    if (event.event === 'approval' && says)
      child.notify(`agentgate: ${event.request.view.summary} on ${event.request.resource} waits: agentgate approvals`)
    if (!options.json) continue
    const shown = event.event === 'ready' ? withoutSecrets(event) : event
    io.stderr.write(`${JSON.stringify(shown)}\n`)
  }
}

/** Signals sent to this process: they stop the start, and are the child's once it runs. */
class Signals {
  #child: Child | undefined
  #interrupt: ((signal: NodeJS.Signals) => void) | undefined
  readonly #take = (signal: NodeJS.Signals) => {
    if (this.#child === undefined) {
      this.#interrupt?.(signal)
      return
    }
    this.#child.signal(signal)
    const child = this.#child
    if (signal === 'SIGHUP') setTimeout(() => void child.end(0), hangUpGraceMs).unref()
  }

  constructor() {
    for (const signal of endingSignals) process.on(signal, this.#take)
  }

  /** @throws AgentgateError NOT_STARTED when a signal comes first; `undo` then sees to what `work` made after all */
  async orInterrupted<Result>(work: Promise<Result>, undo: () => Promise<void>): Promise<Result> {
    const interrupted = new Promise<never>((_, reject) => {
      this.#interrupt = signal =>
        reject(
          new AgentgateError('NOT_STARTED', `stopped by ${signal} before the command ran`, {
            exitCode: 128 + os.constants.signals[signal],
          }),
        )
    })
    try {
      return await Promise.race([work, interrupted])
    } catch (error) {
      void undo()
      throw error
    } finally {
      this.#interrupt = undefined
    }
  }

  giveTo(child: Child): void {
    this.#child = child
  }

  release(): void {
    for (const signal of endingSignals) process.off(signal, this.#take)
  }
}
