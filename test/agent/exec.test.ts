import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'
import { runningWith, runProgram, startProgram, until } from '../support/processes.ts'

describeWith('agentgate exec', [program('bwrap', 'apt-get install bubblewrap')], () => {
  let place: Place
  let args: readonly string[] = []
  let work = ''

  beforeAll(async () => {
    place = new Place('version: 1\nresources:\n  web: { kind: egress, hosts: [ example.com ] }\n')
    args = ['exec', '-r', 'web', ...(await place.trusted())]
  })
  beforeEach(() => {
    work = path.join(newFolder('exec'), 'work')
    mkdirSync(work)
  })

  const exec = async (words: readonly string[], more: readonly string[] = [], cwd = work) =>
    await place.run([...args, ...more, '--', ...words], { cwd })
  const start = (words: readonly string[], more: readonly string[] = []) =>
    startProgram(agentgateBin, [...args, ...more, '--', ...words], { cwd: work, env: place.env })
  /** A child with a daemon that nothing but a namespace's end gets hold of; `tag` is in its command line. */
  const stubborn = (tag: string) => [
    '/bin/sh',
    '-c',
    `(setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 0.1; done # ${tag}' >/dev/null 2>&1 &); trap "" TERM; echo up; while :; do sleep 0.1; done # ${tag}`,
  ]

  it('keeps the command’s exit code, output and nothing else', async () => {
    expect(await exec(['/bin/sh', '-c', 'echo out; echo err >&2; exit 7'])).toMatchObject({
      code: 7,
      stdout: 'out\n',
      stderr: 'err\n',
    })
    expect((await exec(['/bin/sh', '-c', 'kill -TERM $$'])).code).toBe(143)
  })

  it.each([
    ['that is not there', ['no-such-command'], 127, /no-such-command: not found/],
    ['that cannot be executed', ['./file'], 126, /file: cannot be executed/],
    ['that is hidden inside', [path.join(os.homedir(), '.ssh/tool')], 127, /not found/],
  ])('says so of a command %s', async (_, words, code, why) => {
    writeFileSync(path.join(work, 'file'), 'text')
    const ended = await exec(words)
    expect(ended).toMatchObject({ code, stdout: '' })
    expect(ended.stderr).toMatch(why)
  })

  it.each([
    ['/', /holds what is not of one project/],
    ['/tmp', /holds what is not of one project/],
    ['/usr/lib', /part of the system/],
  ])('refuses to make %s the command’s to write', async (cwd, why) => {
    const ended = await exec(['/bin/true'], [], cwd)
    expect(ended.code).toBe(125)
    expect(ended.stderr).toMatch(why)
    expect(readdirSync('/').filter(name => ['.claude', '.cursor', '.vscode', '.mcp.json'].includes(name))).toEqual([])
  })

  it('goes by where the working folder really is', async () => {
    const link = path.join(path.dirname(work), 'link')
    symlinkSync(work, link)
    const ended = await exec(['/bin/sh', '-c', 'echo x > made; pwd -P'], [], link)
    expect(ended).toMatchObject({ code: 0, stdout: `${work}\n` })
    expect(existsSync(path.join(work, 'made'))).toBe(true)
  })

  it('leaves nothing of its own behind', async () => {
    await exec(['/bin/true'])
    expect(readdirSync(work)).toEqual([])
    expect(readdirSync(path.join(place.home, 'run'))).toEqual([])
  })

  it('leaves what protects the folder to another that still runs there', async () => {
    const first = start(['/bin/sh', '-c', 'echo up; read line; mkdir .cursor/x 2>/dev/null || echo kept'])
    await first.said(/up/)
    expect((await exec(['/bin/true'])).code).toBe(0)
    expect(readdirSync(work).sort()).toEqual(['.claude', '.cursor', '.mcp.json', '.vscode'])
    first.child.stdin?.end('on\n')
    expect(await first.finished()).toMatchObject({ code: 0, stdout: 'up\nkept\n' })
    expect(readdirSync(work)).toEqual([])
  })

  it('says in the record whether it was confined', async () => {
    for (const [more, confined] of [
      [[], true],
      [['--unconfined'], false],
    ] as const) {
      expect((await exec(['/bin/true'], more)).code).toBe(0)
      const [last] = (await place.run(['sessions', 'list', '--json'])).stdout.split('\n')
      expect(JSON.parse(last ?? '')).toMatchObject({ confined })
    }
  })

  describe('ends the command and all it started', () => {
    it('when its time is over: code 124', async () => {
      const began = performance.now()
      const ended = await exec(['/bin/sleep', '60'], ['--for', '1s'])
      expect(ended.code).toBe(124)
      expect(ended.stderr).toMatch(/^error: /m)
      expect(performance.now() - began).toBeLessThan(30_000)
    })

    it('when access is revoked: code 124', { timeout: 60_000 }, async () => {
      const tag = path.basename(path.dirname(work))
      const child = start(stubborn(tag))
      await child.said(/up/)
      expect(runningWith(tag).length).toBeGreaterThan(1)
      expect((await place.run(['down', '--all'])).code).toBe(0)
      expect((await child.finished()).code).toBe(124)
      expect(runningWith(tag)).toEqual([])
    })

    it('when agentgate itself is killed', async () => {
      const tag = path.basename(path.dirname(work))
      const child = start(stubborn(tag))
      await child.said(/up/)
      child.child.kill('SIGKILL')
      await until('nothing of it runs', () => runningWith(tag).length === 0, 10_000)
    })

    it('when the command ends', async () => {
      const tag = path.basename(path.dirname(work))
      const daemon = `(setsid sh -c 'trap "" TERM HUP; while :; do sleep 0.1; done # ${tag}' >/dev/null 2>&1 &); exit 3`
      expect((await exec(['/bin/sh', '-c', daemon])).code).toBe(3)
      expect(runningWith(tag)).toEqual([])
    })
  })

  it('starts nothing where something is wrong before', async () => {
    const mark = path.join(work, 'ran')
    const script = ['/bin/sh', '-c', `touch ${mark}`]
    const untrusted = await runProgram(agentgateBin, ['exec', '-r', 'web', '--policy', place.policy, '--', ...script], {
      cwd: work,
      env: place.env,
    })
    const unknown = await place.run(['exec', '-r', 'wep', ...args.slice(3), '--', ...script], { cwd: work })
    const refused = await exec(script, ['--pass-env', 'LD_PRELOAD'])
    for (const [ended, why] of [
      [untrusted, /not been trusted/],
      [unknown, /wep[^]*did you mean web/],
      [refused, /LD_PRELOAD is refused/],
    ] as const) {
      expect(ended.code).toBe(125)
      expect(ended.stderr).toMatch(why)
    }
    expect(existsSync(mark)).toBe(false)
  })
})
