import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import type { Environment } from '../../config/paths.ts'
import { AgentgateError, hasErrno } from '../../errors.ts'
import type { Enclosure } from '../child.ts'
import type { Profile } from '../profile.ts'
import { addedFile } from './added-file.ts'
import { bubblewrapArguments, findBubblewrap } from './bubblewrap.ts'
import { CarryIn } from './carry-in.ts'
import { gitFolderMounts } from './git-folder.ts'
import { withoutSecrets } from './git-config.ts'
import { Guard } from './guard.ts'
import { closedFolder, hiddenPlaces, hide, systemMounts } from './hidden-places.ts'
import { homeMounts, secretPlaces } from './home.ts'
import { within, type Mount } from './mount.ts'
import { ownProgram } from './own-program.ts'
import { seccompProgram } from './seccomp.ts'
import { heldInPlace, makePlaceholders, resolveWorkingFolder, workingFolderMounts } from './working-folder.ts'

export interface ConfinementOptions {
  readonly workingFolder: string
  readonly home: string
  readonly env: Environment
  /** Configuration, state, recordings, sockets: never visible, whatever is opened. */
  readonly agentgateFolders: readonly string[]
  /** A folder of this user's alone for what lives as long as the child. */
  readonly scratchRoot: string
  /** Neither changed, replaced nor moved by the child where they lie in what it may write. */
  readonly policyFiles: readonly string[]
  /** Secrets that the policy takes from files. */
  readonly secretFiles: readonly string[]
  /** `--read` and `--write`. */
  readonly readable: readonly string[]
  readonly writable: readonly string[]
  /** The same by the policy, which need not be there: what is opened need not be protected. */
  readonly policyReadable: readonly string[]
  readonly policyWritable: readonly string[]
  readonly profile: Profile
  /** What the agent's hooks run, where its tool calls are decided on here: node, agentgate's program, `hook`. */
  readonly hook: readonly [node: string, program: string, ...string[]] | null
  /** agentgate's own: neither changed nor replaced by the child. */
  readonly program: string
}

const scratchPrefix = 'x_'

/**
 * A child's walls, made with bubblewrap: namespaces for network, processes, IPC, mounts, host name, users and cgroups; no
 * capabilities, no new privileges, a filter of system calls; a file system with nothing in it that opens anything.
 */
export class Confinement implements Enclosure {
  readonly file: string
  readonly workingFolder: string
  readonly carryIn = new CarryIn()
  readonly warnings: readonly string[]
  readonly mounts: readonly Mount[]
  /** The agent has to ask before it uses a tool of its own. */
  readonly asksForTools: boolean
  readonly #scratch: string
  readonly #seccomp: Buffer | undefined
  readonly #guard: Guard
  readonly #cleanups: readonly (() => void)[]
  readonly #profileFiles: ReturnType<Profile['files']>

  /** @throws AgentgateError UNCONFINED, NOT_STARTED: nothing is left behind */
  static prepare(options: ConfinementOptions): Confinement {
    if (process.platform !== 'linux')
      throw new AgentgateError('UNCONFINED', `there is no confinement on ${process.platform} yet`, {
        hint: unconfinedHint,
      })
    const file = findBubblewrap(options.env)
    if (file === undefined)
      throw new AgentgateError('UNCONFINED', 'bubblewrap is not installed, and nothing else can confine the child', {
        hint: `install it (apt-get install bubblewrap, dnf install bubblewrap), or ${unconfinedHint}`,
      })
    return new Confinement(file, options)
  }

