import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { bundle } from '../support/bundle.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram } from '../support/processes.ts'

const needs = [
  program('bwrap', 'apt-get install bubblewrap'),
  program('setpriv', 'apt-get install util-linux'),
  { name: 'root, to take things away', missing: process.getuid?.() === 0 ? undefined : 'run the tests as root' },
]

describeWith('a machine that cannot confine', needs, () => {
  let folder = ''
  let driver = ''
  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-no-walls-'))
    for (const name of ['home', 'work', 'state']) mkdirSync(path.join(folder, name))
    driver = await bundle('test/agent/driver.ts', folder)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('without bubblewrap refuses with 125, unless it is told to go on, and that is on record', async () => {
    const place = new Place('version: 1\nresources:\n  web: { kind: egress, hosts: [ example.com ] }\n')
    const args = ['exec', '-r', 'web', ...(await place.trusted())]
    const work = path.join(folder, 'work')
    const without = async (...more: string[]) =>
      await runProgram(
        'unshare',
        [
          ...['--mount', '--propagation', 'private', '/bin/sh', '-c'],
          ...[
            'mount --bind /dev/null "$(readlink -f /usr/bin/bwrap)" && exec "$@"',
            'sh',
            agentgateBin,
            ...args,
            ...more,
          ],
          ...['--', '/bin/sh', '-c', 'touch ran; echo ran'],
        ],
        { cwd: work, env: place.env },
      )
    const refused = await without()
    expect(refused).toMatchObject({ code: 125, stdout: '' })
    expect(refused.stderr).toMatch(
      /^error: bubblewrap is not installed[^]*hint: .*apt-get install bubblewrap[^]*--unconfined/,
    )
    expect(readdirSync(work)).toEqual([])
    expect(await without('--unconfined')).toMatchObject({ code: 0, stdout: 'ran\n' })
    const [last = '{}'] = (await place.run(['sessions', 'list', '--json'])).stdout.split('\n')
    expect(JSON.parse(last)).toMatchObject({ confined: false })
    rmSync(path.join(work, 'ran'))
  })

  it('whose user namespaces are off, for someone without rights, refuses with 125 and leaves nothing', async () => {
    const plan = {
      command: ['/bin/sh', '-c', `touch ${folder}/work/ran`],
      confined: { state: path.join(folder, 'state') },
    }
    const off = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    const ended = await runProgram(
      'unshare',
      ['--user', '--map-root-user', '/bin/sh', '-c', off, 'sh', process.execPath, driver, JSON.stringify(plan)],
      { cwd: path.join(folder, 'work'), env: { PATH: '/usr/bin:/bin', HOME: path.join(folder, 'home') } },
    )
    expect(ended.stderr).toMatch(/UNCONFINED: the child could not be confined: .*namespace/i)
    expect(ended).toMatchObject({ code: 125, stdout: '' })
    expect(existsSync(path.join(folder, 'work/ran'))).toBe(false)
    expect(readdirSync(path.join(folder, 'work'))).toEqual([])
    expect(readdirSync(path.join(folder, 'state'))).toEqual([])
  })
})
