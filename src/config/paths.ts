import { createHash } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'
import type { SessionId } from '../ids.ts'
import { privateFolder } from './private-file.ts'

/** `sun_path` holds 104 bytes on macOS and 108 on Linux, the ending zero included. */
const maxSocketPathBytes = 103
/** A session's id and the longest socket name in its folder (`.s.PGSQL.65535.lock`), with their slashes. */
const socketTailBytes = 40

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Where agentgate keeps things, all under `AGENTGATE_HOME` where that is set, else in the XDG folders (XDG Base Directory
 * Specification 0.8). Folders are made when asked for, 0700, and refused where another user could write to them.
 */
export class Paths {
  readonly #config: string
  readonly #state: string
  readonly #data: string
  readonly #runtime: string

  constructor(env: Environment) {
    const home = env['AGENTGATE_HOME']
    if (home !== undefined && home !== '') {
      const root = path.resolve(home)
      this.#config = path.join(root, 'config')
      this.#state = path.join(root, 'state')
      this.#data = path.join(root, 'data')
      this.#runtime = path.join(root, 'run')
      return
    }
    const user = env['HOME'] ?? os.homedir()
    // The specification has relative values ignored.
    const xdg = (name: string, fallback: string) => {
      const value = env[name]
      return path.join(value !== undefined && path.isAbsolute(value) ? value : path.join(user, fallback), 'agentgate')
    }
    this.#config = xdg('XDG_CONFIG_HOME', '.config')
    this.#state = xdg('XDG_STATE_HOME', '.local/state')
    this.#data = xdg('XDG_DATA_HOME', '.local/share')
    this.#runtime = xdg('XDG_RUNTIME_DIR', '.local/state/agentgate/run')
  }

  configDir(): string {
    return privateFolder(this.#config)
  }

  stateDir(): string {
    return privateFolder(this.#state)
  }

  recordingsDir(): string {
    privateFolder(this.#data)
    return privateFolder(path.join(this.#data, 'recordings'))
  }

  /** Audit events on their way to their receivers. */
  auditDir(): string {
    privateFolder(this.#data)
    return privateFolder(path.join(this.#data, 'audit'))
  }

  /** The folder with one folder per live session. Short enough for sockets: long homes get one in /tmp. */
  runtimeRoot(): string {
    if (Buffer.byteLength(this.#runtime) + socketTailBytes <= maxSocketPathBytes) return privateFolder(this.#runtime)
    const mine = privateFolder(`/tmp/agentgate-${process.getuid?.() ?? 0}`, { strict: true })
    // Two homes of one user stay apart.
    const home = createHash('sha256').update(this.#runtime).digest('hex').slice(0, 8)
    return privateFolder(path.join(mine, home), { strict: true })
  }

  /** A session's own folder for its sockets, made if need be. Whoever ends the session removes it. */
  runtimeDir(session: SessionId): string {
    return privateFolder(path.join(this.runtimeRoot(), session), { strict: true })
  }

  get trustFile(): string {
    return path.join(this.#state, 'trust.json')
  }

  get approverKeyFile(): string {
    return path.join(this.#state, 'approver-key.json')
  }

  /** Who has logged in where; tokens only where there is no keychain. */
  get loginsFile(): string {
    return path.join(this.#state, 'logins.json')
  }

  /** Which brokers this user has logged in to. */
  get brokersFile(): string {
    return path.join(this.#state, 'brokers.json')
  }

  /** Public keys of brokers that have granted sessions. */
  get witnessKeysFile(): string {
    return path.join(this.#state, 'witness-keys.json')
  }

  get identityKeysFile(): string {
    return path.join(this.#state, 'identity-keys.json')
  }

  /** The broker's store: SQLite. */
  brokerStoreFile(): string {
    return path.join(privateFolder(this.#data), 'broker.db')
  }

  /** The same for the broker that starts by itself. */
  ownBrokerStoreFile(): string {
    return path.join(privateFolder(this.#data), 'own-broker.db')
  }

  /** Of the broker that starts by itself: session.sock tells and takes questions, control.sock also administers. */
  ownBrokerSockets(): { readonly session: string; readonly control: string } {
    const folder = privateFolder(path.join(this.runtimeRoot(), 'broker'), { strict: true })
    return { session: path.join(folder, 'session.sock'), control: path.join(folder, 'control.sock') }
  }

  /** The socket by which this user's own broker is administered. */
  brokerSocket(): string {
    return path.join(this.runtimeRoot(), 'broker.sock')
  }

  /** A broker's policy as it was last given to this user. */
  brokerPolicyDir(broker: string): string {
    const name = createHash('sha256').update(broker).digest('hex').slice(0, 16)
    return privateFolder(path.join(privateFolder(path.join(this.#state, 'brokers')), name))
  }

  get portsFile(): string {
    return path.join(this.#state, 'ports.json')
  }

  get clientSecretsFile(): string {
    return path.join(this.#state, 'client-secrets.json')
  }
}
