import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bundle } from '../support/bundle.ts'
import { runningWith, runProgram, startProgram, until, type RunOptions } from '../support/processes.ts'
import { Terminal } from '../support/terminal.ts'
import type { DriverPlan } from './driver.ts'

let folder = ''
let driver = ''

beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-child-'))
  chmodSync(folder, 0o755)
  mkdirSync(path.join(folder, 'work'))
  mkdirSync(path.join(folder, 'home'))
  driver = await bundle('test/agent/driver.ts', folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const env = () => ({ PATH: process.env['PATH'] ?? '', HOME: path.join(folder, 'home'), LANG: 'C.UTF-8' })
const cwd = () => path.join(folder, 'work')
let confined = false
const words = (command: readonly string[], more: Partial<DriverPlan> = {}) => [
  driver,
  JSON.stringify({ command, ...(confined ? { confined: { state: path.join(folder, 'state') } } : {}), ...more }),
]

const run = async (command: readonly string[], options: RunOptions = {}, more: Partial<DriverPlan> = {}) =>
  await runProgram(process.execPath, words(command, more), { cwd: cwd(), env: env(), ...options })

const open = (command: readonly string[], more: Partial<DriverPlan> = {}) =>
  new Terminal(process.execPath, words(command, more), { cwd: cwd(), env: env() })

/** Whether what is typed goes through unchanged, as a program at the terminal has it. */
const isRaw = ({ pid }: Terminal) =>
  execFileSync('stty', ['-a', '-F', readlinkSync(`/proc/${pid}/fd/0`)], { encoding: 'utf8' }).includes('-icanon')

const script = (text: string) => ['/bin/sh', '-c', text] as const

const modes = [{ walls: 'without walls' }, { walls: 'confined' }] as const

describe.each(modes)('$walls, without a terminal', ({ walls }) => {
  beforeEach(() => void (confined = walls === 'confined'))

  it('leaves stdin, stdout and stderr alone', async () => {
    const binary = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    const ended = await run(script('cat; echo oops >&2'), { input: binary })
    expect(ended).toMatchObject({ code: 0, stderr: 'oops\n' })
    expect(ended.stdout).toBe(binary.toString('utf8'))
  })

  it.each([
    ['exit 0', 0],
    ['exit 7', 7],
    ['exit 148', 148],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
    ['kill -SEGV $$', 139],
  ])('keeps the exit code of: %s', async (text, code) => {
    expect(await run(script(text))).toMatchObject({ code, stdout: '', stderr: '' })
  })

  it('runs the command of that name, not a word of the shell that starts it', async () => {
    expect(await run(['/bin/echo', '-e', 'a b', '$HOME', "it's"])).toMatchObject({
      code: 0,
      stdout: "a b $HOME it's\n",
    })
  })

  it('passes a signal on and waits for what the child makes of it', async () => {
    const running = startProgram(
      process.execPath,
      words(script('trap "echo got it; exit 3" TERM; echo ready; while :; do sleep 0.05; done')),
      { cwd: cwd(), env: env() },
    )
    await running.said(/ready/)
    running.child.kill('SIGTERM')
    expect(await running.finished()).toMatchObject({ code: 3, stdout: 'ready\ngot it\n' })
  })

  it('gives the child no descriptor but its three', async () => {
    const ended = await run(script('ls /proc/self/fd'), { stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'] })
    expect(ended.stdout.split('\n').filter(Boolean)).toEqual(['0', '1', '2', '3']) // 3 is ls reading the folder
  })

  it('gives the child the allow-list and what the tunnels say', async () => {
    const ended = await run(['/usr/bin/env'], { env: { ...env(), SECRET: 'x', LC_TIME: 'C', NODE_OPTIONS: '' } })
    const names = ended.stdout
      .split('\n')
      .filter(Boolean)
      .map(line => line.split('=')[0])
    expect(names.filter(name => name !== '_' && name !== 'OLDPWD').sort()).toEqual([
      'AGENTGATE_SESSION',
      'HOME',
      'LANG',
      'LC_TIME',
      'PATH',
      'PWD',
      'TUNNEL',
    ])
  })

  it('dumps no core', async () => {
    expect((await run(script('ulimit -c; ulimit -Hc'))).stdout).toBe('0\n0\n')
  })

  it('ends a whole tree, also one that forked twice and ignores TERM', async () => {
    const file = path.join(folder, 'work', 'survivor')
    const daemon = `setsid sh -c 'trap "" TERM HUP; touch ${file}; while :; do sleep 0.05; done' >/dev/null 2>&1 &`
    const running = startProgram(
      process.execPath,
      words(script(`(${daemon}) ; read go; touch ${file}.2; sleep 60`), {
        endAfter: { file: `${file}.2`, graceMs: 200 },
      }),
      { cwd: cwd(), env: env() },
    )
    await until('the daemon is up', () => existsSync(file))
    expect(runningWith(`touch ${file};`).length).toBeGreaterThan(0)
    running.child.stdin?.end('go\n')
    expect((await running.finished()).code).toBe(143)
    expect(runningWith(`touch ${file};`)).toEqual([])
    rmSync(file)
    rmSync(`${file}.2`)
  })
})

describe.each(modes)('$walls, at a terminal', ({ walls }) => {
  beforeEach(() => void (confined = walls === 'confined'))

  it('gives the child a terminal of its own: size, colours, a controlling terminal', async () => {
    using terminal = open(
      script(`test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM && echo via >/dev/tty`),
    )
    expect(await terminal.ends()).toBe(0)
    expect(terminal.shown).toBe('30 100\r\nxterm-256color\r\nvia\r\n')
  })

  it('keeps bytes as they are, both ways', async () => {
    using terminal = open(script(`stty raw -echo; printf '\\033[31mé\\033[0m|'; head -c 5 | od -An -tx1`))
    await terminal.shows('\u001b[31mé\u001b[0m|')
    terminal.type('\u0003\u001a\u007fé')
    expect(await terminal.ends()).toBe(0)
    expect(terminal.shown).toContain('03 1a 7f c3 a9')
  })

  it('follows the window', async () => {
    using terminal = open(script(`trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done`))
    await terminal.shows('ready')
    terminal.resize(132, 43)
    await terminal.shows('43 132')
    expect(await terminal.ends()).toBe(0)
  })

  it('lets Ctrl-C interrupt the child, and the child decide', async () => {
    using terminal = open(script(`trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.05; done`))
    await terminal.shows('ready')
    terminal.type('\u0003')
    expect(await terminal.ends()).toBe(4)
    using plain = open(script('echo ready; exec sleep 60'))
    await plain.shows('ready')
    plain.type('\u0003')
    expect(await plain.ends()).toBe(130)
  })

  it('keeps exit codes, 148 too', async () => {
    for (const code of [0, 7, 148]) expect(await open(script(`exit ${code}`)).ends()).toBe(code)
    expect(await open(script('kill -KILL $$')).ends()).toBe(137)
  })

  it('shows nothing of its own when a signal ends the child', async () => {
    using terminal = open(script('kill -TERM $$'))
    expect(await terminal.ends()).toBe(143)
    expect(terminal.shown).toBe('')
  })

  it('stops with the child on Ctrl-Z, and goes on with fg', async () => {
    const env_ = { ...env(), PS1: 'shell> ' }
    using shell = new Terminal('/bin/bash', ['--norc', '--noprofile', '-i'], { cwd: cwd(), env: env_ })
    await shell.shows('shell> ')
    writeFileSync(path.join(folder, 'plan.json'), words(script('echo begun; cat; echo done'))[1] ?? '')
    shell.type(`${process.execPath} ${driver} "$(cat ${folder}/plan.json)"\r`)
    await shell.shows('begun\r\n')
    shell.type('before\r')
    await shell.shows('before\r\nbefore\r\n')
    const at = shell.shown.length
    shell.type('\u001a')
    await shell.shows(/Stopped/, at)
    await shell.shows('shell> ', at)
    const back = shell.shown.length
    shell.type('echo the shell is back; stty -a | grep -o " icanon"\r')
    await shell.shows(/\rthe shell is back\r\n icanon\r\n/, back)
    const resumed = shell.shown.length
    shell.type('fg\r')
    await shell.shows(/driver/, resumed)
    await until('the terminal is the child’s again', () => isRaw(shell))
    shell.type('after\r')
    await shell.shows('after\r\nafter\r\n', resumed)
    shell.type('\u0004')
    // What is typed before the shell has its terminal back is the child's, which is gone.
    await shell.shows(/done\r\n[^]*shell> /, resumed)
    const end = shell.shown.length
    shell.type('echo code $?; stty -a | grep -o " icanon"; exit\r')
    await shell.shows(/code 0\r\n icanon\r\n/, end)
  })

  it('goes on by itself where nobody could resume it', async () => {
    using terminal = open(script('echo ready; kill -STOP $$; echo went on'))
    await terminal.shows('went on')
    expect(await terminal.ends()).toBe(0)
  })

  it('leaves an interactive shell its job control', async () => {
    using terminal = open(['/bin/bash', '--norc', '--noprofile', '-i'], {})
    await terminal.shows('bash-')
    const job = `sleep\u0000${60 + Math.random()}`
    terminal.type(`${job.replace('\u0000', ' ')}\r`)
    await until('it sleeps', () => runningWith(job).length > 0)
    terminal.type('\u001a')
    await terminal.shows(/\[1\]\+\s+Stopped\s+sleep 60\.\d+/)
    terminal.type('fg\r')
    await terminal.shows(/fg\r\n[^]*sleep 60\.\d+\r\n/)
    terminal.type('\u0003')
    await terminal.shows(/\^C\r\n[^]*bash-/)
    terminal.type('exit 5\r')
    expect(await terminal.ends()).toBe(5)
    expect(terminal.shown).not.toContain('no job control')
  })

  it('ends the child by force and leaves the terminal usable', async () => {
    using terminal = open(
      script(`trap '' TERM HUP; printf '\\033[?1049h\\033[?25l\\033[?2004hfull screen'; while :; do sleep 0.05; done`),
      {
        endAfter: { shown: 'full screen', graceMs: 100 },
      },
    )
    expect(await terminal.ends()).toBe(137)
    expect(terminal.shown).toMatch(/full screen.*\u001b\[\?1049l.*\u001b\[\?25h.*\u001b\[\?2004l/)
  })

  it('gives the child its own terminal for those of the three that are one', async () => {
    using shell = new Terminal(
      '/bin/sh',
      [
        '-c',
        `"$0" "$1" "$2" > ${folder}/out; echo code $?`,
        process.execPath,
        ...words(script('echo to the file; test -t 1 || echo to the screen >&2; test -t 0 && exit 9')),
      ],
      { cwd: cwd(), env: env() },
    )
    await shell.shows('code 9')
    expect(shell.shown).toBe('to the screen\r\ncode 9\r\n')
    expect(readFileSync(path.join(folder, 'out'), 'utf8')).toBe('to the file\n')
  })

  it('survives a child that floods its terminal', async () => {
    using terminal = open(script('head -c 20000000 /dev/zero | tr "\\0" x; echo; echo end; read key'))
    await terminal.shows('end', 20_000_000)
    terminal.type('\r')
    expect(await terminal.ends()).toBe(0)
  })

  it('lets what was pasted wait for a child that does not read', async () => {
    using terminal = open(script('stty raw -echo; echo ready; sleep 1; head -c 300000 | cksum; stty sane'))
    await terminal.shows('ready')
    terminal.type('x'.repeat(300_000))
    await terminal.shows(/\d+ 300000/)
    expect(await terminal.ends()).toBe(0)
  })
})
