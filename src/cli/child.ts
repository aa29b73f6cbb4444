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
  const child = spawn(program, args, { stdio: 'inherit', env })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', error => reject(notStarted(program, error)))
  })
  const ignore = () => undefined
  const forward = (signal: NodeJS.Signals) => void child.kill(signal)
  process.on('SIGINT', ignore)
  for (const signal of forwarded) process.on(signal, forward)
  let kill: NodeJS.Timeout | undefined
  const exited = new Promise<number>(resolve => {
    child.once('exit', (code, signal) => {
      clearTimeout(kill)
      process.off('SIGINT', ignore)
      for (const each of forwarded) process.off(each, forward)
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
    })
  })
  return {
    exited,
    end: () => {
      child.kill('SIGTERM')
      kill ??= setTimeout(() => child.kill('SIGKILL'), killAfterMs)
    },
  }
}

function notStarted(program: string, error: unknown): AgentgateError {
  if (hasErrno(error, 'ENOENT'))
    return new AgentgateError('NOT_STARTED', `${program}: not found`, { exitCode: 127, cause: error })
  if (hasErrno(error, 'EACCES', 'ENOEXEC', 'EPERM'))
    return new AgentgateError('NOT_STARTED', `${program}: cannot be executed`, { exitCode: 126, cause: error })
  return new AgentgateError('NOT_STARTED', `${program}: could not be started`, { exitCode: 125, cause: error })
}
