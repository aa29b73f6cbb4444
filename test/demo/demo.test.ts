import { readdirSync } from 'node:fs'
import os from 'node:os'
import { afterEach, expect, it } from 'vitest'
import { confirmAsPerson } from '../../src/demo/browser.ts'
import { maria } from '../../src/demo/identity-provider.ts'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { runProgram, startProgram } from '../support/processes.ts'
import { keys, pseudoTerminal, Screen } from '../support/screen.ts'

const steps = 8
const demoFolders = () => new Set(readdirSync(os.tmpdir()).filter(name => name.startsWith('agentgate-demo-')))
const demoProcesses = async (folder: string) => (await runProgram('pgrep', ['-f', folder])).stdout

// What a newcomer does first: the whole program against a server, a provider and a broker of its own.
describeWith('agentgate demo', [pseudoTerminal, program('psql'), program('pgrep', 'install procps')], () => {
  const owned = new Owned()
  afterEach(async () => await owned.close())

  const env = () => ({
    ...new Place('version: 1\n').env,
    // What ink alone would take for a CI job's.
    ...{ CI: '', CONTINUOUS_INTEGRATION: '' },
    // What a person has set for themselves is not the demo's.
    ...{ AGENTGATE_BROKER: 'https://broker.invalid', AGENTGATE_POLICY: '/nowhere', AGENTGATE_ID_TOKEN: 'nobody' },
  })
  const start = (...args: readonly string[]) =>
    new Screen(agentgateBin, ['demo', ...args], { env: env(), columns: 130, rows: 50 })
  /** The folder of the demo that this screen shows. */
  const folderOf = (screen: Screen) => /\S*\/agentgate-demo-\w+/.exec(screen.history().join('\n'))?.[0] ?? ''
  const nothingIsLeftOf = async (folder: string) => {
    expect(folder).toMatch(/agentgate-demo-\w+$/)
    expect(demoFolders()).not.toContain(folder.split('/').at(-1))
    expect(await demoProcesses(folder)).toBe('')
  }

  it('without a person: a transcript, every step checked, and nothing left behind', { timeout: 120_000 }, async () => {
    const before = demoFolders()
    const { code, stdout, stderr } = await runProgram(agentgateBin, ['demo', '--yes'], { env: env() })
    expect(stdout).toMatch(new RegExp(`all ${steps} steps happened`))
    expect(stdout).not.toMatch(/^ +FAILED/m)
    expect(stdout).toMatch(/approved by jonas@shop\.example, in a terminal of their own/)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect([...demoFolders()].filter(name => !before.has(name))).toEqual([])
  })

  it(
    'by hand: a code confirmed in a browser, a yes from a second terminal, and it stays up with --keep',
    {
      timeout: 180_000,
    },
    async () => {
      using screen = start('--keep')
      const shown = await screen.shows(/waiting, 10 min at most/, 60_000)
      // The code's picture is there for a phone, though this demo's address is of no use to one.
      expect(screen.history().join('\n')).toMatch(/[█▀▄]{10}/)
      const [, page = ''] = /open {2}(http:\/\/127\.0\.0\.1:\d+\/device)/.exec(shown) ?? []
      const [, code = ''] = /code {2}(\w{4}-\w{4})/.exec(shown) ?? []
      await confirmAsPerson(`${page}?user_code=${code}`, maria)
      const asked = await screen.shows(/sh (\S+\/as-jonas) approvals/, 60_000)
      const [, script = ''] = /sh (\S+\/as-jonas) approvals/.exec(asked) ?? []
      using second = new Screen('sh', [script, 'approvals'], {
        env: { HOME: '/nonexistent', CI: '', CONTINUOUS_INTEGRATION: '' },
        columns: 110,
        rows: 40,
      })
      await second.shows(/\[a\] approve once/, 60_000)
      await second.showsBold('[a]')
      second.send('a')
      const kept = await screen.shows(/through agentgate +psql '[^']+'/, 90_000)
      const history = screen.history().join('\n')
      expect(history).toMatch(new RegExp(`all ${steps} steps happened`))
      expect(history).toMatch(/approved by jonas@shop\.example/)
      second.send('q')
      const url = /postgresql:\/\/[^'\s]+/.exec(kept)?.[0] ?? ''
      await screen.shows(/\[q\] close/, 60_000)
      const psql = await runProgram('psql', ['-XAt', url, '-c', 'select email from customers order by id limit 1'])
      expect(psql).toMatchObject({ code: 0, stdout: expect.stringMatching(/^.\*\*\*@e\*\*\*\.com\n$/) })
      const folder = folderOf(screen)
      screen.send(keys.control('c'))
      expect(await screen.exited(30_000)).toBe(0)
      await nothingIsLeftOf(folder)
    },
  )

  it('by hand, with nothing but enter', { timeout: 180_000 }, async () => {
    using screen = start()
    await screen.shows(/waiting, 10 min at most/, 60_000)
    screen.send(keys.enter)
    await screen.shows(/press enter, and the demo approves as jonas/, 60_000)
    screen.send(keys.enter)
    expect(await screen.exited(90_000)).toBe(0)
    expect(screen.history().join('\n')).toMatch(new RegExp(`all ${steps} steps happened`))
    await nothingIsLeftOf(folderOf(screen))
  })

  it('is over with Ctrl-C wherever it waits, and leaves nothing', { timeout: 120_000 }, async () => {
    const before = demoFolders()
    using screen = start()
    await screen.shows(/waiting, 10 min at most/, 60_000)
    const [folder = ''] = [...demoFolders()].filter(name => !before.has(name))
    screen.send(keys.control('c'))
    expect(await screen.exited(30_000)).toBe(130)
    await nothingIsLeftOf(`${os.tmpdir()}/${folder}`)
  })

  it('leaves nothing when it is killed', { timeout: 120_000 }, async () => {
    const before = demoFolders()
    const running = startProgram(agentgateBin, ['demo', '--yes', '--keep'], { env: env() })
    await running.said(/it stays up/)
    const [folder = ''] = [...demoFolders()].filter(name => !before.has(name))
    expect(await demoProcesses(folder)).not.toBe('')
    running.child.kill('SIGKILL')
    await running.finished()
    await expect.poll(async () => await demoProcesses(folder), { timeout: 30_000 }).toBe('')
    await expect.poll(() => demoFolders().has(folder), { timeout: 30_000 }).toBe(false)
  })

  it('says so where the person refuses in the browser', { timeout: 120_000 }, async () => {
    using screen = start()
    const shown = await screen.shows(/waiting, 10 min at most/, 60_000)
    const [, page = ''] = /open {2}(http:\/\/127\.0\.0\.1:\d+\/device)/.exec(shown) ?? []
    const [, code = ''] = /code {2}(\w{4}-\w{4})/.exec(shown) ?? []
    await confirmAsPerson(`${page}?user_code=${code}`, maria, 'no')
    expect(await screen.exited(60_000)).toBe(3)
    expect(screen.history().join('\n')).toMatch(/the login was refused in the browser/)
  })
})
