import { spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import { privateFolder } from '../config/private-file.ts'
import { connectControl } from '../control/client.ts'
import { controlEvent, type ControlEvent } from '../control/schema.ts'
import { AgentgateError, errorCodes, type ErrorCode } from '../errors.ts'
import type { Io } from './command.ts'
import { secretsInOutput, withoutSecrets } from './ci.ts'
import { paintFor, wantsColour } from './paint.ts'
import { readyDescriptor } from './ready-descriptor.ts'
import { escapeLine } from './ui/escape.ts'
import { sessionHeader } from './ui/session-header.ts'

interface DetachOptions {
  readonly name: string
  readonly json: boolean
  readonly showSecrets: boolean
  readonly writeFiles: boolean
}

const logsKeptMs = 7 * 86_400_000

type Ready = Extract<ControlEvent, { event: 'ready' }>

const failed = z.object({
  event: z.literal('error'),
  code: z.enum(Object.keys(errorCodes) as [ErrorCode, ...ErrorCode[]]),
  message: z.string(),
  hint: z.string().optional(),
  exitCode: z.number(),
})

/**
 * Starts the same command as a process of its own that outlives this one and its terminal; returns once its listeners
 * accept. Its log is in the state folder.
 * @throws AgentgateError what the background process could not do
 */
export async function detach(args: readonly string[], options: DetachOptions, io: Io, paths: Paths): Promise<void> {
  const log = newLog(paths, options.name)
  const descriptor = openSync(log, 'a', 0o600)
  const child = spawn(process.execPath, [process.argv[1] ?? '', ...args, '--ready-fd', String(readyDescriptor)], {
    detached: true, // a session of its own: no terminal to lose, no Ctrl-C
    stdio: ['ignore', descriptor, descriptor, 'pipe'],
    cwd: io.cwd,
    env: io.env,
  })
  closeSync(descriptor)
  const notes: string[] = []
  const ready = await readyOf(child, log, notes)
  child.unref()
  await say(ready, notes, log, options, io, paths)
}

/** @param notes what a person should be told with it is added here */
async function readyOf(child: ReturnType<typeof spawn>, log: string, notes: string[]): Promise<Ready> {
  const pipe = child.stdio[readyDescriptor]
  if (pipe === null || pipe === undefined || !('read' in pipe))
    throw new AgentgateError('INTERNAL', 'no pipe to the child')
  const gone = new Promise<never>((_, reject) => {
    const ended = () =>
      reject(
        new AgentgateError('NOT_STARTED', 'the background process ended before it was ready', {
          hint: `see ${log}`,
          exitCode: 1,
        }),
      )
    child.once('error', ended)
    child.once('exit', () => setTimeout(ended, 100)) // what it said last may still be in the pipe
  })
  gone.catch(() => undefined)
  const said = async (): Promise<Ready> => {
    for await (const line of createInterface({ input: pipe })) {
      const content: unknown = JSON.parse(line)
      const event = controlEvent.safeParse(content)
      if (event.success && event.data.event === 'ready') return event.data
      if (event.success && event.data.event === 'notice') notes.push(event.data.text)
      const error = failed.safeParse(content)
      if (error.success) throw new AgentgateError(error.data.code, error.data.message, error.data)
    }
    return await gone
  }
  try {
    return await Promise.race([said(), gone])
  } finally {
    pipe.destroy()
  }
}

async function say(
  ready: Ready,
  notes: readonly string[],
  log: string,
  options: DetachOptions,
  io: Io,
  paths: Paths,
): Promise<void> {
  if (options.json) {
    const secrets = secretsInOutput(ready, io.env, 1)
    if (secrets.kind === 'masked') io.stderr.write(secrets.commands.map(command => `${command}\n`).join(''))
    const shown = secrets.kind === 'left-out' && !options.showSecrets ? withoutSecrets(ready) : ready
    io.stdout.write(`${JSON.stringify(shown)}\n`)
    return
  }
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const width = io.stdout.isTTY ? Math.max(40, io.stdout.columns - 1) : 100
  const status = await connectControl(path.join(paths.runtimeRoot(), ready.session, 'control.sock')).status()
  io.stdout.write(
    `${sessionHeader(status, width, paint, new Date(), options.writeFiles ? 'files' : 'elsewhere').join('\n')}\n`,
  )
  for (const note of notes) io.stdout.write(`${escapeLine(note)}\n`)
  io.stderr.write(
    `\nin the background: agentgate status · agentgate approvals · agentgate down ${ready.session}\nlog: ${log}\n`,
  )
}

function newLog(paths: Paths, name: string): string {
  const folder = privateFolder(path.join(paths.stateDir(), 'log'))
  const now = Date.now()
  for (const old of readdirSync(folder)) {
    const file = path.join(folder, old)
    if (now - statSync(file).mtimeMs > logsKeptMs) rmSync(file, { force: true })
  }
  const stamp = new Date(now).toISOString().replace(/[-:]/g, '').replace(/\..*/, '')
  return path.join(folder, `connect-${name.replace(/[^\w.-]/g, '_')}-${stamp}-${process.pid}.log`)
}
