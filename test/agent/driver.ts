// A program that starts a child the way `agentgate exec` does, without tunnels: what the tests here run, at a terminal and
// without one, as root and as a plain user. Its one argument is a DriverPlan as JSON.
import { Child } from '../../src/agent/child.ts'
import { childEnvironment } from '../../src/agent/environment.ts'
import { closeInheritedDescriptors } from '../../src/agent/inherited-descriptors.ts'

closeInheritedDescriptors()

export interface DriverPlan {
  readonly command: readonly [string, ...string[]]
  /** End the child by force after so many milliseconds once this text was shown on its terminal (or at once: ''). */
  readonly endAfter?: { readonly shown: string; readonly graceMs: number }
}

const plan = JSON.parse(process.argv[2] ?? '{}') as DriverPlan
const mark = `AGENTGATE_SESSION=driver-${process.pid}`
let shown = ''
const child = Child.start({
  file: plan.command[0],
  args: plan.command.slice(1),
  environment: childEnvironment({ parent: process.env, pass: [], workingFolder: process.cwd() }),
  workingFolder: process.cwd(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  enclosure: null,
  helper: null,
  mark,
  onTerminal: (_, bytes) => {
    shown += bytes.toString('latin1')
    if (plan.endAfter !== undefined && shown.includes(plan.endAfter.shown)) void child.end(plan.endAfter.graceMs)
  },
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => child.signal(signal))
child.release([mark, 'TUNNEL=open'])
if (plan.endAfter?.shown === '') setTimeout(() => void child.end(plan.endAfter?.graceMs ?? 0), 300)
const { code, failure } = await child.finished
if (failure !== undefined) process.stderr.write(`error: ${failure.code}: ${failure.message}\n`)
process.exitCode = code
