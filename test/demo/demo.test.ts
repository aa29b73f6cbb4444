import { readdirSync } from 'node:fs'
import os from 'node:os'
import { afterEach, expect, it } from 'vitest'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { runProgram } from '../support/processes.ts'
import { keys, pseudoTerminal, Screen } from '../support/screen.ts'

const wanted = "update payments set status = 'refunded' where id = 41"
const demoFolders = () => new Set(readdirSync(os.tmpdir()).filter(name => name.startsWith('agentgate-demo-')))

// What a newcomer does first: the whole program against a server of its own.
describeWith('agentgate demo', [pseudoTerminal, program('psql')], () => {
  const owned = new Owned()
  afterEach(async () => await owned.close())

  it('without a person: a transcript, every step checked, and nothing left behind', { timeout: 60_000 }, async () => {
    const before = demoFolders()
    const { code, stdout } = await runProgram(agentgateBin, ['demo', '--yes'], { env: new Place('version: 1\n').env })
    expect(stdout).toMatch(/all 6 steps happened/)
    expect(stdout).not.toMatch(/^ +FAILED/m)
    expect(code).toBe(0)
    expect([...demoFolders()].filter(name => !before.has(name))).toEqual([])
  })

  it('has the person edit and approve, then stays up with --keep', { timeout: 120_000 }, async () => {
    using screen = new Screen(agentgateBin, ['demo', '--keep'], {
      // What ink alone would take for a CI job's.
      env: { ...new Place('version: 1\n').env, CI: '', CONTINUOUS_INTEGRATION: '' },
      columns: 110,
      rows: 45,
    })
    await screen.shows(/\[a\] approve once/, 30_000)
    await screen.showsBold('[a]')
    screen.send('e')
    await screen.shows(/\[ctrl-s\]/)
    screen.send(keys.control('k'))
    await screen.type(wanted)
    screen.send(keys.control('s'))
    await screen.shows(/\[a\] run this instead/)
    await screen.showsBold('[a]')
    screen.send('a')
    const url = /postgresql:\/\/[^'\s]+/.exec(await screen.shows(/through agentgate +psql '[^']+'/, 30_000))?.[0] ?? ''
    expect(screen.text()).toMatch(/all 6 steps happened/)
    const { stdout } = await runProgram('psql', [
      '-XAt',
      url,
      '-c',
      'select id from payments where status = $$refunded$$ and id = 41; select email from customers limit 1',
    ])
    expect(stdout).toMatch(/^41\n.\*\*\*@e\*\*\*\.com\n$/)
    screen.send(keys.control('c'))
    expect(await screen.exited()).toBe(0)
  })
})
