import { spawn } from 'node:child_process'
import { Option, type Command } from 'commander'
import type { CommandResult, Demo, DemoStep } from '../demo/demo.ts'
import { AgentgateError } from '../errors.ts'
import type { Io } from './command.ts'
import { envSwitch, readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { paintFor, wantsColour, type Paint } from './paint.ts'
import { table } from './table.ts'
import { escapeLine } from './ui/escape.ts'

interface DemoFlags {
  readonly yes: boolean
  readonly keep: boolean
  readonly json: boolean
}

export function configure(command: Command, io: Io): void {
  command
    .addOption(new Option('-y, --yes', 'answer by itself, and print a transcript').env('AGENTGATE_YES'))
    .addOption(new Option('-k, --keep', 'leave it up at the end, to play with, until Ctrl-C').env('AGENTGATE_KEEP'))
    .action(async (flags: { yes?: boolean; keep?: boolean }) => {
      const { json } = readGlobals(command, io)
      io.exitCode = await demo({ yes: flags.yes ?? false, keep: flags.keep ?? false, json }, io)
    })
  examples(command, [
    ['agentgate demo', 'see it work: you answer what waits for an approval'],
    ['agentgate demo --yes', 'the same, answered by itself; fails if a step does not happen'],
    ['agentgate demo --keep', 'leaves it up, with the line for psql'],
  ])
  exitCodes(command, [
    [0, 'every step happened'],
    [1, 'a step did not happen'],
    [125, 'no PostgreSQL server could be started'],
  ])
}

async function demo(flags: DemoFlags, io: Io): Promise<number> {
  const [{ Demo, suggestedAnswer }, { loadProtocols }, { osUser }, { version }] = await Promise.all([
    import('../demo/demo.ts'),
    import('./protocols.ts'),
    import('../identity/os-user.ts'),
    import('./version.ts'),
  ])
  const interactive = isInteractive(io) && !flags.yes && !flags.json
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const progress = new Progress(io)
  const end = endOnSignals()
  let count = 0
  try {
    await using running = new Demo({
      protocols: await loadProtocols(),
      subject: { principal: await osUser(), actor: null, confined: false, purpose: 'a demonstration', ticket: null },
      version,
      signal: end.signal,
      onProgress: doing => progress.show(doing),
      onStep: step => {
        progress.clear()
        io.stdout.write(flags.json ? jsonStep(step) : textStep(step, ++count, paint, io.stdout.columns || 100))
      },
      approve: async (request, suggestion, session) => {
        if (interactive) {
          const { askOnScreen } = await import('./demo-screen.ts')
          return await askOnScreen({ request, suggestion, session, io, paint, stop: () => end.stop('SIGINT') })
        }
        const result = await session.answer(request.id, suggestedAnswer(suggestion), 'terminal')
        // Whatever is wrong with it, nobody is here to try again.
        if (result.kind === 'refused')
          await session.answer(request.id, { outcome: 'reject', reason: result.message }, 'terminal')
        return suggestion
      },
      agentgate: async (args, env) => await runAgentgate(args, { ...io.env, ...env }),
    })
    const failed = await running.run()
    progress.clear()
    if (flags.json) io.stdout.write(`${JSON.stringify({ event: 'demo', ok: failed === 0, failed })}\n`)
    else io.stdout.write(closing(failed, count, paint))
    if (flags.keep && failed === 0) await keep(running, flags, io, paint, interactive, end.signal)
    return failed === 0 ? 0 : 1
  } catch (error) {
    progress.clear()
    if (end.signalName !== undefined) return 128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[end.signalName]
    throw error
  } finally {
    end.release()
  }
}

function isInteractive(io: Io): boolean {
  return io.stdout.isTTY && io.stdin.isTTY && io.env['TERM'] !== 'dumb' && !envSwitch(io.env['CI'])
}

type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** A signal ends the demo in order, so that nothing of it stays. */
function endOnSignals() {
  const abort = new AbortController()
  const state: { name: EndSignal | undefined } = { name: undefined }
  const stop = (name: EndSignal) => {
    state.name ??= name
    abort.abort(new AgentgateError('REVOKED', 'the demo was ended'))
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, stop)
  return {
    signal: abort.signal,
    stop,
    get signalName() {
      return state.name
    },
    release: () => {
      for (const signal of signals) process.off(signal, stop)
    },
  }
}

async function runAgentgate(args: readonly string[], env: NodeJS.ProcessEnv): Promise<CommandResult> {
  const script = process.argv[1]
  if (script === undefined) throw new AgentgateError('INTERNAL', 'no program to run')
  const child = spawn(process.execPath, [script, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output.stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output.stderr += chunk))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return { code, ...output }
}

function jsonStep(step: DemoStep): string {
  const { name, title, sent, received, checks } = step
  const ok = checks.every(check => check.ok)
  return `${JSON.stringify({ event: 'step', name, ok, title, sent, received, checks })}\n`
}

function textStep(step: DemoStep, number: number, paint: Paint, width: number): string {
  const lines = step.received.map(received =>
    received.kind === 'text'
      ? `   ${escapeLine(received.text)}\n`
      : indent(
          table(
            received.columns.map(title => ({ title })),
            received.rows.map(row => row.map(value => value ?? '')),
            width - 3,
            paint,
          ),
        ),
  )
  const checks = step.checks.map(
    ({ what, ok }) => `   ${ok ? paint.green('ok    ') : paint.bold(paint.red('FAILED'))}  ${what}\n`,
  )
  return [
    `${paint.bold(`${number}. ${step.title}`)}\n`,
    `   ${paint.cyan('→')} ${escapeLine(step.sent)}\n`,
    ...lines,
    ...checks,
    '\n',
  ].join('')
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '   ')
}

