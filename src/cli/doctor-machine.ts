import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { tryConfinement } from '../agent/confinement/trial.ts'
import { PseudoTerminal } from '../agent/pseudo-terminal.ts'
import { Paths, type Environment } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { embeddedFolder, systemBinaries } from '../demo/postgres-binaries.ts'
import { failed, type Finding } from './doctor-finding.ts'
import { version } from './version.ts'

/** package.json, engines; a test holds them equal. */
export const oldestNode = [20, 19] as const

/** What of this machine agentgate needs, and how it stands. */
export async function* machineFindings(env: Environment): AsyncGenerator<Finding> {
  yield node(process.versions.node)
  yield await confinement(env)
  const scope = setting('kernel/yama/ptrace_scope')
  if (scope === '0')
    yield {
      check: 'ptrace',
      state: 'warn',
      text: 'ptrace_scope 0: a process of yours can read another’s memory',
      hint: 'sysctl kernel.yama.ptrace_scope=1',
    }
  else if (scope !== undefined) yield { check: 'ptrace', state: 'ok', text: `ptrace_scope ${scope}` }
  yield pseudoTerminal()
  yield demoServer()
  yield* stateFolders(env)
}

export function node(running: string): Finding {
  const [major = 0, minor = 0] = running.split('.').map(Number)
  const text = `node ${running}, agentgate ${version}`
  const old = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])
  return old
    ? { check: 'node', state: 'fail', text, hint: `install node ${oldestNode.join('.')} or newer` }
    : { check: 'node', state: 'ok', text }
}

async function confinement(env: Environment): Promise<Finding> {
  const check = 'confinement'
  if (process.platform === 'darwin')
    return {
      check,
      state: 'warn',
      text: 'confinement: by sandbox-exec, which is experimental: never tried on a Mac',
      hint: 'run agents on Linux where it matters; docs/exec.md says what does not hold',
    }
  if (process.platform !== 'linux')
    return {
      check,
      state: 'warn',
      text: `confinement: there is none on ${process.platform}, so exec refuses`,
      hint: 'run agents on Linux, or say --unconfined',
    }
  const trial = await tryConfinement(env)
  switch (trial.kind) {
    case 'missing':
      return {
        check,
        state: 'warn',
        text: 'confinement: bubblewrap is not installed, so exec refuses',
        hint: 'apt-get install bubblewrap',
      }
    case 'fails':
      return {
        check,
        state: 'warn',
        text: `confinement: ${trial.file} does not work (${trial.why}), so exec refuses`,
        hint: userNamespaceHint(),
      }
    case 'works': {
      const text = `confinement: bubblewrap ${trial.version}, namespaces and filter tried`
      return trial.lacks.length === 0
        ? { check, state: 'ok', text }
        : {
            check,
            state: 'warn',
            text: `confinement: bubblewrap ${trial.version}, but without ${trial.lacks.join(' and ')}`,
            hint: userNamespaceHint(),
          }
    }
    default:
      return trial satisfies never
  }
}

/** Why a kernel lets nobody but root make namespaces, as distributions have it. */
function userNamespaceHint(): string {
  if (setting('kernel/unprivileged_userns_clone') === '0') return 'sysctl kernel.unprivileged_userns_clone=1'
  if (setting('user/max_user_namespaces') === '0') return 'sysctl user.max_user_namespaces=15000'
  if (setting('kernel/apparmor_restrict_unprivileged_userns') === '1')
    return 'give bwrap an AppArmor profile, or: sysctl kernel.apparmor_restrict_unprivileged_userns=0'
  return 'in a container: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined …'
}

function setting(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim()
  } catch {
    return undefined // this kernel has no such setting
  }
}

function pseudoTerminal(): Finding {
  try {
    const terminal = PseudoTerminal.open({ columns: 80, rows: 24 })
    terminal.releaseSlave()
    terminal.close()
    return { check: 'terminal', state: 'ok', text: 'terminals of their own for commands' }
  } catch (error) {
    if (!(error instanceof AgentgateError)) throw error
    return {
      check: 'terminal',
      state: 'warn',
      text: `terminal: ${error.message}; exec at a terminal refuses`,
      hint: error.hint ?? 'install agentgate anew, without --omit=optional',
    }
  }
}

function demoServer(): Finding {
  const check = 'demo'
  if (embeddedFolder() !== undefined) return { check, state: 'ok', text: 'demo: its PostgreSQL is installed' }
  const [system] = systemBinaries()
  return system === undefined
    ? {
        check,
        state: 'warn',
        text: 'demo: no PostgreSQL for it',
        hint: 'install agentgate anew, without --omit=optional',
      }
    : { check, state: 'ok', text: `demo: the system’s PostgreSQL (${system})` }
}

/** Only folders that are there are looked at: nothing was kept where none is. */
function* stateFolders(env: Environment): Generator<Finding> {
  const check = 'state'
  const paths = new Paths(env)
  const state = path.dirname(paths.trustFile)
  if (!existsSync(state)) {
    yield { check, state: 'ok', text: `state: nothing kept yet (${state})` }
    return
  }
  try {
    const folders = [paths.stateDir(), paths.recordingsDir(), paths.runtimeRoot()]
    const open = folders.flatMap(readableByOthers)
    const [first] = open
    yield first === undefined
      ? { check, state: 'ok', text: `state: ${state}, yours alone` }
      : {
          check,
          state: 'warn',
          text: `state: ${first}${open.length > 1 ? ` and ${open.length - 1} more` : ''} can be read by other users`,
          hint: `chmod -R go= ${state}`,
        }
  } catch (error) {
    yield failed(error, { check })
  }
}

function readableByOthers(folder: string): readonly string[] {
  return readdirSync(folder)
    .map(name => path.join(folder, name))
    .filter(place => {
      const found = lstatSync(place)
      return found.isFile() && (found.mode & 0o077) !== 0
    })
}
