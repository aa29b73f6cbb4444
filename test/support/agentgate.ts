import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { newFolder } from './folder.ts'
import { app, type TestServer } from './servers.ts'
import { runProgram, startProgram, until, type Finished, type Running, type RunOptions } from './processes.ts'

export const root = path.join(import.meta.dirname, '..', '..')
export const agentgateBin = path.join(root, 'bin', 'agentgate')

/** One line of `--json`. */
export interface Event {
  readonly event: string
  readonly [key: string]: unknown
}

/** A home and a policy of their own, to run agentgate in. */
export class Place {
  readonly folder = newFolder('place')
  readonly home = path.join(this.folder, 'home')
  readonly policy = path.join(this.folder, 'agentgate.yaml')
  readonly env: Record<string, string>

  constructor(policy: string, env: Readonly<Record<string, string>> = {}) {
    if (!existsSync(path.join(root, 'dist', 'agentgate.js'))) throw new Error('no bundle: run npm run build first')
    mkdirSync(this.home, { mode: 0o700 })
    writeFileSync(this.policy, policy)
    this.env = {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      LANG: 'C.UTF-8',
      HOME: this.folder,
      AGENTGATE_HOME: this.home,
      AGENTGATE_BROKER: 'none', // what starts by itself would stay after the test
      ...env,
    }
  }

  /** Runs one command to its end. */
  async run(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return await runProgram(agentgateBin, args, { cwd: this.folder, ...options, env: { ...this.env, ...options.env } })
  }

  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
    return startProgram(agentgateBin, args, { cwd: this.folder, env: { ...this.env, ...env } })
  }

  /** `--policy PATH --policy-digest sha256:…` for the policy as it is now. */
  async trusted(): Promise<readonly string[]> {
    const digest = await this.run(['policy', 'digest', '--policy', this.policy])
    const found = /sha256:[0-9a-f]{64}/.exec(digest.stdout)
    if (digest.code !== 0 || found === null) throw new Error(`no digest: ${digest.stdout}${digest.stderr}`)
    return ['--policy', this.policy, '--policy-digest', found[0]]
  }

  /** `agentgate connect --json`, once every listener accepts. */
  async connect(resources: readonly string[] = ['shop'], more: readonly string[] = []): Promise<Tunnels> {
    const running = this.start(['connect', ...resources, '--json', ...(await this.trusted()), ...more])
    return await Tunnels.ready(running)
  }
}

export interface OpenTunnel {
  readonly resource: string
  readonly address: string
  readonly url: string
  readonly env: Readonly<Record<string, string>>
}

/** A running `connect --json`. */
export class Tunnels {
  readonly running: Running
  readonly session: string
  readonly tunnels: readonly OpenTunnel[]

  private constructor(running: Running, ready: Event) {
    this.running = running
    this.session = ready['session'] as string
    this.tunnels = ready['tunnels'] as OpenTunnel[]
  }

  static async ready(running: Running): Promise<Tunnels> {
    await running.said(/"event":"ready".*\n/)
    const ready = eventsOf(running).find(event => event.event === 'ready')
    if (ready === undefined) throw new Error('no ready event')
    return new Tunnels(running, ready)
  }

  get events(): readonly Event[] {
    return eventsOf(this.running)
  }

  get tunnel(): OpenTunnel {
    const [first] = this.tunnels
    if (first === undefined) throw new Error('no tunnel')
    return first
  }

  /** Waits for an event, among those that have come too. */
  async event(name: string, holds: (event: Event) => boolean = () => true, deadlineMs = 20_000): Promise<Event> {
    let found: Event | undefined
    await until(
      `the event ${name}`,
      () => {
        found = this.events.find(event => event.event === name && holds(event))
        return found !== undefined
      },
      deadlineMs,
    )
    return found as Event
  }

  /** As Ctrl-C would. */
  async close(): Promise<Finished> {
    if (this.running.child.exitCode === null) this.running.child.kill('SIGINT')
    return await this.running.finished()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function eventsOf(running: Running): Event[] {
  const whole = running.stdout().slice(0, running.stdout().lastIndexOf('\n') + 1)
  return whole
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as Event)
}

/** A policy for the shop on `server`: no rules but `rules`, nothing masked but `masks`. */
export function shopPolicy(
  server: Pick<TestServer, 'address'>,
  parts: { readonly rules?: string; readonly masks?: string; readonly resource?: string } = {},
): string {
  return `version: 1
resources:
  shop:
    kind: postgres
    address: ${server.address}
    database: ${app.database}
    tls: off
    credential: { issuer: static, user: ${app.user}, secret: "\${env:SHOP_PASSWORD}" }
    scopes: { all: {} }
${indent(parts.resource ?? '', 4)}${parts.rules === undefined ? '' : `rules:\n${indent(parts.rules, 2)}`}${parts.masks === undefined ? '' : `masks:\n${indent(parts.masks, 2)}`}`
}

/** What \${env:…} in `shopPolicy` asks for. */
export const shopEnvironment = { SHOP_PASSWORD: app.password } as const

function indent(text: string, spaces: number): string {
  return text
    .split('\n')
    .filter(line => line.trim() !== '')
    .map(line => `${' '.repeat(spaces)}${line}\n`)
    .join('')
}
