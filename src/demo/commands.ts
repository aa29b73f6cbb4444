import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { Socket } from 'node:net'
import { Changes } from '../changes.ts'
import { AgentgateError } from '../errors.ts'

export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

type Variables = Readonly<Record<string, string | undefined>>

/** One of agentgate's own commands, running. */
export class RunningCommand {
  readonly #child: ChildProcess
  readonly #output = { stdout: '', stderr: '' }
  readonly #changes = new Changes()
  readonly finished: Promise<CommandResult>

  constructor(child: ChildProcess) {
    this.#child = child
    for (const name of ['stdout', 'stderr'] as const)
      child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
        this.#output[name] += chunk
        this.#changes.tell()
      })
    this.finished = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', code => {
        resolve({ code, ...this.#output })
        this.#changes.tell()
      })
    })
    this.finished.catch(() => this.#changes.tell())
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get stderr(): string {
    return this.#output.stderr
  }

  /** Its first event of `--json` that `pick` makes something of. @throws AgentgateError where it ends before. */
  async event<T>(pick: (event: Readonly<Record<string, unknown>>) => T | undefined, signal: AbortSignal): Promise<T> {
    let read = 0
    for (;;) {
      const { stdout } = this.#output
      for (let end = stdout.indexOf('\n', read); end !== -1; end = stdout.indexOf('\n', read)) {
        const found = pick(parseEvent(stdout.slice(read, end)))
        read = end + 1
        if (found !== undefined) return found
      }
      signal.throwIfAborted()
      if (this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined) {
        const { code, stderr } = await this.finished
        if (this.#output.stdout.length > read) continue
        throw new AgentgateError('NOT_STARTED', `agentgate ended with code ${String(code)}: ${firstLine(stderr)}`)
      }
      await this.#changes.next(signal)
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM')
    await this.finished.catch(() => undefined)
  }
}

/**
 * Runs agentgate's own commands, each a process of its own as a person's would be. They end with this object, and with
 * this process where that is killed: a shell beside it waits for that, ends them, and removes `folder`.
 */
export class Commands implements AsyncDisposable {
  readonly #program: readonly [string, ...string[]]
  readonly #running = new Set<RunningCommand>()
  readonly #watcher: ChildProcess

  /** @param program what agentgate is started as: node and the bundle */
  constructor(program: readonly [string, ...string[]], folder: string) {
    this.#program = program
    this.#watcher = spawn('/bin/sh', ['-c', watchScript, 'agentgate-demo-watch', folder], {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    })
    this.#watcher.on('error', () => undefined) // no shell: only a kill -9 leaves something
    this.#watcher.unref()
    const { stdin } = this.#watcher
    stdin?.on('error', () => undefined)
    if (stdin instanceof Socket) stdin.unref()
  }

  /** @param terminal it has the person's terminal, and Ctrl-C is for it too */
  start(args: readonly string[], env: Variables, terminal: 'all' | 'output' | 'none' = 'none'): RunningCommand {
    const [file, ...first] = this.#program
    const output = terminal === 'none' ? 'pipe' : 'inherit'
    const child = spawn(file, [...first, ...args], {
      env,
      stdio: [terminal === 'all' ? 'inherit' : 'ignore', output, output],
      detached: terminal === 'none',
    })
    const running = new RunningCommand(child)
    const pid = child.pid
    if (pid !== undefined) {
      this.#running.add(running)
      this.#tell(`+ ${pid}`)
      child.once('exit', () => {
        this.#running.delete(running)
        this.#tell(`- ${pid}`)
      })
    }
    return running
  }

  async run(args: readonly string[], env: Variables): Promise<CommandResult> {
    return await this.start(args, env).finished
  }

  /** The last one started ends first. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of [...this.#running].reverse()) await each.stop()
    this.#watcher.kill('SIGKILL') // by a signal: the end of its pipe would set it to work
  }

  #tell(line: string): void {
    this.#watcher.stdin?.write(`${line}\n`)
  }
}

const watchScript = `
  folder=$1 pids=
  while read -r sign pid; do
    left=
    for each in $pids; do [ "$each" = "$pid" ] || left="$left $each"; done
    pids=$left
    [ "$sign" = + ] && pids="$pids $pid"
  done
  for pid in $pids; do kill -TERM "$pid" 2>/dev/null; done
  i=0
  for pid in $pids; do
    while kill -0 "$pid" 2>/dev/null && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done
    kill -KILL "$pid" 2>/dev/null
  done
  rm -rf -- "$folder"`

function parseEvent(line: string): Readonly<Record<string, unknown>> {
  try {
    const event: unknown = JSON.parse(line)
    return typeof event === 'object' && event !== null ? { ...event } : {}
  } catch {
    return {} // not every line is an event
  }
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? ''
}
