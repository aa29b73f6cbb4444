import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { bundle } from '../support/bundle.ts'
import { chromium } from '../support/chromium.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram } from '../support/processes.ts'

const needs = [
  program('bwrap', 'apt-get install bubblewrap'),
  chromium,
  program('setpriv', 'apt-get install util-linux'),
  { name: 'root, to be two users', missing: process.getuid?.() === 0 ? undefined : 'run the tests as root' },
]

describeWith('a dev server and its browser test on loopback, confined', needs, () => {
  let folder = ''
  let driver = ''
  let test = ''
  let outside: http.Server
  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-browser-'))
    chmodSync(folder, 0o755)
    driver = await bundle('test/agent/driver.ts', folder)
    test = await bundle('test/agent/web-project.ts', folder)
    outside = http.createServer((_, response) => response.end('outside')).listen(0, '127.0.0.1')
    await once(outside, 'listening')
  })
  afterAll(() => {
    outside.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it.each([
    ['root', []],
    ['a plain user', ['setpriv', '--reuid', '4242', '--regid', '4242', '--clear-groups']],
  ])('work for %s, with Chromium’s own sandbox off, and see nothing of the machine’s loopback', async (who, as) => {
    const own = path.join(folder, who.replaceAll(' ', '-'))
    for (const name of ['home', 'work', 'state']) mkdirSync(path.join(own, name), { recursive: true })
    chmodSync(own, 0o755)
    if (as.length > 0) await runProgram('chown', ['-R', '4242:4242', own])
    const command = ['/usr/bin/env', `OUTSIDE=http://127.0.0.1:${(outside.address() as AddressInfo).port}/`]
    const plan = {
      command: [...command, process.execPath, test, '--no-sandbox'],
      confined: { state: path.join(own, 'state'), readable: [test] },
    }
    const [file, ...args] = [...as, process.execPath, driver, JSON.stringify(plan)]
    const ended = await runProgram(file, args, {
      cwd: path.join(own, 'work'),
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: path.join(own, 'home'), LANG: 'C.UTF-8' },
    })
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(ended.stdout).toMatch(/^refunds work\n.*net::ERR_CONNECTION_REFUSED\n$/)
  })
})
