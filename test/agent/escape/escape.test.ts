import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { bundle } from '../../support/bundle.ts'
import { describeWith, program } from '../../support/needs.ts'
import { attempts, succeeded, type Attempt } from './attempts.ts'
import { World, type Who } from './world.ts'

const needs = [
  program('bwrap', 'apt-get install bubblewrap'),
  program('tmux', 'apt-get install tmux'),
  program('git'),
  program('openssl'),
  ...['screen', 'Xvfb', 'xdotool', 'dbus-daemon', 'dbus-send', 'gnome-keyring-daemon', 'secret-tool', 'ip'].map(name =>
    program(name),
  ),
  { name: 'Python', missing: existsSync('/usr/bin/python3') ? undefined : 'apt-get install python3' },
  program('setpriv', 'apt-get install util-linux'),
  { name: 'root, to be two users', missing: process.getuid?.() === 0 ? undefined : 'run the tests as root' },
]

const bites = (attempt: Attempt, who: Who) => (attempt.bites ?? ['root', 'plain']).includes(who)
const absent = /family not supported|Function not implemented|No such file or directory: '\/proc\/kcore'/

describeWith('ways out of a confinement', needs, () => {
  let folder = ''
  let driver = ''
  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-driver-'))
    chmodSync(folder, 0o755)
    driver = await bundle('test/agent/driver.ts', folder)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  describe.each<{ who: Who }>([{ who: 'root' }, { who: 'plain' }])('as $who', ({ who }) => {
    const worlds: Partial<Record<'open' | 'walled', World>> = {}
    const said: Partial<Record<'open' | 'walled', Record<string, string>>> = {}

    beforeAll(async () => {
      for (const kind of ['open', 'walled'] as const) {
        const world = new World(who)
        worlds[kind] = world
        await world.start()
        world.confined = kind === 'walled'
        const tried = kind === 'walled' ? attempts : attempts.filter(attempt => bites(attempt, who))
        said[kind] = await world.run(tried, kind === 'walled' ? { driver } : null)
        await world.settle()
      }
    }, 300_000)
    afterAll(async () => {
      for (const world of Object.values(worlds)) await world.stop()
    })

    it.for(attempts.map(attempt => [attempt.name, attempt] as const))('%s', ([name, attempt]) => {
      const answer = (kind: 'open' | 'walled') => said[kind]?.[name] ?? ''
      const gotOut = (kind: 'open' | 'walled') => succeeded(attempt, answer(kind), worlds[kind]!)
      const means = attempt.gets === true ? 'is let' : 'does not get'
      expect(gotOut('walled'), `behind walls it ${means} through; it said: ${answer('walled')}`).toBe(
        attempt.gets === true,
      )
      if (!bites(attempt, who)) return
      if (absent.test(answer('open'))) return // this machine has no such thing, walls or not
      expect(gotOut('open'), `without walls it gets through; it said: ${answer('open')}`).toBe(true)
    })
  })
})
