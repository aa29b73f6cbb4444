import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../../errors.ts'
import type { Profile } from '../profile.ts'
import { gitFolderMounts } from './git-folder.ts'
import { withoutSecrets } from './git-config.ts'
import { Guard } from './guard.ts'
import { homeMounts, secretPlaces } from './home.ts'
import { within, type Mount } from './mount.ts'
import { programWarnings, resolveOpened, type Opened } from './opened.ts'
import { realOrSelf } from './real-path.ts'
import { makeScratch } from './scratch.ts'
import { seatbeltProfile } from './seatbelt-profile.ts'
import { unconfinedHint, type Walls, type WallsOptions } from './walls.ts'
import { protectedNames, workingFolderMounts } from './working-folder.ts'

/** Part of macOS, deprecated by Apple and used by everyone who confines programs there. */
const sandboxExec = '/usr/bin/sandbox-exec'

const system = [
  ...['/bin', '/sbin', '/usr', '/System', '/opt', '/nix', '/Applications', '/Library/Apple', '/Library/Developer'],
  ...['/Library/Frameworks', '/Library/Java', '/Library/Perl', '/Library/Python', '/Library/Ruby', '/Library/Fonts'],
  ...['/private/etc', '/private/var/db/timezone', '/private/var/select', '/private/var/db/xcode_select_link'],
]
const systemSecrets = [
  ...['/private/etc/master.passwd', '/private/etc/sudoers', '/private/etc/sudoers.d', '/private/etc/ssh'],
  ...['/private/etc/krb5.keytab', '/private/etc/openvpn', '/private/etc/wireguard', '/private/etc/agentgate'],
]

/**
 * A child's walls on macOS: a profile for sandbox-exec. Experimental: never tried on a Mac. There are no namespaces: the
 * tunnels are on the machine's loopback, other processes can be seen, and a daemon can outlive its session.
 */
export class Seatbelt implements Walls {
  readonly workingFolder: string
  readonly warnings: readonly string[]
  readonly holds = 'network, files (experimental)'
  readonly asksForTools = false
  readonly enclosure = null
  readonly helper = null
  readonly place = null
  readonly environment: Readonly<Record<string, string>>
  readonly #sandboxExec: string
  readonly #scratch: string
  readonly #mounts: readonly Mount[]
  readonly #unchangeable: readonly string[]
  readonly #guard: Guard
  readonly #profileFiles: ReturnType<Profile['files']>
  readonly #home: string

  /** @throws AgentgateError UNCONFINED, NOT_STARTED: nothing is left behind */
  static prepare(options: WallsOptions, program = sandboxExec): Seatbelt {
    if (!existsSync(program))
      throw new AgentgateError('UNCONFINED', `there is no ${program}, and nothing else can confine the child`, {
        hint: unconfinedHint,
      })
    return new Seatbelt(program, options)
  }

  private constructor(program: string, options: WallsOptions) {
    this.#sandboxExec = program
    const places = resolveOpened(options)
    const { home, own, opened, workingFolder } = places
    this.workingFolder = workingFolder
    this.#home = home
    for (const folder of own) mkdirSync(folder, { recursive: true, mode: 0o700 })
    const git = gitFolderMounts(workingFolder, home, opened)
    const work = workingFolderMounts({ folder: workingFolder, opened })
    const configurations = git.configurations.map((place): Mount => ({
      kind: keepsSecrets(place) ? 'hidden-file' : 'read-only',
      path: place,
    }))
    this.#scratch = makeScratch(options.scratchRoot)
    try {
      for (const name of ['home', 'tmp']) mkdirSync(path.join(this.#scratch, name), { mode: 0o700 })
      const secrets = [
        ...systemSecrets,
        ...work.secrets,
        ...options.secretFiles.map(realOrSelf),
        ...secretPlaces.map(name => path.join(home, name)),
      ].filter(place => !opened.has(place))
      this.#mounts = [
        ...readOnly(system),
        ...homeMounts(home).mounts,
        ...readOnly(options.profile.shown.map(name => path.join(home, name)).filter(existsSync)),
        ...readOnly(places.readable),
        ...work.mounts,
        ...git.mounts,
        ...configurations,
        ...places.writable.map((place): Mount => ({ kind: 'writable', path: place })),
        ...readOnly([realOrSelf(process.execPath)]),
        ...[...secrets, ...own].map((place): Mount => ({ kind: 'hidden-folder', path: place })),
        ...['home', 'tmp'].map((name): Mount => ({ kind: 'writable', path: path.join(this.#scratch, name) })),
      ]
      this.#unchangeable = unchangeable(places, options, git.placeholders)
      this.#guard = new Guard([...work.guarded, ...git.guarded, ...options.policyFiles])
      const hidden = configurations.filter(({ kind }) => kind === 'hidden-file')
      this.warnings = [
        'confinement on macOS is experimental',
        ...work.warnings,
        ...programWarnings(places),
        ...hidden.map(({ path: place }) => `${place} holds a secret and is hidden, so git does not work inside`),
      ]
      this.#profileFiles = options.profile.files(path.join(this.#scratch, 'home'), workingFolder)
      this.environment = { HOME: path.join(this.#scratch, 'home'), TMPDIR: path.join(this.#scratch, 'tmp') }
      // Said before anything runs, where a path cannot be written down.
      seatbeltProfile({ mounts: this.#mounts, unchangeable: this.#unchangeable, ports: [] })
    } catch (error) {
      this.remove()
      throw error
    }
  }

  command(file: string, args: readonly string[]): readonly [string, ...string[]] {
    return [this.#sandboxExec, '-f', this.#profile, file, ...args]
  }

  sees(place: string): boolean {
    // What is hidden of the system is not where programs are.
    return !within(place, this.#home) || this.#mounts.some(mount => shows(mount, place))
  }

  finish(ports: readonly number[]): void {
    const { mounts, unchangeable } = { mounts: this.#mounts, unchangeable: this.#unchangeable }
    for (const { path: place, content } of this.#profileFiles) {
      mkdirSync(path.dirname(place), { recursive: true, mode: 0o700 })
      writeFileSync(place, content, { mode: 0o600 })
    }
    writeFileSync(this.#profile, seatbeltProfile({ mounts, unchangeable, ports }), { mode: 0o400 })
  }

  changed(): readonly string[] {
    return this.#guard.changed()
  }

  remove(): void {
    rmSync(this.#scratch, { recursive: true, force: true })
  }

  get #profile(): string {
    return path.join(this.#scratch, 'profile.sb')
  }
}

/** A profile rule holds for what is not there yet, too: no placeholders are made. */
function unchangeable(
  { workingFolder, opened, own, program, roots }: Opened,
  { policyFiles }: WallsOptions,
  placeholders: readonly { readonly folder: string; readonly name: string }[],
): readonly string[] {
  const places = [
    ...protectedNames.map(name => path.join(workingFolder, name)),
    ...placeholders.map(({ folder, name }) => path.join(folder, name)),
    ...policyFiles.map(realOrSelf),
    ...own,
    ...program,
  ]
  return places.filter(place => !opened.has(place) && roots.some(root => place !== root && within(place, root)))
}

function shows(mount: Mount, place: string): boolean {
  return (mount.kind === 'read-only' || mount.kind === 'writable') && within(place, mount.path)
}

function readOnly(places: readonly string[]): readonly Mount[] {
  return places.map(place => ({ kind: 'read-only', path: place }))
}

function keepsSecrets(place: string): boolean {
  const text = readFileSync(place, 'utf8')
  return withoutSecrets(text) !== text
}
