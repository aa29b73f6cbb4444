import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Option, type Command } from 'commander'
import type { Demo, Spectator } from '../demo/demo.ts'
import type { DemoStep } from '../demo/demo-step.ts'
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
    ['agentgate demo', 'see it work: you log in, and answer from a second terminal'],
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
  const { Demo } = await import('../demo/demo.ts')
  const interactive = isInteractive(io) && !flags.yes && !flags.json
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const progress = new Progress(io)
  const end = endOnSignals()
  const transcript = new Transcript(io, paint, flags.json)
  try {
    await using running = new Demo({
      program: program(),
      env: io.env,
      signal: end.signal,
      onProgress: doing => progress.show(doing),
      onBegin: step => {
        progress.clear()
        if (interactive) transcript.begin(step)
      },
      onStep: step => {
        progress.clear()
        transcript.step(step)
      },
      spectator: interactive ? spectator(io, paint) : undefined,
    })
    const failed = await running.run()
    progress.clear()
    transcript.close(failed)
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

/** What this process itself was started as. */
function program(): readonly [string, string] {
  const script = process.argv[1]
  if (script === undefined) throw new AgentgateError('INTERNAL', 'no program to run')
  return [process.execPath, script]
}

/** The person at this terminal. What they type but enter is left alone. */
function spectator(io: Io, paint: Paint): Spectator {
  return {
    say: lines => void io.stderr.write(lines.map(line => (line === '' ? '\n' : `   ${paint.cyan(line)}\n`)).join('')),
    enter: async signal => {
      const lines = createInterface({ input: io.stdin })
      try {
        await once(lines, 'line', { signal })
      } finally {
        lines.close()
      }
    },
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

/** Every step as it happens: for a person, or a line of JSON each. */
class Transcript {
  readonly #io: Io
  readonly #paint: Paint
  readonly #json: boolean
  #count = 0
  #begun = false

  constructor(io: Io, paint: Paint, json: boolean) {
    this.#io = io
    this.#paint = paint
    this.#json = json
  }

  /** Before a person is asked for something, or sees a command at work. */
  begin({ title, sent }: Pick<DemoStep, 'title' | 'sent'>): void {
    this.#begun = true
    this.#count += 1
    const { bold, cyan } = this.#paint
    this.#write(`${bold(`${this.#count}. ${title}`)}\n   ${cyan('→')} ${escapeLine(sent)}\n`)
  }

  step(step: DemoStep): void {
    const { name, title, sent, received, checks } = step
    if (this.#json) {
      this.#count += 1
      const ok = checks.every(check => check.ok)
      this.#write(`${JSON.stringify({ event: 'step', name, ok, title, sent, received, checks })}\n`)
      return
    }
    if (!this.#begun) this.begin(step)
    this.#begun = false
    this.#write(`${receivedText(step, this.#paint, this.#io.stdout.columns || 100)}\n`)
  }

  close(failed: number): void {
    if (this.#json) this.#write(`${JSON.stringify({ event: 'demo', ok: failed === 0, failed })}\n`)
    else if (failed > 0)
      this.#write(`${this.#paint.red(`${failed} of ${this.#count} steps did not happen as they should`)}\n`)
    else this.#write(`all ${this.#count} steps happened · next: agentgate init\n`)
  }

  #write(text: string): void {
    this.#io.stdout.write(text)
  }
}

function receivedText(step: DemoStep, paint: Paint, width: number): string {
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
  return [...lines, ...checks].join('')
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '   ')
}

/** As maria, at the tunnel that the steps went through: the same port, and the same password. */
async function keep(
  running: Demo,
  flags: DemoFlags,
  io: Io,
  paint: Paint,
  interactive: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { stage, url } = running
  if (flags.json)
    io.stdout.write(
      `${JSON.stringify({ event: 'kept', url: url.reveal(), folder: stage.folder, policy: stage.policy })}\n`,
    )
  else
    io.stdout.write(
      [
        '',
        paint.bold('it stays up until you press Ctrl-C'),
        `  through agentgate   psql '${url.reveal()}'`,
        `  approve as jonas    sh ${stage.script('jonas')} approvals`,
        `  administer          sh ${stage.script('broker')} grants list`,
        `  its recordings      sh ${stage.script('maria')} sessions`,
        `  its policy          ${stage.policy}`,
        '',
        '',
      ].join('\n'),
    )
  const args = ['connect', 'shop', ...(interactive ? [] : ['--json'])]
  const command = stage.commands.start(args, stage.env('maria'), interactive ? 'all' : 'none')
  const ended = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
  await Promise.race([ended, command.finished])
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
