import { expect, it } from 'vitest'
import { agentgateBin } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram } from '../support/processes.ts'

const needs = [
  program('setpriv', 'apt-get install util-linux'),
  { name: 'root, to be another', missing: process.getuid?.() === 0 ? undefined : 'run the tests as root' },
]

describeWith('the operating system’s user', needs, () => {
  it('is known by number where it has no name, as in a container', async () => {
    const ended = await runProgram(
      'setpriv',
      ['--reuid', '4242', '--regid', '4242', '--clear-groups', agentgateBin, 'whoami', '--json'],
      { cwd: '/', env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent' } },
    )
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(ended.stdout)).toMatchObject({ principal: 'uid-4242', groups: [], source: 'os-user' })
  })
})
