import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { once } from 'node:events'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { bundle } from '../support/bundle.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram } from '../support/processes.ts'

const needs = [
  program('bwrap', 'apt-get install bubblewrap'),
  { name: 'root, to be two users', missing: process.getuid?.() === 0 ? undefined : 'run the tests as root' },
]

describeWith('what belongs to someone else, seen by root', needs, () => {
  let folder = ''
  let driver = ''
  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-walls-'))
    chmodSync(folder, 0o755)
    driver = await bundle('test/agent/driver.ts', folder)
    mkdirSync(path.join(folder, 'home'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const run = async (cwd: string, script: string) =>
    await runProgram(
      process.execPath,
      [driver, JSON.stringify({ command: ['/bin/sh', '-c', script], confined: { state: path.join(folder, 'state') } })],
      { cwd, env: { PATH: '/usr/bin:/bin', HOME: path.join(folder, 'home') } },
    )
  const theirs = (name: string) => {
    const place = path.join(folder, name)
    mkdirSync(place, { recursive: true })
    chownSync(place, 4242, 4242)
    chmodSync(place, 0o700)
    return place
  }

  it('hides a socket and secrets in a folder that only its owner may enter', async () => {
    const data = theirs('work/data')
    writeFileSync(path.join(data, '.env'), 'SECRET')
    const server = net.createServer().listen(path.join(data, 'dev.sock'))
    await once(server, 'listening')
    try {
      const ended = await run(path.join(folder, 'work'), 'ls -A data; echo mine > new; cat new')
      expect(ended).toMatchObject({ code: 0, stdout: 'mine\n', stderr: '' })
    } finally {
      server.close()
    }
  })

  it('says so where the working folder is such a folder', async () => {
    const ended = await run(theirs('elsewhere'), 'true')
    expect(ended).toMatchObject({ code: 125, stdout: '' })
    expect(ended.stderr).toMatch(/UNCONFINED: .*elsewhere is another user’s/)
  })
})
