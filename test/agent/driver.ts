// A program that starts a child the way `agentgate exec` does, without tunnels: what the tests here run, at a terminal and
// without one, as root and as a plain user. Its one argument is a DriverPlan as JSON.
import { existsSync, mkdirSync } from 'node:fs'
import os from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from '../../src/agent/child.ts'
import { Confinement } from '../../src/agent/confinement/confinement.ts'
import { childEnvironment } from '../../src/agent/environment.ts'
import { closeInheritedDescriptors } from '../../src/agent/inherited-descriptors.ts'
import { profileFor } from '../../src/agent/profile.ts'
import { AgentgateError } from '../../src/errors.ts'
import { serveEgress, type EgressPlan } from './egress-inside.ts'

export interface DriverPlan {
  readonly command: readonly [string, ...string[]]
  /** End the child by force once this text was shown on its terminal, or this file is there. */
  readonly endAfter?: { readonly shown?: string; readonly file?: string; readonly graceMs: number }
  /** Confined, with state in this folder, and an echo server carried in on this port and path. */
  readonly confined?: {
    readonly state: string
    readonly policyFiles?: readonly string[]
    readonly secretFiles?: readonly string[]
    /** Stands for where agentgate is installed. */
    readonly program?: string
    readonly readable?: readonly string[]
    readonly writable?: readonly string[]
    readonly port?: number
    readonly socket?: string
    /** An egress proxy, carried in. */
    readonly egress?: EgressPlan
  }
}

closeInheritedDescriptors()
const plan = JSON.parse(process.argv[2] ?? '{}') as DriverPlan
const mark = `AGENTGATE_SESSION=driver-${process.pid}`

function confine(): Confinement | null {
  const wanted = plan.confined
  if (wanted === undefined) return null
  mkdirSync(wanted.state, { recursive: true, mode: 0o700 })
  return Confinement.prepare({
    workingFolder: process.cwd(),
    home: process.env['HOME'] ?? os.homedir(),
    env: process.env,
    agentgateFolders: [wanted.state],
    scratchRoot: wanted.state,
    policyFiles: wanted.policyFiles ?? [],
    secretFiles: wanted.secretFiles ?? [],
    readable: wanted.readable ?? [],
    writable: wanted.writable ?? [],
    policyReadable: [],
    policyWritable: [],
    profile: profileFor(undefined, plan.command[0]),
    hook: null,
    program: wanted.program ?? process.argv[1] ?? '',
  })
}

async function run(): Promise<number> {
  const confinement = confine()
  const workingFolder = confinement?.workingFolder ?? process.cwd()
  let shown = ''
  const child = Child.start({
    file: plan.command[0],
    args: plan.command.slice(1),
    environment: childEnvironment({ parent: process.env, pass: [], workingFolder }),
    workingFolder,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    enclosure: confinement,
    helper: confinement?.carryIn ?? null,
    onTerminal: (_, bytes) => {
      shown += bytes.toString('latin1')
      if (plan.endAfter?.shown !== undefined && shown.includes(plan.endAfter.shown))
        void child.end(plan.endAfter.graceMs)
    },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)
    process.on(signal, () => child.signal(signal))
  const environment = [mark, 'TUNNEL=open']
  let close: () => Promise<void> = () => Promise.resolve()
  if (confinement !== null) {
    const { port, socket, egress } = plan.confined ?? {}
    const wanted = port ?? egress?.port
    const opening =
      wanted === undefined
        ? Promise.resolve(undefined)
        : confinement.carryIn.open({
            port: { wanted, fixed: true },
            unixSocket: socket ?? null,
            maxConnections: 10,
            onConnection: egress === undefined ? client => client.pipe(client) : serveEgress(egress),
          })
    // A confinement that does not come up ends the child, which says why.
    const listener = await opening.catch((error: unknown) => {
      if (error instanceof AgentgateError) return undefined
      throw error
    })
    if (listener !== undefined) close = async () => await listener.close()
    confinement.finish()
    for (const warning of confinement.warnings) process.stderr.write(`warning: ${warning}\n`)
  }
  child.release(environment, mark)
  const { file, graceMs } = plan.endAfter ?? { graceMs: 0 }
  if (file !== undefined) {
    while (!existsSync(file)) await sleep(5)
    void child.end(graceMs)
  }
  const { code, failure } = await child.finished
  await close()
  const changed = confinement?.changed() ?? []
  if (changed.length > 0) process.stderr.write(`changed: ${changed.join(' ')}\n`)
  confinement?.remove()
  if (failure !== undefined) throw failure
  return code
}

try {
  process.exitCode = await run()
} catch (error) {
  if (!(error instanceof AgentgateError)) throw error
  process.stderr.write(`error: ${error.code}: ${error.message}\n`)
  process.exitCode = error.exitCode
}
