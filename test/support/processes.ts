import { spawn } from 'node:child_process'
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions extends SpawnOptions {
  readonly input?: string | Buffer
  /** After which it is killed and the test fails. */
  readonly deadlineMs?: number
}

/** A program from start to end. Its exit code is the caller's to judge. */
export async function runProgram(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const { input, deadlineMs = 60_000, ...rest } = options
  const running = startProgram(command, args, rest)
  if (input !== undefined) running.child.stdin?.end(input)
  else running.child.stdin?.end()
  return await running.finished(deadlineMs)
}

export interface Running {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  /** Waits until the output matches. */
  said(pattern: RegExp, where?: 'stdout' | 'stderr', deadlineMs?: number): Promise<RegExpExecArray>
  finished(deadlineMs?: number): Promise<Finished>
}

export function startProgram(command: string, args: readonly string[], options: SpawnOptions = {}): Running {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options })
  const output = { stdout: '', stderr: '' }
  let failed: Error | undefined
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (output.stdout += chunk))
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (output.stderr += chunk))
  child.stdin?.on('error', () => undefined) // it may end before it has read all
  child.on('error', error => (failed = error))
  const closed = once(child, 'close').catch(() => undefined)
  return {
    child,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    said: async (pattern, where = 'stdout', deadlineMs = 20_000) => {
      let match: RegExpExecArray | null = null
      await until(
        `${command} says ${String(pattern)}`,
        () => {
          match = pattern.exec(output[where])
          if (match === null && (child.exitCode !== null || child.signalCode !== null || failed !== undefined))
            throw new Error(
              `${command} ended (${String(child.exitCode ?? child.signalCode ?? failed)}) without saying ${String(pattern)}; ` +
                `stdout: ${output.stdout.slice(-2000)} stderr: ${output.stderr.slice(-2000)}`,
            )
          return match !== null
        },
        deadlineMs,
      )
      return match as unknown as RegExpExecArray
    },
    finished: async (deadlineMs = 60_000) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs)
      await closed
      clearTimeout(timer)
      if (failed !== undefined) throw failed
      return { code: child.exitCode, signal: child.signalCode, ...output }
    },
  }
}

/** Waits for a condition, looking every few milliseconds. @throws when it does not come true in time. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadlineMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`did not happen in ${deadlineMs} ms: ${what}`)
    await sleep(5)
  }
}

/** Whether it still runs: a zombie that nobody has waited for does not. */
export function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

/** Processes of this machine with this text in their command line, whatever number they have in a namespace. */
export function runningWith(text: string): readonly number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .filter(pid => {
      try {
        return pid !== process.pid && isRunning(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)
      } catch {
        return false
      }
    })
}
