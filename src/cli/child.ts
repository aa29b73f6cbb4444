import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { AgentgateError, hasErrno } from '../errors.ts'

const killAfterMs = 5000
const forwarded = ['SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const

export interface RunningChild {
  /** Its exit code; of a signal, 128 and its number. */
  readonly exited: Promise<number>
  /** Asks it to end, and ends it if it does not. */
  end(): void
}

/**
 * Runs a command on this process's own stdin, stdout and stderr. Ctrl-C is the child's: the terminal sends it to both.
 * @throws AgentgateError NOT_STARTED, with the exit codes of env(1): 127 not found, 126 not executable.
 */
export async function runChild(
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<RunningChild> {
  const [program = '', ...args] = command
  // Before it is started, so that no signal is lost: one that comes now ends it once it is there.
  let early: NodeJS.Signals | undefined
  let forward = (signal: NodeJS.Signals): void => void (early = signal)
  const onSignal = (signal: NodeJS.Signals) => forward(signal)
  const ignore = () => undefined
  process.on('SIGINT', ignore)
  for (const signal of forwarded) process.on(signal, onSignal)
  const release = () => {
    process.off('SIGINT', ignore)
    for (const signal of forwarded) process.off(signal, onSignal)
  }
  try {
    const child = spawn(program, args, { stdio: 'inherit', env })
    let kill: NodeJS.Timeout | undefined
    const exited = new Promise<number>(resolve => {
      child.once('exit', (code, signal) => {
        clearTimeout(kill)
        release()
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
      })
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', error => reject(notStarted(program, error)))
    })
    forward = signal => void child.kill(signal)
    if (early !== undefined) child.kill(early)
    return {
      exited,
      end: () => {
        child.kill('SIGTERM')
        kill ??= setTimeout(() => child.kill('SIGKILL'), killAfterMs)
      },
    }
  } catch (error) {
    release()
    throw error
  }
}

function notStarted(program: string, error: unknown): AgentgateError {
  if (hasErrno(error, 'ENOENT'))
    return new AgentgateError('NOT_STARTED', `${program}: not found`, { exitCode: 127, cause: error })
  if (hasErrno(error, 'EACCES', 'ENOEXEC', 'EPERM'))
    return new AgentgateError('NOT_STARTED', `${program}: cannot be executed`, { exitCode: 126, cause: error })
  return new AgentgateError('NOT_STARTED', `${program}: could not be started`, { exitCode: 125, cause: error })
}
