import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Paths, type Environment } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { Secret } from '../secret.ts'
import { Commands, type RunningCommand } from './commands.ts'
import { demoPolicy } from './demo-policy.ts'
import { IdentityProvider } from './identity-provider.ts'
import { startPostgres, type PostgresServer } from './postgres-server.ts'
import { shopSql } from './shop.sql.ts'
import { SqlClient } from './sql-client.ts'

/** Whose machine a command is run on: the broker's, or one of two people's. */
export type Whose = 'broker' | 'maria' | 'jonas'

export interface StageOptions {
  /** What agentgate is started as: node and the bundle. */
  readonly program: readonly [string, ...string[]]
  readonly env: Environment
  readonly onProgress: (doing: string) => void
  readonly signal: AbortSignal
}

/**
 * What the demo plays on: a PostgreSQL, an OpenID provider and a broker of its own, and a state folder for each of those who
 * take part. All of it is in one folder, gone when it is disposed of, or killed.
 */
export class Stage implements AsyncDisposable {
  readonly folder: string
  readonly commands: Commands
  readonly #options: StageOptions
  #server: PostgresServer | undefined
  #provider: IdentityProvider | undefined
  #direct: SqlClient | undefined

  constructor(options: StageOptions) {
    this.#options = options
    this.folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-demo-'))
    chmodSync(this.folder, 0o700)
    this.commands = new Commands(options.program, this.folder)
  }

  get policy(): string {
    return path.join(this.folder, 'agentgate.yaml')
  }

  get provider(): IdentityProvider {
    if (this.#provider === undefined) throw notYet()
    return this.#provider
  }

  /** At the server as its superuser, past agentgate. */
  get direct(): SqlClient {
    if (this.#direct === undefined) throw notYet()
    return this.#direct
  }

  home(whose: Whose): string {
    return path.join(this.folder, whose)
  }

  /** What a command of theirs runs with: nothing of agentgate's that the person has set for themselves. */
  env(whose: Whose): Record<string, string | undefined> {
    const own = Object.entries(this.#options.env).filter(([name]) => !name.startsWith('AGENTGATE_'))
    return { ...Object.fromEntries(own), ...this.#variables(whose) }
  }

  /** A file to type the name of: agentgate as one of them. */
  script(whose: Whose): string {
    return path.join(this.folder, `as-${whose}`)
  }

  async open(): Promise<void> {
    const { onProgress, signal } = this.#options
    for (const whose of ['broker', 'maria', 'jonas'] as const) this.#makeHome(whose)
    onProgress('starting a PostgreSQL and an identity provider of its own')
    const [server, provider] = await Promise.allSettled([
      startPostgres({
        binaries: 'embedded',
        folder: path.join(os.tmpdir(), `agentgate-servers-${process.getuid?.() ?? 0}`),
        removeWith: [this.folder],
      }),
      IdentityProvider.start(),
    ])
    if (provider.status === 'fulfilled') this.#provider = provider.value
    if (server.status === 'rejected') throw server.reason
    this.#server = server.value
    if (provider.status === 'rejected') throw provider.reason
    signal.throwIfAborted()
    onProgress('filling the shop')
    await this.#fill(server.value)
    signal.throwIfAborted()
    onProgress('starting a broker')
    await this.#startBroker(server.value)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#direct?.close()
    await this.commands[Symbol.asyncDispose]()
    await this.#provider?.[Symbol.asyncDispose]()
    await this.#server?.stop()
    // Where the way to the folder is too long for a socket, they are elsewhere.
    for (const whose of ['broker', 'maria', 'jonas'] as const)
      rmSync(new Paths({ AGENTGATE_HOME: this.home(whose) }).runtimeRoot(), { recursive: true, force: true })
    rmSync(this.folder, { recursive: true, force: true })
  }

  #variables(whose: Whose): Record<string, string> {
    const own = { AGENTGATE_HOME: this.home(whose), AGENTGATE_KEYCHAIN: 'off' }
    if (whose === 'broker') return own
    return { ...own, AGENTGATE_BROKER: `unix:${new Paths({ AGENTGATE_HOME: this.home('broker') }).brokerSocket()}` }
  }

  #makeHome(whose: Whose): void {
    mkdirSync(this.home(whose), { mode: 0o700 })
    const variables = Object.entries(this.#variables(whose)).map(([name, value]) => `${name}=${quote(value)}`)
    const program = this.#options.program.map(quote)
    writeFileSync(this.script(whose), `#!/bin/sh\nexport ${variables.join(' ')}\nexec ${program.join(' ')} "$@"\n`, {
      mode: 0o700,
    })
  }

  async #fill(server: PostgresServer): Promise<void> {
    const superuser = await SqlClient.connect(server.url)
    try {
      await superuser.query('create database shop')
    } finally {
      superuser.close()
    }
    this.#direct = await SqlClient.connect(new Secret(server.url.reveal().replace(/\/postgres$/, '/shop')))
    const { error } = await this.#direct.query(shopSql())
    if (error !== null)
      throw new AgentgateError('INTERNAL', `the demo's own set-up failed: ${error.get('M') ?? 'no reason given'}`)
  }

  async #startBroker(server: PostgresServer): Promise<void> {
    writeFileSync(this.policy, demoPolicy(`127.0.0.1:${server.port}`, this.provider.issuer), { mode: 0o600 })
    // It is the demo's own file, just written: trusted by its digest, as CI does it.
    const { stdout } = await this.commands.run(['policy', 'digest', '--policy', this.policy], this.env('broker'))
    const digest = /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? ''
    const broker: RunningCommand = this.commands.start(
      ['broker', '--json', '--policy', this.policy, '--policy-digest', digest],
      { ...this.env('broker'), DEMO_ADMIN_URL: server.url.reveal() },
    )
    await broker.event(event => (event['event'] === 'ready' ? true : undefined), this.#options.signal)
  }
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

function notYet(): AgentgateError {
  return new AgentgateError('INTERNAL', 'the demo has not begun yet')
}