  private constructor(file: string, options: ConfinementOptions) {
    this.file = file
    this.#seccomp = seccompProgram()
    const home = realOrSelf(options.home)
    this.workingFolder = resolveWorkingFolder(options.workingFolder, home)
    const own = options.agentgateFolders.map(realOrSelf)
    const mine = own.find(folder => within(this.workingFolder, folder))
    if (mine !== undefined)
      throw new AgentgateError('UNCONFINED', `the working folder lies in agentgate’s own ${mine}`, {
        hint: 'run it from a project’s own folder',
      })
    const resolved = (asked: readonly string[], byPolicy: readonly string[]) => [
      ...asked.map(place => openedPlace(place, home, own)),
      ...byPolicy.map(place => allowedPlace(place, home, own)),
    ]
    const readable = resolved(options.readable, options.policyReadable)
    const writable = resolved(options.writable, options.policyWritable)
    const opened = new Set([...readable, ...writable])
    const cleanups: (() => void)[] = []
    try {
      // What is not there yet could be made by the child.
      for (const folder of own) mkdirSync(folder, { recursive: true, mode: 0o700 })
      this.#scratch = makeScratch(options.scratchRoot)
      cleanups.push(() => rmSync(this.#scratch, { recursive: true, force: true }))
      const git = gitFolderMounts(this.workingFolder, home, opened)
      cleanups.push(makePlaceholders(this.workingFolder, opened))
      for (const { folder, name, content } of git.placeholders)
        cleanups.push(makePlaceholders(folder, opened, [{ name, content }]))
      const work = workingFolderMounts({ folder: this.workingFolder, opened })
      const inHome = homeMounts(home)
      const profileShown = options.profile.shown.map(name => path.join(home, name)).filter(existsSync)
      const commondirs = git.placeholders
        .map(({ folder, name }) => path.join(folder, name))
        .filter(existsSync)
        .map((place): Mount => ({ kind: 'read-only', path: place }))
      const roots = [this.workingFolder, ...writable]
      const program = [...new Set(roots.flatMap(root => ownProgram(realOrSelf(options.program), root)))].filter(
        place => !opened.has(place),
      )
      const shown: Mount[] = [
        ...systemMounts(),
        ...inHome.mounts,
        ...readOnly(profileShown),
        ...readOnly(readable.filter(place => existsSync(place))),
        ...work.mounts,
        ...git.mounts,
        ...commondirs,
        ...writable.filter(place => existsSync(place)).map((place): Mount => ({ kind: 'writable', path: place })),
        ...[...options.policyFiles, ...own, ...program].flatMap(place => this.#held(place, roots)),
      ]
      const hooks = this.#hooks(options)
      shown.push(...hooks)
      this.asksForTools = hooks.length > 0
      // The program that opens the tunnels' sockets inside.
      const node = realOrSelf(process.execPath)
      const closed = closedFolder(path.join(this.workingFolder, 'entry'), place => isVisible(shown, place))
      if (closed !== undefined)
        throw new AgentgateError('UNCONFINED', `${closed} is another user’s, and root inside may not enter it`, {
          hint: 'run it as that user, or from a folder of your own',
        })
      if (!isVisible(shown, node)) shown.push({ kind: 'read-only', path: node })
      if (!isVisible(shown, process.execPath)) shown.push({ kind: 'read-only', path: process.execPath })
      const secrets = [
        ...hiddenPlaces(options.env),
        ...work.secrets,
        ...options.secretFiles.map(realOrSelf),
        ...secretPlaces.map(name => path.join(home, name)),
      ].filter(place => !opened.has(place))
      const inside = (place: string) => isVisible(shown, place) && !profileShown.some(each => within(each, place))
      this.mounts = [
        ...shown,
        ...hide([...secrets, ...own], inside),
        ...[...inHome.gitConfigurations, ...git.configurations].map((place, index) => this.#copy(place, index)),
      ]
      this.warnings = [
        ...work.warnings,
        ...program
          .filter(place => path.basename(place) === 'node_modules')
          .map(place => `${place} is read-only, as agentgate is installed there; npm ci needs it installed elsewhere`),
        ...(this.#seccomp === undefined ? [`no filter of system calls for ${process.arch}`] : []),
      ]
      this.#guard = new Guard([...work.guarded, ...git.guarded, ...options.policyFiles])
      this.#profileFiles = options.profile.files(home, this.workingFolder)
      this.#cleanups = cleanups
      writeFileSync(this.#emptyFile, '', { mode: 0o444 })
    } catch (error) {
      for (const cleanup of cleanups.reverse()) cleanup()
      throw error
    }
  }

  command(stays: boolean): ReturnType<Enclosure['command']> {
    const args = bubblewrapArguments(
      {
        mounts: this.mounts,
        workingFolder: this.workingFolder,
        emptyFile: this.#emptyFile,
        seccomp: this.#seccomp !== undefined,
      },
      { stays },
    )
    const feed = new Map<4 | 5, Buffer>([[4, Buffer.from(args.map(word => `${word}\0`).join(''))]])
    if (this.#seccomp !== undefined) feed.set(5, this.#seccomp)
    return { args: ['--args', '4', '--'], feed }
  }

  /** Whether what lies there outside lies there for the child too. */
  sees(place: string): boolean {
    return isVisible(this.mounts, place) && isVisible(this.mounts, realOrSelf(place))
  }

  /** Everything that the child needs is there and every tunnel is open: the helper inside may end. */
  finish(): void {
    for (const { path: place, content } of this.#profileFiles) this.carryIn.write(place, content)
    this.carryIn.finish()
  }

  /** What was protected and is not as it was: someone outside changed it, or the child found a way. */
  changed(): readonly string[] {
    return this.#guard.changed()
  }

  /** After the child has ended. */
  remove(): void {
    for (const cleanup of this.#cleanups) cleanup()
  }

  get #emptyFile(): string {
    return path.join(this.#scratch, 'empty')
  }

  #hooks({ hook, profile }: ConfinementOptions): readonly Mount[] {
    if (hook === null || profile.managed === undefined) return []
    const [node, asked, ...words] = hook
    // The way to it may lead through a link that is not there inside.
    const file = realOrSelf(asked)
    const managed = profile.managed([node, file, ...words])
    const source = path.join(this.#scratch, 'managed')
    writeFileSync(source, managed.content, { mode: 0o444 })
    // Read-only wherever it lies, the working folder included.
    return [...addedFile(managed.path, source), { kind: 'read-only', path: path.dirname(file) }]
  }

  #held(place: string, roots: readonly string[]): readonly Mount[] {
    return roots.flatMap(root => heldInPlace(place, root))
  }

  #copy(place: string, index: number): Mount {
    const copy = path.join(this.#scratch, `git-config-${index}`)
    writeFileSync(copy, withoutSecrets(readFileSync(place, 'utf8')), { mode: 0o444 })
    return { kind: 'read-only', path: place, source: copy }
  }
}

export const unconfinedHint = 'say --unconfined to run it without walls; the record will say so'

function openedPlace(place: string, home: string, own: readonly string[]): string {
  const real = allowedPlace(place, home, own)
  if (!existsSync(real)) throw new AgentgateError('USAGE', `there is no ${place}`, { exitCode: 125 })
  return real
}

function allowedPlace(place: string, home: string, own: readonly string[]): string {
  const real = realOrSelf(path.resolve(place))
  if (own.some(folder => within(real, folder)) || within(home, real))
    throw new AgentgateError('USAGE', `${place} cannot be opened to a child: it holds more than one project`, {
      hint: 'name the file or folder that it needs',
      exitCode: 125,
    })
  return real
}

function readOnly(places: readonly string[]): readonly Mount[] {
  return places.map(place => ({ kind: 'read-only', path: place }))
}

/** Whether what lies at `place` outside is what lies there inside. */
export function isVisible(mounts: readonly Mount[], place: string): boolean {
  let visible = false
  for (const mount of mounts)
    if (mount.kind !== 'sealed' && within(place, mount.path))
      visible = mount.kind === 'read-only' || mount.kind === 'writable' || mount.kind === 'processes'
  return visible
}

/** A folder for one child; those that dead processes left are removed. */
function makeScratch(root: string): string {
  for (const name of readdirSync(root)) {
    const pid = new RegExp(`^${scratchPrefix}(\\d+)_`).exec(name)?.[1]
    if (pid !== undefined && !runs(Number(pid))) rmSync(path.join(root, name), { recursive: true, force: true })
  }
  return mkdtempSync(path.join(root, `${scratchPrefix}${process.pid}_`))
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !hasErrno(error, 'ESRCH')
  }
}

function realOrSelf(place: string): string {
  try {
    return realpathSync(place)
  } catch {
    return place
  }
}
