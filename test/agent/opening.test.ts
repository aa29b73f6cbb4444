import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, beforeEach, expect, it } from 'vitest'
import { Place } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'

const policy = (exec: string) => `version: 1
resources:
  web: { kind: egress, hosts: [ example.com ] }
${exec}`

describeWith('what the policy opens to every child', [program('bwrap', 'apt-get install bubblewrap')], () => {
  let place: Place
  let work = ''
  const outside = () => path.join(path.dirname(work), 'outside')

  beforeAll(() => void (place = new Place('', { STAGE: 'test', AWS_SESSION_TOKEN: 'cloud' })))
  beforeEach(() => {
    work = path.join(newFolder('opening'), 'work')
    for (const folder of [work, outside(), path.join(work, '.vscode'), path.join(place.folder, '.config/tool')])
      mkdirSync(folder, { recursive: true })
    writeFileSync(path.join(outside(), 'data'), 'shown')
    writeFileSync(path.join(work, '.vscode/settings.json'), '{}')
    writeFileSync(path.join(work, '.env'), 'A=1')
    writeFileSync(path.join(place.folder, '.config/tool/config'), 'mine')
  })

  const sh = async (exec: string, script: string, more: readonly string[] = []) => {
    writeFileSync(place.policy, policy(exec))
    return await place.run(['exec', '-r', 'web', ...(await place.trusted()), ...more, '--', '/bin/sh', '-c', script], {
      cwd: work,
    })
  }
  const tries = (file: string) =>
    `cat ${file} 2>/dev/null || echo hidden; { echo new > ${file}; } 2>/dev/null || echo kept`

  it('is nothing where it says nothing', async () => {
    const ended = await sh(
      '',
      `${tries('.env')}; ${tries('.vscode/settings.json')}; ${tries('../outside/data')}; echo "$STAGE"`,
    )
    expect(ended).toMatchObject({ code: 0, stdout: 'kept\n{}kept\nhidden\nkept\n\n' })
    expect(readFileSync(path.join(work, '.env'), 'utf8')).toBe('A=1')
  })

  it('are files to read and to write, and variables', async () => {
    const exec = () =>
      `exec: { read: [ "${outside()}", "~/.config/tool" ], write: [ "${work}/.vscode", "${work}/.env" ], pass-env: STAGE }\n`
    const ended = await sh(
      exec(),
      `${tries('.env')}; echo; ${tries('.vscode/settings.json')}; echo; ${tries('../outside/data')}; echo "$STAGE"`,
    )
    expect(ended).toMatchObject({ code: 0, stdout: 'A=1\n{}\nshownkept\ntest\n' })
    expect(readFileSync(path.join(work, '.vscode/settings.json'), 'utf8')).toBe('new\n')
  })

  it('need not be there, and may then be made', async () => {
    const ended = await sh(
      `exec: { write: "${work}/.cursor", read: /nowhere/at/all }\n`,
      'mkdir .cursor && echo x > .cursor/y',
    )
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(existsSync(path.join(work, '.cursor/y'))).toBe(true)
  })

  it.each([
    ['a home', () => 'exec: { read: "~/" }\n', /holds more than one project/],
    ['agentgate’s own state', () => `exec: { write: "${place.home}" }\n`, /holds more than one project/],
    ['a cloud’s identity', () => 'exec: { pass-env: [ STAGE, AWS_SESSION_TOKEN ] }\n', /AWS_SESSION_TOKEN is refused/],
  ])('is never %s', async (_, exec, why) => {
    const ended = await sh(exec(), 'echo ran')
    expect(ended).toMatchObject({ code: 125, stdout: '' })
    expect(ended.stderr).toMatch(why)
  })

  it('is what trusting the policy shows', async () => {
    writeFileSync(place.policy, policy('exec: { read: ../shared, write: .vscode, pass-env: STAGE }\n'))
    const shown = await place.run(['trust', '--policy', place.policy]).then(ended => ended.stdout + ended.stderr)
    expect(shown).toMatch(/shows agents \.\.\/shared[^]*lets agents change \.vscode[^]*gives agents the variable STAGE/)
  })
})