function closing(failed: number, steps: number, paint: Paint): string {
  if (failed > 0) return `${paint.red(`${failed} of ${steps} steps did not happen as they should`)}\n`
  return `all ${steps} steps happened · next: agentgate init\n`
}

async function keep(
  running: Demo,
  flags: DemoFlags,
  io: Io,
  paint: Paint,
  interactive: boolean,
  signal: AbortSignal,
): Promise<void> {
  const session = await running.open()
  const url = running.url.reveal()
  if (flags.json)
    io.stdout.write(`${JSON.stringify({ ...session.ready, home: running.home, policy: running.policy })}\n`)
  else
    io.stdout.write(
      [
        '',
        paint.bold('it stays up until you press Ctrl-C'),
        `  through agentgate   psql '${url}'`,
        `  its policy          ${running.policy}`,
        `  its recordings      AGENTGATE_HOME=${running.home} agentgate sessions`,
        '',
        '',
      ].join('\n'),
    )
  const ended = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
  if (interactive) {
    const { connectLive } = await import('./connect-live.ts')
    void ended.then(async () => await session.close('the demo is over'))
    await connectLive(session, [], io, running.paths)
  } else await Promise.race([ended, session.finished])
}

/** One line that says what is being done and for how long, on a terminal and only once it has taken a second. */
class Progress {
  readonly #stream: NodeJS.WriteStream
  #timer: NodeJS.Timeout | undefined
  #shown = false

  constructor(io: Io) {
    this.#stream = io.stderr
  }

  show(doing: string): void {
    this.clear()
    if (!this.#stream.isTTY) return
    const start = performance.now()
    let frame = 0
    this.#timer = setInterval(() => {
      const seconds = (performance.now() - start) / 1000
      if (seconds < 1) return
      this.#shown = true
      this.#stream.write(`\r${'⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'.charAt(frame++ % 10)} ${doing} … ${Math.floor(seconds)} s\u001b[K`)
    }, 100)
  }

  clear(): void {
    clearInterval(this.#timer)
    if (this.#shown) this.#stream.write('\r\u001b[K')
    this.#shown = false
  }
}
