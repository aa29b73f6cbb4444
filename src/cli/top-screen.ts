import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Io } from './command.ts'
import { commands } from './commands.ts'
import { globalOptions } from './globals.ts'
import { paintFor, wantsColour } from './paint.ts'
import { version } from './version.ts'

const first: readonly (readonly [command: string, says: string])[] = [
  ['agentgate demo', 'see it work, nothing to set up'],
  ['agentgate init', 'write an agentgate.yaml from what you have (DATABASE_URL, ~/.pgpass)'],
  ['agentgate connect db-prod', 'open a tunnel; then psql, DBeaver, your app'],
  ['agentgate exec -r db-prod -- claude', 'start an agent that can reach db-prod and nothing else'],
  ['agentgate approvals', 'what is waiting for you'],
  ['agentgate sessions', 'what happened'],
]

/** What `agentgate` alone says, and `--help` more of. Loads nothing: it is also how slow a first impression is. */
export function topScreen(io: Io, whole: boolean): string {
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const column = 38
  const lines = [
    `${paint.bold('agentgate')}  short-lived, supervised access to databases, hosts and APIs, for people and for agents`,
    '',
    ...first.map(([command, says]) => `  ${command.padEnd(column)}  ${paint.dim(says)}`),
    '',
  ]
  if (whole)
    lines.push(
      'commands:',
      ...commands.map(({ name, summary }) => `  ${name.padEnd(12)}  ${paint.dim(summary)}`),
      '',
      'everywhere:',
      ...globalOptions.map(({ flags, description }) => `  ${flags.padEnd(26)}  ${paint.dim(description)}`),
      `  ${'-h, --help'.padEnd(26)}  ${paint.dim('with examples, for any command')}`,
      `  ${'-V, --version'.padEnd(26)}  ${paint.dim('the version')}`,
      '',
      'exit codes:',
      `  ${paint.dim('0 ok, 1 our bug, 2 usage, 3 not logged in, 4 denied, 5 approval rejected or timed out,')}`,
      `  ${paint.dim('6 target unreachable, 7 verification failed, 8 expired or revoked (docs/commands.md)')}`,
      '',
    )
  lines.push(`  ${paint.dim(['agentgate help <command>', `v${version}`, policyHere(io)].join(' · '))}`)
  return `${lines.join('\n')}\n`
}

function policyHere(io: Io): string {
  const named = io.env['AGENTGATE_POLICY']
  if (named !== undefined && named !== '') return `policy ${named}`
  for (let folder = io.cwd; ; folder = path.dirname(folder)) {
    const file = path.join(folder, 'agentgate.yaml')
    if (existsSync(file)) return `policy ${path.relative(io.cwd, file) || file}`
    if (folder === path.dirname(folder)) return 'no policy here: agentgate init'
  }
}
