import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../../errors.ts'
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
import { programWarnings, resolveOpened } from './opened.ts'
import { realOrSelf } from './real-path.ts'
import { makeScratch } from './scratch.ts'
import { seccompProgram } from './seccomp.ts'
import { unconfinedHint, type Walls, type WallsOptions } from './walls.ts'
import { heldInPlace, makePlaceholders, workingFolderMounts } from './working-folder.ts'

/**
 * A child's walls, made with bubblewrap: namespaces for network, processes, IPC, mounts, host name, users and cgroups; no
 * capabilities, no new privileges, a filter of system calls; a file system with nothing in it that opens anything.
 */
export class Confinement implements Walls, Enclosure {
  readonly file: string
  readonly workingFolder: string
  readonly holds = 'network, files, processes'
  readonly environment = {}
  readonly carryIn = new CarryIn()
  readonly helper = this.carryIn
  readonly enclosure = this
  readonly place = { open: this.carryIn.open, socketFolder: '/run/agentgate' }
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
  static prepare(options: WallsOptions): Confinement {
    const file = findBubblewrap(options.env)
    if (file === undefined)
      throw new AgentgateError('UNCONFINED', 'bubblewrap is not installed, and nothing else can confine the child', {
        hint: `install it (apt-get install bubblewrap, dnf install bubblewrap), or ${unconfinedHint}`,
      })
    return new Confinement(file, options)
  }

  private constructor(file: string, options: WallsOptions) {
    this.file = file
    this.#seccomp = seccompProgram()
    const places = resolveOpened(options)
    const { home, own, readable, writable, opened, roots } = places
    this.workingFolder = places.workingFolder
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
      const shown: Mount[] = [
        ...systemMounts(),
        ...inHome.mounts,
        ...readOnly(profileShown),
        ...readOnly(readable.filter(place => existsSync(place))),
        ...work.mounts,
        ...git.mounts,
        ...commondirs,
        ...writable.filter(place => existsSync(place)).map((place): Mount => ({ kind: 'writable', path: place })),
        ...[...options.policyFiles, ...own, ...places.program].flatMap(place => this.#held(place, roots)),
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
        ...programWarnings(places),
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

  wrapping(stays: boolean): ReturnType<Enclosure['wrapping']> {
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

  command(file: string, args: readonly string[]): readonly [string, ...string[]] {
    return [file, ...args]
  }

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

  #hooks({ hook, profile }: WallsOptions): readonly Mount[] {
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
