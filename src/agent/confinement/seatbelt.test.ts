import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { AgentgateError } from '../../errors.ts'
import { Child } from '../child.ts'
import { profileFor } from '../profile.ts'
import { raiseWalls } from './raise-walls.ts'
import { Seatbelt } from './seatbelt.ts'
import type { WallsOptions } from './walls.ts'

// There is no macOS here: what is shown is what sandbox-exec would be given, and that a child gets through it.
let folder = ''
let sandboxExec = ''
beforeEach(() => {
  folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'agentgate-seatbelt-')))
  for (const name of ['home', 'work', 'state']) mkdirSync(path.join(folder, name), { mode: 0o700 })
  sandboxExec = path.join(folder, 'sandbox-exec')
  writeFileSync(sandboxExec, `#!/bin/sh\n[ "$1" = -f ] && cp "$2" ${folder}/seen && shift 2 && exec "$@"\n`)
  chmodSync(sandboxExec, 0o755)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const options = (more: Partial<WallsOptions> = {}): WallsOptions => ({
  workingFolder: path.join(folder, 'work'),
  home: path.join(folder, 'home'),
  env: {},
  agentgateFolders: [path.join(folder, 'state')],
  scratchRoot: path.join(folder, 'state'),
  policyFiles: [],
  secretFiles: [],
  readable: [],
  writable: [],
  policyReadable: [],
  policyWritable: [],
  profile: profileFor('generic', 'true'),
  hook: null,
  program: '/usr/lib/agentgate/dist/agentgate.js',
  ...more,
})
const kindOf = (work: () => unknown) => {
  try {
    work()
    return undefined
  } catch (error) {
    return error instanceof AgentgateError ? [error.code, error.hint] : error
  }
}

it('is what stands around a child on macOS, and there alone', () => {
  const hint = expect.stringContaining('--unconfined') as string
  // sandbox-exec is not on this machine, so that it refuses, as it would where Apple takes it away.
  expect(kindOf(() => raiseWalls(options(), 'darwin'))).toEqual(['UNCONFINED', hint])
  expect(kindOf(() => raiseWalls(options(), 'freebsd'))).toEqual(['UNCONFINED', hint])
  expect(readdirSync(path.join(folder, 'state'))).toEqual([])
})

it('runs a command by sandbox-exec, with a home of its own and the ports of its tunnels', async () => {
  writeFileSync(path.join(folder, 'work/.env'), 'SECRET')
  const walls = Seatbelt.prepare(options(), sandboxExec)
  const [file, ...args] = walls.command('/bin/sh', ['-c', 'echo "$HOME"; exit 6'])
  const child = Child.start({
    file,
    args: args.map(word => (word.startsWith('echo') ? `echo x > "$HOME/own" && ${word}` : word)),
    environment: { PATH: '/usr/bin:/bin', ...walls.environment },
    workingFolder: walls.workingFolder,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    enclosure: walls.enclosure,
    helper: walls.helper,
    onTerminal: () => undefined,
  })
  await child.waiting
  expect(existsSync(path.join(folder, 'seen'))).toBe(false)
  walls.finish([15432])
  child.release([], 'AGENTGATE_SESSION=seatbelt-test')
  expect(await child.finished).toMatchObject({ code: 6, failure: undefined })
  const seen = readFileSync(path.join(folder, 'seen'), 'utf8')
  const work = path.join(folder, 'work')
  for (const rule of [
    '(deny default)',
    `(allow file-read* file-write* (subpath "${work}"))`,
    `(deny file-read* file-write* (subpath "${work}/.env"))`,
    `(deny file-read* file-write* (subpath "${folder}/home"))`,
    `(deny file-read* file-write* (subpath "${folder}/state"))`,
    `(deny file-write* (subpath "${work}/.claude"))`,
    '(allow network-outbound (remote ip "localhost:15432"))',
  ])
    expect(seen).toContain(rule)
  expect(existsSync(path.join(walls.environment['HOME'] ?? '', 'own'))).toBe(true)
  walls.remove()
  expect(readdirSync(path.join(folder, 'state'))).toEqual([])
  expect(existsSync(path.join(work, '.claude'))).toBe(false)
})

it('leaves nothing behind where a path cannot be written down', () => {
  const strange = path.join(folder, 'work', 'line\nbreak')
  mkdirSync(strange)
  expect(kindOf(() => Seatbelt.prepare(options({ workingFolder: strange }), sandboxExec))).toMatchObject([
    'UNCONFINED',
    {},
  ])
  expect(readdirSync(path.join(folder, 'state'))).toEqual([])
})

it('hides a git configuration that holds a token, as it cannot show a copy', () => {
  mkdirSync(path.join(folder, 'work/.git/hooks'), { recursive: true })
  writeFileSync(
    path.join(folder, 'work/.git/config'),
    '[http "https://github.com/"]\n\textraheader = AUTHORIZATION: x\n',
  )
  const walls = Seatbelt.prepare(options(), sandboxExec)
  expect(walls.warnings.join('\n')).toMatch(/\.git\/config holds a secret and is hidden/)
  walls.remove()
})
